"""Tuning: searches of settings with Ray Tune around ordinary runs, and the ranking of what they tried."""
