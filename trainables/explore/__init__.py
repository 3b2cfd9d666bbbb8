"""Clouds, photos, labels and boxes in the browser: of shards, of runs, of plain files."""
