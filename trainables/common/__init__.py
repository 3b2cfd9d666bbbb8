"""What several trainables share; they do not import each other."""
