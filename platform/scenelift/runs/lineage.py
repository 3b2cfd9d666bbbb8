"""Which run made a saved student, as far as the folders around it say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from scenelift.config import files
from scenelift.config import files as configs
from scenelift.config.build import experiment_identity
from scenelift.io import storage
from scenelift.io.storage import Location
from scenelift.runs import folder as runs

RANDOM = "random"
"""Method of a student that nothing has trained."""
UNKNOWN = "unknown"
"""Method of a student that lies in no run's folder."""


@dataclass(frozen=True)
class Origin:
    """The run that made a student."""

    method: str
    """Such as distill or ppkt; `RANDOM` before the first step, `UNKNOWN` outside a run's folder."""
    run_id: str | None = None
    """Its MLflow run."""
    tags: Mapping[str, str] | None = None
    """Tags of that run."""
    config: Mapping[str, Any] | None = None
    """Its flattened config."""

    @classmethod
    def of(cls, student: Location) -> Origin:
        """Of the student in runs/NAME/student, .../checkpoints/step-N or .../initial, local or in a bucket."""
        filesystem, path = storage.resolve(student)
        above, _, name = path.rstrip("/").rpartition("/")
        for folder in (above, above.rpartition("/")[0]):
            if storage.exists(filesystem, storage.join(folder, "run.json")):
                break
        else:
            return cls(UNKNOWN)
        place = storage.join(folder, "run.json")
        identity = json.loads(storage.read_bytes(filesystem, place))
        identity = files.accept(identity, place, runs.VERSION, runs.MIGRATIONS)
        tags = identity.get("tags", {})
        method = tags.get("method") or tags.get("trainable") or identity["experiment"]
        place = storage.join(folder, "config.yaml")
        values = yaml.safe_load(storage.read_bytes(filesystem, place))
        config = files.accept(values, place, configs.VERSION, configs.MIGRATIONS)
        return cls(RANDOM if name == "initial" else method, identity["run_id"], tags, _flat(config))

    @property
    def version(self) -> str:
        """The method and a hash of all that tells its training from others, except for the seed."""
        if self.config is None:
            return self.method
        text = json.dumps(experiment_identity(self.config), sort_keys=True)
        return f"{self.method}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def tag(self, name: str, otherwise: str) -> str:
        """A tag of the run."""
        return (self.tags or {}).get(name, otherwise)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return leaves
