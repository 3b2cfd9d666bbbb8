"""Shards: samples as Parquet files, written by Ray Data so that an interrupted job goes on, and read in an order
that seed and epoch alone decide.
"""
