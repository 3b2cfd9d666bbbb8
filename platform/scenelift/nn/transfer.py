"""Taking over the backbone of a trained student into another one, and what it says of the classes."""

from __future__ import annotations

import torch
from torch import nn

from scenelift.config import build as configuration
from scenelift.errors import ConfigError
from scenelift.io.console import say
from scenelift.nn.student import Student

_FREE = ("network.engine", "voxels.feature_scale")
"""Settings that may differ: the engine changes no weight, and the scale may be what makes the point features of
two data sets alike."""


_SHARPNESS = 5.0
"""A distilled student's scores are cosines of some size that its temperature (0.2 in our presets) divides."""


def load_backbone(student: Student, start: Student, path: str) -> None:
    """Copy every tensor of the start's backbone that has equal name and shape in the student's.

    Says how many parameters that are, and warns if the two see a cloud differently. ConfigError, naming the
    settings that would make the student fit, if nothing can be copied. path: where the start was read from.
    """
    own = student.backbone.state_dict()
    given = {
        name: tensor
        for name, tensor in start.backbone.state_dict().items()
        if name in own and own[name].shape == tensor.shape
    }
    sizes = {name: parameter.numel() for name, parameter in student.backbone.named_parameters()}
    taken, whole = sum(sizes.get(name, 0) for name in given), sum(sizes.values())
    differences = _differences(student, start)
    if not taken:
        raise ConfigError(f"nothing of the backbone in {path} fits: {differences}")
    student.backbone.load_state_dict(given, strict=False)
    say(f"taken over from {path}: {taken:,} of the backbone's {whole:,} parameters")
    if differences:
        say(f"warning: {differences}")


def classify_by_text(student: Student, start: Student, path: str) -> None:
    """Make the classifier of a student that has the start's backbone answer as the start does by text.

    Both maps are linear, so the classifier becomes their product; ConfigError if the start has no text, or of
    other classes. path: where the start was read from.
    """
    if "semantic" not in start.heads or "classifier" in start.heads:
        raise ConfigError(f"{path} names no classes by text; leave head at new")
    if start.vocabulary.classes != student.vocabulary.classes:
        raise ConfigError(f"{path} names other classes than the labels have; leave head at new")
    head, classifier = start.heads["semantic"], student.heads["classifier"]
    assert isinstance(head, nn.Linear) and isinstance(classifier, nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(_SHARPNESS * start.text @ head.weight)
        classifier.bias.copy_(_SHARPNESS * start.text @ head.bias)


def _differences(student: Student, start: Student) -> str:
    """How the start sees a cloud unlike the student; empty where it does not."""
    own, given = configuration.flatten(student.config), configuration.flatten(start.config)
    keys = [key for key in own if own[key] != given[key] and key not in _FREE]
    settings = " ".join(f"--student.{key} {_words(given[key])}" for key in keys)
    parts = [f"the start was made with {settings}"] if keys else []
    if start.point_features != student.point_features:
        parts.append(f"its points had {start.point_features} features, these have {student.point_features}")
    return "; ".join(parts)


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
