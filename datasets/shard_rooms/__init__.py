"""Rooms and sentences -> a folder of shards: `python -m datasets.shard_rooms`."""
