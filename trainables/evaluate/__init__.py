"""Scores of a trained student, of the teacher alone, or of both, on labeled shards."""
