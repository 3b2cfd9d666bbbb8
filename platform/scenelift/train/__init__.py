"""Training: the one loop of all methods, what it is given and what it leaves, and its launch on Ray Train."""
