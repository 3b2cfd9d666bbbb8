"""WS-3DVG: which box of a room a sentence means, learned from rooms and sentences alone."""
