"""Evaluation: metrics, scoring over shards, scores on training scenes that are held out, and what is drawn of
them.
"""
