"""Every option that README.md and the pages of docs tell a user to write is one that the command takes."""

import re
import shlex
from pathlib import Path

import pytest

from datasets import shard, shard_captions, shard_rooms
from scenelift.config.build import parse
from scenelift.errors import ConfigError
from trainables.distill import task as distill
from trainables.distill.config import DistillConfig
from trainables.evaluate import run as evaluate
from trainables.evaluate.config import EvaluateConfig
from trainables.finetune import task as finetune
from trainables.finetune.config import FinetuneConfig
from trainables.ground import task as ground
from trainables.ground.config import GroundConfig
from trainables.phrases import task as phrases
from trainables.phrases.config import PhrasesConfig
from trainables.pretrain import task as pretrain
from trainables.pretrain.config import PretrainConfig
from trainables.table import run as table
from trainables.table.config import TableConfig

REPOSITORY = Path(__file__).parents[2]
COMMANDS = {
    "trainables.distill": (DistillConfig, distill.PRESETS),
    "trainables.evaluate": (EvaluateConfig, evaluate.PRESETS),
    "trainables.finetune": (FinetuneConfig, finetune.PRESETS),
    "trainables.ground": (GroundConfig, ground.PRESETS),
    "trainables.pretrain": (PretrainConfig, pretrain.PRESETS),
    "trainables.table": (TableConfig, table.PRESETS),
    "datasets.shard_rooms": (shard_rooms.RoomShardConfig, shard_rooms.PRESETS),
    "trainables.phrases": (PhrasesConfig, phrases.PRESETS),
    "datasets.shard_captions": (shard_captions.CaptionShardConfig, shard_captions.PRESETS),
    "datasets.shard": (shard.ShardConfig, shard.PRESETS),
}
SHORT = {
    "DISTILL": "python -m trainables.distill paper_nuscenes",
    "FINETUNE": "python -m trainables.finetune paper_nuscenes",
}
CODE = re.compile(r"`([^`\n]+)`|^(python -m .*)$", re.MULTILINE)


def documented() -> list[str]:
    """The commands of the pages, and their options that stand alone, as in a table of ablations."""
    found = []
    for page in ("README.md", "docs/clip2scene.md", "docs/ground.md", "docs/phrases.md"):
        for inline, block in CODE.findall((REPOSITORY / page).read_text()):
            text = re.sub(r"\[[^\]]*\]", "", (inline or block).replace("\\|", "|"))
            text = re.sub(r"(?<=--loop.seed )N|\.\.\.$|(?<=nuscenes )\.\.\.", "", text.strip()).strip()
            for short, whole in SHORT.items():
                text = text.replace(short, whole)
            if any(text.startswith(f"python -m {module}") for module in COMMANDS):
                found.append(text.removesuffix("--root").removesuffix("--loop.seed").strip())
            elif re.match(r"--\w+(\.\w+)+ [a-z0-9]", text):
                found.append(text)
    return found


def understood(module: str, words: list[str]) -> bool:
    config, presets = COMMANDS[module]
    try:
        parse(config, presets, words, module)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("text", documented())
def test_a_documented_command_is_understood(text):
    words = [word.split("|")[0] for word in shlex.split(text)]
    if words[0] == "python":
        needed = ["--root", "ROOT"] if words[2].startswith("datasets.shard") and "--root" not in words else []
        config, presets = COMMANDS[words[2]]
        parse(config, presets, [*words[3:], *needed], words[2])
    else:
        presets = {"trainables.distill": ["paper_nuscenes"], "trainables.finetune": ["paper_nuscenes"]}
        assert any(understood(module, [*presets.get(module, []), *words]) for module in COMMANDS)


def test_the_pages_hold_commands():
    assert len(documented()) > 25
