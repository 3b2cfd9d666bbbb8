"""CKD: which region of an image a phrase speaks of, learned from sentences and a detector."""
