"""Every option that README.md and the pages of docs tell a user to write is one that the command takes."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from scenelift.config.cli import parse
from scenelift.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
COMMANDS = {
    module: import_module(f"{module}.config").PRESETS
    for module in (
        *(
            "trainables.distill",
            "trainables.evaluate",
            "trainables.explore",
            "trainables.finetune",
            "trainables.ground",
        ),
        *("trainables.phrases", "trainables.predict", "trainables.pretrain", "trainables.table"),
        *("datasets.shard", "datasets.shard_captions", "datasets.shard_rooms"),
    )
}
SHORT = {
    "DISTILL": "python -m trainables.distill paper_nuscenes",
    "FINETUNE": "python -m trainables.finetune paper_nuscenes",
}
CODE = re.compile(r"`([^`\n]+)`|^(python -m .*)$", re.MULTILINE)


def documented() -> list[str]:
    """The commands of the pages, and their options that stand alone, as in a table of ablations."""
    found = []
    pages = (
        "README.md",
        *(f"docs/{name}.md" for name in ("clip2scene", "explore", "ground", "phrases", "predict")),
    )
    for page in (*pages, *(f"docs/methods/{name}.md" for name in ("clip2scene", "ws3dvg", "ckd"))):
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
    try:
        parse(COMMANDS[module], words, module)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("text", documented())
def test_a_documented_command_is_understood(text):
    words = [word.split("|")[0] for word in shlex.split(text)]
    if words[0] == "python":
        needed = ["--root", "ROOT"] if words[2].startswith("datasets.shard") and "--root" not in words else []
        parse(COMMANDS[words[2]], [*words[3:], *needed], words[2])
    else:
        presets = {"trainables.distill": ["paper_nuscenes"], "trainables.finetune": ["paper_nuscenes"]}
        assert any(understood(module, [*presets.get(module, []), *words]) for module in COMMANDS)


def test_the_pages_hold_commands():
    assert len(documented()) > 25
