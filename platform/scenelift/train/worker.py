"""The function that Ray Train runs in every worker: as light as can be, since Ray's controller imports it too.

The job lies in Ray's object store, so that only workers pay the seconds that torch and the method take to import.
"""

from __future__ import annotations

from typing import Any

import ray


def run(config: dict[str, Any]) -> None:
    """Fetch the job and train."""
    from scenelift.train.launch import train_worker

    train_worker(ray.get(config["job"]), config["most"], config["board"])
