"""Finished runs out of MLflow as Markdown and CSV.

`python -m trainables.table [PRESET] [--group.field VALUE ...]`
"""
