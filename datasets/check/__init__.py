"""Whether an adapter keeps what shards and trainings rely on, and its calibration is right: `datasets.check`."""
