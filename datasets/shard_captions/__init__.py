"""Images with sentences -> a folder of shards: `python -m datasets.shard_captions`."""
