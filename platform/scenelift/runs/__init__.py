"""Runs: the folder of a run, its way from shards to scores, where its weights come from, finished runs."""
