"""What a checkpoint holds beside the student."""

from __future__ import annotations

from typing import Any

from scenelift.train.checkpoints import Checkpoint, read_state


def state_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The training state of a checkpoint, local or in a bucket."""
    with checkpoint.fetched() as folder:
        return read_state(folder)
