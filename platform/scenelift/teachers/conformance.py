"""What trainings and scores rely on in any teacher: one function that a teacher from outside is run through."""

from __future__ import annotations

import torch
from torch import Tensor

from scenelift.errors import TeacherError
from scenelift.teachers.teacher import Teacher

_SAME = 1e-3
"""Largest difference of unit vectors that arithmetic in other batches explains."""
_PROMPTS = ("a photo of a {}.", "there is a {} here.")


def check_teacher(teacher: Teacher) -> None:
    """TeacherError, in one line, for the first thing that a teacher does not keep. It must have been prepared, as
    `scenelift.teachers.clip.build_teacher` does; images at the size of its config and at half of it are read."""
    _require(not any(weight.requires_grad for weight in teacher.parameters()), "a weight asks for gradients")
    _require(not teacher.train().training, "train() must leave a teacher in evaluation mode")
    classes, width = len(teacher.vocabulary.classes), teacher.text.shape[-1]
    _require(
        teacher.text.shape == (classes, width), f"text is {list(teacher.text.shape)}, not [{classes}, D]"
    )
    _require_unit(teacher.text, "text")
    _check_prompts(teacher)
    height, whole = teacher.config.image_size
    for size in ((height, whole), (height // 2, whole // 2)):
        _check_images(teacher, size)
    _check_orientation(teacher, (height, whole))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise TeacherError(f"the teacher does not fit: {message}")


def _require_unit(rows: Tensor, what: str) -> None:
    _require(rows.dtype == torch.float32, f"{what} is {rows.dtype}, not float32")
    _require(bool(rows.isfinite().all()), f"{what} is not finite")
    _require(not rows.requires_grad, f"{what} has gradients")
    _require(bool(((rows.norm(dim=1) - 1).abs() < _SAME).all()), f"{what} is not of length 1")


def _check_prompts(teacher: Teacher) -> None:
    words = [word for group in teacher.vocabulary.words for word in group]
    prompts = [prompt.format(word) for word in words for prompt in _PROMPTS]
    encoded = teacher.encode_prompts(prompts)
    wanted = (len(prompts), teacher.text.shape[1])
    _require(encoded.shape == wanted, f"encode_prompts gives {list(encoded.shape)}, not {list(wanted)}")
    _require_unit(encoded, "what encode_prompts gives")
    backwards = teacher.encode_prompts(prompts[::-1]).flip(0)
    _require(_same(encoded, backwards), "a prompt's embedding changes with the prompts around it")


def _check_images(teacher: Teacher, size: tuple[int, int]) -> None:
    images = _images(teacher, 2, size)
    tokens, features = teacher.tokens(images), teacher.features(images)
    shape = tuple(tokens.shape)
    _require(
        len(shape) == 4 and shape[0] == 2, f"tokens gives {list(shape)} for two images, not [2, K, h, w]"
    )
    _require(
        shape[1] == teacher.token_width, f"tokens has {shape[1]} channels, token_width {teacher.token_width}"
    )
    _require(bool(tokens.isfinite().all()), "tokens gives numbers that are not finite")
    _require(not tokens.requires_grad, "tokens gives gradients")
    wanted = (2, teacher.text.shape[1], *shape[2:])
    _require(features.shape == wanted, f"project gives {list(features.shape)}, not {list(wanted)}")
    _require_unit(features, "what project gives")
    _require(_same(features, teacher.features(images)), "the same images give other features each time")
    alone = torch.cat([teacher.features(image[None]) for image in images])
    _require(_same(features, alone), "an image's features change with the images around it")


def _check_orientation(teacher: Teacher, size: tuple[int, int]) -> None:
    """What changes in the upper right quarter of an image changes the upper right of the grid most."""
    height, width = size
    plain = torch.full_like(_images(teacher, 1, size), 128)
    changed = plain.clone()
    changed[..., : height // 2, width // 2 :] = _images(teacher, 1, (height // 2, width - width // 2))
    moved = (teacher.tokens(changed).float() - teacher.tokens(plain).float()).norm(dim=1)[0]
    rows, columns = moved.shape
    inside = torch.zeros_like(moved, dtype=torch.bool)
    inside[: rows // 2, -(columns // 2) :] = True
    seen = min(rows, columns) < 2 or bool(moved[inside].mean() > moved[~inside].mean())
    _require(seen, "the grid of patches is not that of the image: rows from above, columns from the left")


def _images(teacher: Teacher, count: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (count, 3, *size), generator=generator)
    darker = torch.arange(1, count + 1).view(-1, 1, 1, 1)
    return (noise // darker).to(torch.uint8).to(teacher.text.device)


def _same(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < _SAME)
