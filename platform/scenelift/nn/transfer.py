"""Transfer of a trained student's backbone, and of its classification by text, into another student."""

from __future__ import annotations

import torch
from torch import nn

from scenelift.config import build as configuration
from scenelift.errors import ConfigError
from scenelift.io.console import say
from scenelift.nn.student import Student

_FREE = ("network.engine", "network.momentum", "voxels.feature_scale", "voxels.feature_offset")
"""Settings that may differ; scale and offset may be what makes the point features of two data sets comparable."""

_SHARPNESS = 5.0
"""Scale of the initial classifier's logits: 1 / the distillation temperature (0.2 in our presets)."""


def load_backbone(student: Student, start: Student, path: str) -> None:
    """Copy every tensor of the start's backbone whose name and shape match. Prints how many parameters, and a
    warning if the students' inputs differ; ConfigError, with the settings that fit, if none. path: of the
    start."""
    own = student.backbone.state_dict()
    matching = {
        name: tensor
        for name, tensor in start.backbone.state_dict().items()
        if name in own and own[name].shape == tensor.shape
    }
    sizes = {name: parameter.numel() for name, parameter in student.backbone.named_parameters()}
    copied, total = sum(sizes.get(name, 0) for name in matching), sum(sizes.values())
    differences = _differences(student, start)
    if not copied:
        raise ConfigError(
            f"nothing of the backbone in {path} fits: {differences}; give the student the settings of the start"
        )
    student.backbone.load_state_dict(matching, strict=False)
    say(f"copied from {path}: {copied:,} of the backbone's {total:,} parameters")
    if differences:
        say(f"warning: {differences}")


def classify_by_text(student: Student, start: Student, path: str) -> None:
    """Initialize a student's classifier to predict what the start does by text: the product of two linear maps.
    ConfigError if the start does not classify by text, or has other classes. path: of the start."""
    if "semantic" not in start.heads or "classifier" in start.heads:
        raise ConfigError(f"{path} does not classify by text; write --head new")
    if start.vocabulary.classes != student.vocabulary.classes:
        raise ConfigError(f"{path} has other classes than the labels; write --head new")
    head, classifier = start.heads["semantic"], student.heads["classifier"]
    assert isinstance(head, nn.Linear) and isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(_SHARPNESS * start.text @ head.weight)
        classifier.bias.copy_(_SHARPNESS * start.text @ head.bias)


def _differences(student: Student, start: Student) -> str:
    """The differences of the start's input from the student's, in words; empty if there is none."""
    now, before = configuration.flatten(student.config), configuration.flatten(start.config)
    keys = [key for key in now if now[key] != before[key] and key not in _FREE]
    settings = " ".join(f"--student.{key} {_words(before[key])}" for key in keys)
    parts = [f"the start was trained with {settings}"] if keys else []
    if start.point_features != student.point_features:
        parts.append(f"its points had {start.point_features} features, these have {student.point_features}")
    return "; ".join(parts)


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
