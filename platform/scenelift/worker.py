"""The function that Ray Train runs in every worker: as light as can be, since Ray's controller imports it too.

The job travels as bytes, from our own driver through Ray and never from disk, so that only workers pay the
seconds that torch and the method take to import.
"""

from __future__ import annotations

from typing import Any

from ray import cloudpickle


def run(config: dict[str, Any]) -> None:
    """Unpack the job and train."""
    from scenelift.launch import train_worker

    train_worker(cloudpickle.loads(config["job"]), config["board"])
