"""Settings: frozen dataclass trees, presets, files that replay a run, and the command line made from them."""
