"""Tracking: runs in MLflow, through servers that fail and databases that are locked, and its pages."""
