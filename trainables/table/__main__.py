"""`python -m trainables.table [--experiments distill finetune] [--rows KEY=VALUE ...] [--metric NAME]`"""

from scenelift.config.cli import command
from trainables.table.config import PRESETS

if __name__ == "__main__":
    command("trainables.table", PRESETS, "run")
