"""`python -m trainables.pretrain [PRESET] [--method ppkt|slidr] [--group.field VALUE ...]`"""

from scenelift.config.cli import command
from trainables.pretrain.config import PRESETS

if __name__ == "__main__":
    command("trainables.pretrain", PRESETS, "task")
