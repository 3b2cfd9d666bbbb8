"""Bad inputs by the thousand: what any file, option or folder may look like, and what the library says to it."""
