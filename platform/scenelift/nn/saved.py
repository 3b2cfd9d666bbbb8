"""Students that are saved as weights and a description, and rebuilt from them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors.torch
from torch import Tensor, nn

from scenelift.config import files
from scenelift.errors import SceneliftError, StorageError, TeacherError, reason
from scenelift.io import folders, storage
from scenelift.io.storage import Location

VERSION = 1
MIGRATIONS: files.Migrations = {}
_LARGEST = 64 << 20
"""Bytes of a description; those of phrases have all words."""


class SavedStudent(nn.Module, ABC):
    """Base of all students: `save` writes FILE.safetensors and FILE.json, `load` rebuilds the student from them."""

    FILE: ClassVar[str] = "student"
    """Name of both files, without their endings."""
    NAME: ClassVar[str] = "a student"
    """What messages call it."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What is needed to rebuild the student in addition to its weights, as JSON."""

    @classmethod
    @abstractmethod
    def from_description(cls, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        """A student of this `description`; its parameters are loaded afterwards."""

    @property
    def size(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def save(self, folder: Path) -> None:
        """Write all that `load` needs; StorageError, or an OSError, if the disk is full."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        path = folder / f"{self.FILE}.safetensors"
        try:
            safetensors.torch.save_file(weights, path)
        except safetensors.SafetensorError as error:  # also of a full disk
            raise storage.unwritten(path, error) from error
        description = files.stamp(self.description(), VERSION)
        storage.write_text(folder / f"{self.FILE}.json", json.dumps(description, indent=1))

    def restore(self, folder: Path) -> None:
        """Load the weights that `save` wrote for a student of the same configuration."""
        self.load_state_dict(safetensors.torch.load_file(folder / f"{self.FILE}.safetensors"))

    @classmethod
    def load(cls, folder: Location) -> Self:
        """The student that `save` wrote, from a local folder or a URI, in evaluation mode.

        Raises SceneliftError if the folder does not contain such a student.
        """
        names = f"{cls.FILE}.safetensors", f"{cls.FILE}.json"
        try:
            with folders.fetched(folder, (*names, folders.DONE)) as local:
                if (local / folders.DONE).exists() and not folders.intact(local, names):
                    raise StorageError(f"{folder} is damaged: its files are not those that were written")
                storage.require_plain(local / names[0])
                weights = safetensors.torch.load_file(local / names[0])
                path, text = f"{folder}/{names[1]}", storage.read(local / names[1], _LARGEST)
            values = files.parse(text, path, SceneliftError)
            description = files.accept(values, path, VERSION, MIGRATIONS)
            student = cls.from_description(description, weights)
            student.load_state_dict(weights)
            if bad := next((name for name, value in weights.items() if not value.isfinite().all()), None):
                raise ValueError(f"{bad} has numbers that are not finite")
        except (StorageError, TeacherError):
            raise
        except Exception as error:  # its files decide what is built, so that anything may fail
            raise SceneliftError(
                f"{folder} does not hold {cls.NAME} ({reason(error)}); give a folder "
                "runs/NAME/student, or runs/NAME/checkpoints/step-N"
            ) from None
        return student.eval()
