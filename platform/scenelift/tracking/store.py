"""Where runs are recorded: the MLflow address, a quick check that it answers (MLflow retries a dead one for
minutes), waiting for it, and its experiments. MLflow takes a second to import, so it is imported when needed."""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import unquote, urlsplit

import tenacity

from scenelift.errors import TrackingError, first_line
from scenelift.io.console import say
from scenelift.io.secrets import HIDDEN, address, public
from scenelift.tracking import mlflow_internals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

TIMEOUT = 3
"""Seconds an address has to answer in."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Defaults of MLflow's environment variables, some of which are read when it is imported."""

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment that lets MLflow show runs and models rather than prompts and traces."""

_INSTEAD = "set --tracking.uri or MLFLOW_TRACKING_URI to a server (http://host:5000) or sqlite:////path.db"


def quiet() -> None:
    """Silence MLflow's chatter; must be called before MLflow is first imported."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def errors(uri: str, doing: str) -> Iterator[None]:
    """Turns errors of MLflow and its database into one TrackingError with the address."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, ImportError, OSError) as error:
        reason = public(first_line(error).replace(uri, address(uri)))
        raise TrackingError(f"{doing} at {address(uri)} failed: {reason}; {_INSTEAD}") from error


def resolve(uri: str | None, runs_folder: Path) -> str:
    """The address to use: the given one, else MLFLOW_TRACKING_URI, else a database in the runs folder. SQLite
    paths come back absolute. Raises TrackingError for an address MLflow could not use."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_folder.resolve()}/mlflow.db"
    if HIDDEN in uri:
        uri = _opened(uri)
    scheme, colon, rest = uri.partition("://")
    if not colon:
        raise TrackingError(f"{address(uri)!r} is not a tracking address; {_INSTEAD}")
    if scheme == "sqlite":
        if not rest.startswith("/") or rest[1:] in ("", ":memory:"):
            raise TrackingError(f"{uri!r} does not name a database file; {_INSTEAD}")
        return f"sqlite:///{Path(rest[1:]).absolute()}"
    if scheme.partition("+")[0] not in ("http", "https", *_PORTS):
        raise TrackingError(f"tracking addresses of kind {scheme}:// are not supported; {_INSTEAD}")
    try:
        named = urlsplit(uri).hostname and urlsplit(uri).port != 0  # .port raises for an invalid port
    except ValueError:
        named = False
    if not named:
        raise TrackingError(f"{address(uri)!r} needs a host and a valid port; {_INSTEAD}")
    return uri


def _opened(uri: str) -> str:
    """An address from a file of ours with what opens it, from the environment; TrackingError if that has it not."""
    whole = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address(whole) == uri:
        return whole
    names = ("MLFLOW_TRACKING_TOKEN",), ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    opened = uri.replace(f"{HIDDEN}@", "")
    if (
        uri.startswith("http")
        and HIDDEN not in opened
        and any(all(map(os.environ.get, each)) for each in names)
    ):
        return opened
    raise TrackingError(
        f"{uri} was kept without what opens it; set MLFLOW_TRACKING_URI to the whole address, or for http "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or give --tracking.uri again"
    )


def probe(uri: str) -> None:
    """Ask the address once, at most `TIMEOUT` seconds; TrackingError if it does not answer as MLflow."""
    if uri.startswith("sqlite:"):
        _probe_sqlite(uri)
    elif uri.startswith("http"):
        _probe_server(uri)
    else:
        _probe_database(uri)


def answers(uri: str) -> bool:
    """Whether `probe` finds nothing wrong."""
    try:
        probe(uri)
    except TrackingError:
        return False
    return True


def require(uri: str) -> None:
    """As `probe`, but a database file must be there already."""
    if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise TrackingError(f"no runs are recorded at {uri}; make some: python -m trainables.distill")
    probe(uri)


def _probe_sqlite(uri: str) -> None:
    path = Path(uri.removeprefix("sqlite:///"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=TIMEOUT)) as database:
            database.execute("BEGIN IMMEDIATE")  # fails now if it is read-only, locked, or no database
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(f"cannot record runs in {path}: {error}; {_INSTEAD}") from error


def _probe_server(uri: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        status = mlflow_internals.server_status(uri, TIMEOUT)
    except MlflowException as error:
        raise TrackingError(
            f"no MLflow server answers at {address(uri)} within {TIMEOUT} s; start it, or {_INSTEAD}"
        ) from error
    if status in (401, 403):
        raise TrackingError(
            f"the MLflow server at {address(uri)} refuses (HTTP {status}); "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if status != 200:
        raise TrackingError(f"{address(uri)} answers HTTP {status}, not as MLflow does; {_INSTEAD}")


def _probe_database(uri: str) -> None:
    parts = urlsplit(uri)
    port = parts.port or _PORTS[parts.scheme.partition("+")[0]]
    try:
        socket.create_connection((parts.hostname or "", port), TIMEOUT).close()
    except OSError as error:
        raise TrackingError(f"no database answers at {address(uri)}: {error}; {_INSTEAD}") from error


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Lets one process at a time in: MLflow ruins a SQLite file whose tables two processes make at once."""
    if not uri.startswith("sqlite:"):
        yield
        return
    import fcntl  # not on Windows, where students are used and not trained

    with open(uri.removeprefix("sqlite:///") + ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def experiment(client: MlflowClient, uri: str, name: str, runs_folder: Path) -> Experiment:
    """The experiment of that name, made if need be; without a server its artifacts lie in the runs folder.
    Raises TrackingError if it was deleted, or if its artifacts are in a folder that has gone."""
    experiment = client.get_experiment_by_name(name) or _create(client, uri, name, runs_folder)
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name} was deleted; choose another --tracking.experiment, "
            f"or run: mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    location = urlsplit(experiment.artifact_location)
    if not uri.startswith("http") and location.scheme == "file" and not Path(unquote(location.path)).is_dir():
        raise TrackingError(
            f"experiment {name} keeps its artifacts in {unquote(location.path)}, which is not there (was the "
            "runs folder moved?); move it back, or choose another --tracking.experiment"
        )
    return experiment


def _create(client: MlflowClient, uri: str, name: str, runs_folder: Path) -> Experiment:
    from mlflow.exceptions import MlflowException

    location = None
    if not uri.startswith("http"):
        folder = runs_folder.resolve() / "artifacts" / re.sub(r"^\.|[^\w.-]", "_", name)
        folder.mkdir(parents=True, exist_ok=True)
        location = folder.as_uri()
    try:
        return client.get_experiment(client.create_experiment(name, location, _KIND))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return client.get_experiment_by_name(name)  # another trial of the same sweep was quicker


PATIENCE = 180.0
"""Seconds that a server is waited for, before what was to be sent is left out."""
PAUSE = 5.0
"""Seconds between two questions."""

T = TypeVar("T")


def wait(uri: str) -> None:
    """Wait until the address answers; TrackingError if it does not within `PATIENCE`."""
    if not answers(uri):
        say(f"waiting for MLflow at {address(uri)}, {PATIENCE:.0f} s at most")
    _retrying(TrackingError, PATIENCE)(probe, uri)


def _retrying(kind: type[Exception], seconds: float) -> tenacity.Retrying:
    """Repeats a call that raises such an error, with a pause between two attempts."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(kind),
        wait=tenacity.wait_fixed(PAUSE),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )


class _AwayError(Exception):
    """The server does not answer, so the call may succeed later."""


class Patient:
    """Calls that one server must take, but need not take now."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._left = False  # whether it was given up, until it answers again

    def __call__(self, doing: str, call: Callable[[], T]) -> T | None:
        """The result of `call`; None if the server was given up, TrackingError if it refuses twice."""
        try:
            done = _retrying(_AwayError, 0 if self._left else PATIENCE)(self._twice, doing, call)
        except _AwayError as error:
            self._left = True
            say(f"{error}. Left out; resuming the run by its name sends its metrics again")
            return None
        self._left = False
        return cast(T, done)

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(TrackingError),
        stop=tenacity.stop_after_attempt(2),
        reraise=True,
    )
    def _twice(self, doing: str, call: Callable[[], T]) -> T:
        try:
            with errors(self.uri, doing):
                return call()
        except TrackingError as error:
            if answers(self.uri):
                raise
            raise _AwayError(str(error)) from error
