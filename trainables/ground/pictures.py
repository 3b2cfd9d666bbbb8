"""Pictures of one sentence: its room from above and in perspective, the candidates, and each word's loss."""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scenelift.evaluation.pictures import FAINT, INK, PAPER, legend, save, sheet
from scenelift.geometry.boxes3d import corners
from scenelift.samples.room import Room, Sentence
from trainables.ground.batch import CollateRooms
from trainables.ground.losses import select
from trainables.ground.method import Reading, coarse, masked, reconstruction_losses
from trainables.ground.model import Grounder
from trainables.ground.scores import NONE, Guess, Protocol, guess, right

TRUE, RIGHT, WRONG, CANDIDATE = "#2a9d4b", "#2f6db0", "#d62728", "#e08e2b"
_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)]
_CEILING = 2.2
"""Points above this height, metres, are not drawn: they would hide the room."""


@dataclass(frozen=True)
class Explained:
    """A sentence of a room with the predictions for it."""

    room: Room
    sentence: Sentence
    guess: Guess
    losses: NDArray[np.float32]  # [K, T] of each word from each candidate; no rows without a reconstructor
    keywords: NDArray[np.bool_]  # [T] the masked words
    hit: bool  # Whether the student is right


@torch.inference_mode()
def explain(student: Grounder, room: Room, number: int, protocol: Protocol) -> Explained:
    """The predictions of student and teacher for a sentence of a room."""
    sentence = room.sentences[number]
    single = dataclasses.replace(room, sentences=(sentence,))
    batch = CollateRooms.of(student.words, student.method)([single]).to(student.vectors.device)
    (answer,) = guess(student, batch)
    good = next(iter(right(room, sentence, protocol).values()))
    first = int(answer.student[0]) if len(answer.student) else NONE
    losses = np.zeros((0, len(sentence.tokens)), np.float32)
    if student.method.reconstruct:
        losses = _word_losses(student, batch, answer)
    keywords = batch.keywords[0].cpu().numpy()
    return Explained(room, sentence, answer, losses, keywords, first != NONE and bool(good[first]))


def _word_losses(student: Grounder, batch: Any, answer: Guess) -> NDArray[np.float32]:
    """[K, T] losses, candidates in the order of the answer."""
    training = student.training
    student.eval()
    proposals, read = student.look(batch), Reading.of(student, batch)
    weights = coarse(student, batch, proposals, read)
    chosen, valid = select(weights, batch.objects[batch.room], student.method.candidates)
    candidates = proposals[batch.room[:, None], chosen]
    losses, each = reconstruction_losses(student, batch, candidates, read, masked(student, batch))
    student.train(training)
    order = losses.masked_fill(~valid, torch.inf).sort(dim=1, stable=True).indices[0]
    return each[:, order[: int((answer.teacher != NONE).sum())]].T.cpu().numpy()


def draw(folder: Path, number: int, student: Grounder, room: Room, protocol: Protocol) -> None:
    """Draw `grounding_NUMBER.png`: a sentence about an object that is not unique in its room, if there is one."""
    several = [i for i, sentence in enumerate(room.sentences) if not sentence.unique]
    explained = explain(student, room, (several or [0])[0], protocol)
    figure = sheet(11.5, 6.3 + 0.16 * len(explained.losses))
    parts: Any = figure.subfigures(2, 1, height_ratios=(5.2, 1.2 + 0.22 * len(explained.losses)))
    upper, lower = parts
    _from_above(upper.add_subplot(1, 2, 1), explained)
    _in_perspective(upper.add_subplot(1, 2, 2, projection="3d"), explained)
    verdict = "found" if explained.hit else "missed"
    text = "\n".join(textwrap.wrap(explained.sentence.text, 95))
    upper.suptitle(f"{explained.room.scene}: {text}   ({verdict})", fontsize=11, color=INK)
    _words(lower.add_subplot(), explained)
    entries = [("true box", TRUE), ("student's box, right", RIGHT), ("student's box, wrong", WRONG)]
    legend(figure, [*entries, ("candidates, by rank of the teacher", CANDIDATE)])
    save(figure, folder / f"grounding_{number}.png")


def _drawn(explained: Explained) -> list[tuple[NDArray[np.float32], str, float, str]]:
    """(box, color, line width, text) of all boxes to draw, the most important last."""
    room, answer = explained.room, explained.guess
    framed = []
    for rank, (proposal, loss) in enumerate(zip(answer.teacher, answer.losses, strict=True), 1):
        if proposal != NONE:
            label = f"{rank}: {loss:.2f}" if len(explained.losses) else ""
            framed.append((room.boxes[proposal], CANDIDATE, 1.0, label))
    framed.reverse()
    if not np.isnan(explained.sentence.box).any():
        framed.append((explained.sentence.box, TRUE, 2.6, ""))
    if len(answer.student) and answer.student[0] != NONE:
        framed.append((room.boxes[answer.student[0]], RIGHT if explained.hit else WRONG, 1.8, ""))
    return framed


def _from_above(axis: Axes, explained: Explained) -> None:
    room = explained.room
    shown = room.points[:, 2] < _CEILING
    order = np.argsort(room.points[shown, 2])
    points, colors = room.points[shown][order], room.colors[shown][order]
    axis.scatter(points[:, 0], points[:, 1], c=colors / 255, s=2.5, linewidths=0)
    for box, name in zip(room.objects, room.names, strict=True):
        axis.text(box[0], box[1], name, fontsize=6.5, color=INK, ha="center", va="center", alpha=0.75)
    for box, color, width, label in _drawn(explained):
        corner = box[:2] - box[3:5] / 2
        axis.add_patch(Rectangle(tuple(corner), box[3], box[4], fill=False, edgecolor=color, linewidth=width))
        if label:
            place = (corner[0], corner[1] + box[4])
            pad = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.4}
            axis.text(*place, label, fontsize=6.5, color=color, va="bottom", bbox=pad)
    axis.set(aspect="equal", xticks=[], yticks=[])
    axis.set_title("from above; number: rank and loss", fontsize=9, color=INK)
    axis.spines[:].set_color(FAINT)


def _in_perspective(axis: Any, explained: Explained) -> None:
    room = explained.room
    shown = room.points[:, 2] < _CEILING
    points = room.points[shown]
    axis.scatter(*points.T, c=room.colors[shown] / 255, s=1.6, linewidths=0, depthshade=False)
    for box, color, width, _ in _drawn(explained):
        eight = corners(box)
        for a, b in _EDGES:
            axis.plot(*eight[[a, b]].T, color=color, linewidth=width)
    if len(points):
        low, high = points.min(0), points.max(0)
        axis.set_box_aspect(np.maximum(high - low, 0.1), zoom=1.2)
    axis.view_init(elev=38, azim=-62)
    axis.set_axis_off()


def _words(axis: Axes, explained: Explained) -> None:
    """A cell for every word and candidate, darker for a higher reconstruction loss."""
    losses, sentence = explained.losses, explained.sentence
    title = "reconstruction loss of each word from each candidate; keywords are bold"
    axis.set_title(title, fontsize=9, color=INK)
    names = sentence.tokens[: losses.shape[1]]
    axis.set_xticks(range(len(names)), names, fontsize=8, color=INK, rotation=30, ha="right")
    for label, keyword in zip(axis.get_xticklabels(), explained.keywords, strict=False):
        label.set_fontweight("bold" if keyword else "normal")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    if not len(losses):
        axis.set_yticks([])
        axis.set(xlim=(-0.5, len(names) - 0.5))
        return
    darkest = max(4.0, float(losses.max()))
    axis.imshow(losses, cmap="Oranges", aspect="auto", vmin=0, vmax=darkest)
    for (row, column), loss in np.ndenumerate(losses):
        color = PAPER if loss > 0.6 * darkest else INK
        axis.text(column, row, f"{loss:.1f}", fontsize=6.5, ha="center", va="center", color=color)
    ranks = [f"{rank}: {loss:.2f}" for rank, loss in enumerate(explained.guess.losses[: len(losses)], 1)]
    axis.set_yticks(range(len(losses)), ranks, fontsize=7.5, color=INK)
