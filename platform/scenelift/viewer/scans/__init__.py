"""What is looked at: frames of shards, clouds in files, and the views that are made of them."""
