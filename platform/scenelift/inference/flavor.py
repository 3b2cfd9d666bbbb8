"""MLflow's door to a student: `mlflow.pyfunc.load_model(URI).predict(scan)`, and `mlflow models serve`.

A logged student is its own files and an `MLmodel` that names this module: no pickle, and nothing to unpack.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from scenelift import __version__
from scenelift.inference.labeler import Labeler, load
from scenelift.nn.student import Student


class Served:
    """A student with MLflow's interface."""

    def __init__(self, labeler: Labeler) -> None:
        self.labeler = labeler

    def predict(self, scan: Any, params: dict[str, Any] | None = None) -> Any:
        """A table with id, name and confidence of each point.

        scan: [N, 3 + F] as an array, a table (its columns in this order), or rows. params: classes (own words) and
        threshold, as in `Labeler.predict`.
        """
        import pandas as pd  # comes with MLflow

        rows = scan.to_numpy() if isinstance(scan, pd.DataFrame) else np.asarray(scan)
        how = dict(params or {})
        words = [str(word) for word in how.get("classes", ())]
        labels = self.labeler.predict(rows, classes=words or None, threshold=float(how.get("threshold", 0)))
        return pd.DataFrame({"id": labels.ids, "name": labels.names, "confidence": labels.confidence})


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls; path: of the student's folder."""
    return Served(load(path))


def names_classes(student: object) -> bool:
    """Whether a student is one that labels points."""
    return isinstance(student, Student) and not {"semantic", "classifier"}.isdisjoint(student.heads)


def save(student: Path, target: Path) -> None:
    """Write a model of MLflow around the files of a student; target: a folder that is not there yet."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    columns = [ColSpec("long", "id"), ColSpec("string", "name"), ColSpec("float", "confidence")]
    options = [ParamSpec("threshold", "float", 0.0), ParamSpec("classes", "string", [], (-1,))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for an example; a scan of any size and type is accepted
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=__name__,
            data_path=str(student),
            signature=ModelSignature(outputs=Schema(columns), params=ParamSchema(options)),
            pip_requirements=[f"scenelift=={__version__}"],
        )
