"""Evaluation: metrics, scoring over shards, validation on held-out training scenes, and pictures."""
