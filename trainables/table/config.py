"""Settings and presets of `trainables.table`."""

from __future__ import annotations

from dataclasses import dataclass

from scenelift.config.constraints import Settings


@dataclass(frozen=True)
class TableConfig(Settings):
    """A table of finished runs in Markdown and CSV; fractions, mean and sample standard deviation over seeds."""

    experiments: tuple[str, ...] = ()
    """MLflow experiments whose runs are taken; none: all."""
    rows: tuple[str, ...] = ()
    """Only runs with these settings or tags, such as labels.fraction=0.01 or start=distill."""
    metric: str | None = None
    """One metric, such as label_free/miou or labeled/iou/car, instead of the usual columns."""
    out: str = "runs/table"
    """Folder for table.md and table.csv."""
    runs: str = "runs"
    """Folder of the runs whose records are read, where `uri` and MLFLOW_TRACKING_URI are not set."""
    uri: str | None = None
    """MLflow address."""


PRESETS = {"all": TableConfig()}
