"""Settings: frozen dataclass trees, presets, files that replay a run, and the command line that is made from
them. Knows no setting by name.
"""
