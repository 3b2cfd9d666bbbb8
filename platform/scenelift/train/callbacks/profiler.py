"""A trace of chosen steps, by torch's profiler."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch.profiler import profile

from scenelift.errors import ConfigError
from scenelift.io import folders, storage
from scenelift.train.state import Callback, TrainState


class Profiler(Callback):
    """Records the steps `loop.watch.profile` of rank 0, or what is left of them, and writes `profile-A-B.json`
    beside the checkpoints' folder."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self.steps = state.worker.plan.loop.watch.profiled
        self._profile: profile | None = None

    def on_start(self) -> None:
        if self.steps.start >= self.state.worker.plan.steps:
            raise ConfigError(
                f"loop.watch.profile begins at step {self.steps.start} of {self.state.worker.plan.steps}; "
                "give earlier steps"
            )
        self._turn()

    def on_step(self) -> None:
        self._turn()

    def _turn(self) -> None:
        """Start or stop, where it is time to."""
        inside = self.state.done in self.steps and self.state.worker.rank == 0
        if inside and self._profile is None:
            self._profile = profile()
            self._profile.start()
        elif not inside:
            self._finish()

    def on_end(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._profile is None:
            return
        self._profile.stop()
        run, name = storage.split(self.state.worker.checkpoints.folder)[0], self._name
        with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
            self._profile.export_chrome_trace(str(Path(folder) / name))
            folders.upload(Path(folder) / name, storage.join(run, name))
        self._profile = None

    @property
    def _name(self) -> str:
        return f"profile-{self.steps.start}-{self.steps.stop}.json"
