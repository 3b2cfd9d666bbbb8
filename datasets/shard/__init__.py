"""A data set of frames -> a folder of shards: `python -m datasets.shard`."""
