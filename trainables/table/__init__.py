"""Finished runs out of MLflow as Markdown and CSV."""
