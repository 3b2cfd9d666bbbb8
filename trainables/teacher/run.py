"""Trains the tiny CLIP that teaches in the synthetic world, from images whose regions have captions.

The image passes the ViT once; the value path of its last block, from which `scenelift.teachers.clip` reads patches,
is averaged over each region and matched with the caption's embedding as CLIP matches images and texts. Captions
name what is inside a box; pixels are not labeled.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from scenelift.config.build import flatten, to_dict
from scenelift.errors import DataError, TrainingError
from scenelift.teachers.clip import build_clip
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.open_clip_internals import value_tokens
from scenelift.teachers.tiny import TinyModel, TinyTokenizer, build_tiny, save_tiny
from trainables.teacher.config import PRESETS, TeacherTraining
from trainables.teacher.regions import (
    NAMES,
    RegionBatch,
    RegionImage,
    Rng,
    caption,
    collate,
    draw_batch,
    patch_shares,
    read_regions,
    sentences,
    split_by_scene,
)

COLOR = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
MAX_LOGIT_SCALE = math.log(100)
PLACES = ("root", "out", "threads")
"""Settings that do not change the trained model: paths and threads."""


def run(config: TeacherTraining) -> dict[str, Any]:
    """Train, test on held-out scenes, and write the model; returns its provenance."""
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    torch.manual_seed(config.seed)
    model = TinyModel.of(sentences())
    images = read_regions(config.root, config.version, model.image_size)
    train_images, test_images = split_by_scene(images, config.held_out)
    clip, start, commit = build_tiny(model), time.monotonic(), _commit()
    world = config.root / "world.yaml"
    train(clip, model, train_images, config)
    provenance: dict[str, Any] = {
        "command": _command(config),
        "config": {k: v for k, v in to_dict(config).items() if k not in PLACES},
        "world": world.read_text() if world.is_file() else "unknown",
        "images": len(train_images),
        "seconds": round(time.monotonic() - start),
        "commit": commit,
    }
    save_tiny(config.out, clip, model)
    provenance["held_out"] = {"images": len(test_images), **region_scores(config.out, test_images)}
    save_tiny(config.out, clip, replace(model, provenance=json.dumps(provenance)))
    for name, value in provenance["held_out"].items():
        print(f"{name:24} {value:.3f}" if isinstance(value, float) else f"{name:24} {value}")
    print(f"{config.out} ({config.out.stat().st_size / 1e6:.1f} MB, {provenance['seconds']} s)")
    print(f"next: python -m trainables.distill --teacher.weights {shlex.quote(str(config.out))}")
    return provenance


def train(
    clip: open_clip.CLIP, model: TinyModel, images: Sequence[RegionImage], config: TeacherTraining
) -> list[float]:
    """Train in place; returns the loss of each step. TrainingError if it stops being finite."""
    rng = np.random.default_rng(config.seed)
    tokenizer = TinyTokenizer(model)
    optimizer, schedule = _optimizer(clip, config)
    losses, progress = [], tqdm(range(config.steps), "teacher", mininterval=1)
    clip.train()
    for step in progress:
        batch = draw_batch(images, config.images, config.regions, rng)
        loss = batch_loss(clip, model, tokenizer, batch, rng)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {step}; lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        losses.append(loss.item())
        if step % 50 == 0:
            progress.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
    clip.eval()
    return losses


def _optimizer(
    clip: open_clip.CLIP, config: TeacherTraining
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW without decay of gains, biases and the logit scale; linear warm-up, then a cosine to zero."""
    used = [parameter for parameter in clip.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in used if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in used if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(config.warmup, 1))
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / config.steps, 1)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def batch_loss(
    clip: open_clip.CLIP, model: TinyModel, tokenizer: TinyTokenizer, batch: RegionBatch, rng: Rng
) -> Tensor:
    """Contrastive loss of a batch's regions and captions."""
    captions, target = caption(batch.names, rng)
    texts = clip.encode_text(tokenizer(captions), normalize=True)
    cosines = region_features(clip, model, batch) @ texts.T
    return contrastive_loss(clip.logit_scale.exp() * cosines, torch.tensor(target))


def contrastive_loss(logits: Tensor, target: Tensor) -> Tensor:
    """CLIP's loss when several regions share a caption. logits: [R, U]; target: [R], the caption of each.

    Region to text is a cross entropy over distinct captions; text to region averages the log-likelihood of
    all regions that have the caption. Captions without a region only serve the first.
    """
    to_text = F.cross_entropy(logits, target)
    fits = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    count = fits.sum(0)
    likelihood = (F.log_softmax(logits, dim=0) * fits).sum(0)[count > 0] / count[count > 0]
    return (to_text - likelihood.mean()) / 2


def region_features(clip: open_clip.CLIP, model: TinyModel, batch: RegionBatch) -> Tensor:
    """[B K, D] mean over each region of the unit features of its patches, as the teacher computes them."""
    mean, std = (torch.tensor(color).view(3, 1, 1) for color in COLOR)
    visual = clip.visual
    pixels = (batch.images.float() / 255 - mean) / std
    tokens = value_tokens(visual, pixels, visual.positional_embedding, model.value_path)
    patches = F.normalize(visual.ln_post(tokens) @ visual.proj, dim=-1)
    return (patch_shares(batch.boxes, visual.grid_size, model.patch) @ patches).flatten(0, 1)


@torch.no_grad()
def region_scores(weights: Path, images: Sequence[RegionImage]) -> dict[str, float]:
    """Accuracy of the saved model on regions of one class, among all of nuScenes, and its mean over classes. A
    region's score is the mean of its patches'."""
    teacher = build_clip(TeacherConfig(weights=str(weights)), NAMES)
    truth, predicted = [], []
    for image in tqdm(images, "held out", leave=False):
        single = [index for index, names in enumerate(image.names) if len(names) == 1]
        if not single:
            continue
        batch = collate([image])
        shares = patch_shares(batch.boxes[0, single], teacher.grid_size, teacher.visual.patch_size)
        predicted += (shares @ teacher.scores(batch.images)[0].flatten(1).T).argmax(1).tolist()
        truth += [NAMES.classes.index(image.names[index][0]) for index in single]
    if not truth:
        raise DataError("no held-out region is of one class; write more scenes")
    right = np.array(truth) == np.array(predicted)
    by_class = {
        name: float(right[np.array(truth) == i].mean()) for i, name in enumerate(NAMES.classes) if i in truth
    }
    return {
        "accuracy": float(right.mean()),
        "mean_class_accuracy": float(np.mean(list(by_class.values()))),
        **by_class,
    }


def _command(config: TeacherTraining) -> str:
    """The command line without `PLACES`."""
    preset = flatten(PRESETS["synthetic"])
    changed = {
        key: value for key, value in flatten(config).items() if value != preset[key] and key not in PLACES
    }
    return " ".join(["python -m trainables.teacher", *(f"--{key} {value}" for key, value in changed.items())])


def _commit() -> str:
    """The commit that is checked out, marked if files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
