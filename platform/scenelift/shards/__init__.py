"""Shards: samples as Parquet files, written by Ray Data in a job that can be resumed, and read in an order that
depends on seed and epoch alone.
"""
