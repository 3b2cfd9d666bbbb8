"""Settings of MLflow and of its pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from scenelift.config.constraints import NonNegativeFloat, Settings
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class TrackingConfig(Settings):
    """Where and how MLflow records runs."""

    uri: str | None = None
    """Tracking address; None: MLFLOW_TRACKING_URI if set, else the SQLite file mlflow.db beside the runs."""
    experiment: str = "scenelift"
    """MLflow experiment the run belongs to; made if it does not exist."""
    system_metrics: NonNegativeFloat = 10.0
    """Seconds between samples of CPU, memory, disk, network and GPU; 0 records none."""
    name: str | None = None
    """What MLflow calls the run; none: the name of its folder."""
    register: str | None = None
    """Registered model that the trained student becomes a new version of; none: it is logged, not registered."""
    alias: str | None = None
    """Alias that this version gets, and an earlier one loses, such as champion: models:/NAME@champion."""
    parent: str | None = None
    """Id of the MLflow run that this one is shown below, as the trials of a sweep are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alias is not None and self.register is None:
            raise ConfigError("tracking.alias is of a registered model: give --tracking.register NAME too")
        for name, value in (("register", self.register), ("alias", self.alias)):
            if value is not None and (not value.strip() or not {*"/:@"}.isdisjoint(value)):
                raise ConfigError(f"tracking.{name} is a plain name, without / : @")
        if self.uri is not None and "://" not in self.uri:  # not repeated: it may hold a password
            raise ConfigError(
                "tracking.uri is no address; set --tracking.uri or MLFLOW_TRACKING_URI to a server "
                "(http://host:5000) or sqlite:////path.db"
            )


@dataclass(frozen=True)
class DashboardConfig(Settings):
    """MLflow's pages of all runs, with a link for each experiment."""

    runs: str = "runs"
    """Folder of the runs whose records are shown, where `uri` and MLFLOW_TRACKING_URI are not set."""
    uri: str | None = None
    """MLflow address; a database is served, a server already shows its runs."""
    port: Annotated[int, Ge(1), Le(65535)] = 5000
    """Port on this machine."""


PRESETS = {"local": DashboardConfig()}
