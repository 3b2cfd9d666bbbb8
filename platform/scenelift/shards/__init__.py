"""Shards: samples as Parquet files, written by a resumable Ray Data job, read in a reproducible order."""
