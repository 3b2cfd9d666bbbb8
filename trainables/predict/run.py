"""Labels of scans, of shards, or of a data set as it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets.common.sources import open_source
from scenelift.inference import job, scans
from scenelift.inference.config import InputConfig
from scenelift.inference.work import Scans, require_scale_alone
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import SampleKey, SampleSource
from trainables.common.segmentation import synthetic
from trainables.predict.config import SHIPPED, Prediction
from trainables.predict.formats import formats


def run(config: Prediction) -> str:
    """Label everything; the synthetic world by the student that ships, if nothing is given."""
    if config.data is None and not config.read:
        config = replace(config, data=synthetic("val"))
    if config.student is None:
        config = replace(config, student=SHIPPED)
    return job.run(config, _keyframes(config), formats(config))


def _keyframes(config: Prediction) -> Scans | None:
    if not config.read or config.root is None:
        return None
    require_scale_alone(config.input)
    root = config.root.expanduser().absolute()
    source = open_source(config.dataset or "", root, config.release, config.source)
    return DatasetScans(source, tuple(source.list_samples(config.split)), config.input)


@dataclass(frozen=True)
class DatasetScans:
    """Keyframes of a data set, read by its adapter."""

    source: SampleSource
    keys: tuple[SampleKey, ...]
    reading: InputConfig

    @property
    def names(self) -> Sequence[str]:
        return [key.token for key in self.keys]

    def __getitem__(self, index: int) -> scans.Scan:
        frame: Any = FRAME.read(self.source, self.keys[index], ReadOptions())
        return scans.of_frame(frame, self.reading)
