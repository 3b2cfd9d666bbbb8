"""What a training does beside its steps: a callback for each purpose, and which of them a training has."""
