"""Parallel workers wait for the gradient of every parameter that wants one: whatever is switched off is frozen, and
a batch of which nothing can be learnt gives gradients too. Every combination of the losses of every method."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from scenelift.errors import ConfigError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import VoxelConfig
from scenelift.samples.caption import RegionStatistics, feature_sums
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame, with_superpixels
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.train.method import Method, Progress
from tests.made.captions import made_up_image
from tests.made.frames import VOCABULARY, made_up_frame
from tests.made.rooms import CLASSES, FEATURES, made_up_room
from tests.trainables.phrases.test_clip_student import CONFIG as CLIP
from tests.trainables.phrases.test_clip_student import TEACHER, WORDS, clip, photographed
from trainables.distill.config import PRESETS as DISTILL
from trainables.distill.config import DistillLoss, SelfTrainingConfig
from trainables.distill.method import Clip2Scene, make_student
from trainables.finetune.config import FinetuneLoss
from trainables.finetune.method import FineTuning
from trainables.ground.batch import CollateRooms
from trainables.ground.config import GroundLoss, MethodConfig
from trainables.ground.config import NetworkConfig as GroundNetwork
from trainables.ground.lexicon import Lexicon
from trainables.ground.method import Grounding
from trainables.ground.model import Grounder
from trainables.phrases import student as phrase_student
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.clip_student import ClipStudent
from trainables.phrases.config import ContrastConfig, DistillationConfig, EncoderConfig
from trainables.phrases.method import Ckd
from trainables.pretrain.config import PRESETS as PRETRAIN
from trainables.pretrain.image_backbone import build_image_backbone, feature_width
from trainables.pretrain.method import Pretrain

SIZE = (14, 24)
RANDOM = TeacherConfig(weights="random", image_size=SIZE)
SMALL = StudentConfig(VoxelConfig(8.0, "geometry", 1 / 255), NetworkConfig(4, (4,), (4,)))
BRANCHED = replace(SMALL, network=NetworkConfig(4, (4, 4), (4, 4), point_branch=True, stem_convs=2))
EARLY, LATE = Progress(0, 0, 4), Progress(9, 3, 4)

Case = tuple[str, Method, Sequence[Any]]
"""What is switched how, the method, and its batches."""


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of this process."""
    file = tmp_path_factory.mktemp("group") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def frames(names: Sequence[str], **changes: Any) -> list[Frame]:
    options = ReadOptions(image_size=SIZE)
    return [replace(with_superpixels(made_up_frame(name, options), 6), **changes) for name in names]


def cloud_batches(**options: Any) -> list[Any]:
    """Frames with pairs and labels, and one without either."""
    collate = Collate(SMALL.voxels, superpixels=True, **options)
    bare = {"pair_points": np.zeros(0, np.int32), "pair_pixels": np.zeros((0, 3), np.int16)}
    usual, poor = frames(["frame-00001", "frame-00002"]), frames(["frame-00003"], **bare)
    poor = [replace(frame, labels=np.zeros_like(frame.labels)) for frame in poor]
    return [collate(usual), collate(poor)]


def distill() -> Iterator[Case]:
    teacher, batches = build_teacher(RANDOM, VOCABULARY), cloud_batches(grid=5.0)
    images = ("clip", "frozen", "trained")
    spatial = [
        (0.0, "code", "clip"),
        (1.0, "code", "clip"),
        *itertools.product((1.0,), ("joint", "cosine"), images),
    ]
    forms = itertools.cycle(("classes", "points", "divergence"))
    for semantic, (weight, form, features), (start, unpaired) in itertools.product(
        (0.0, 1.0), spatial, ((None, 0.0), (2, 1.0))
    ):
        try:
            loss = DistillLoss(
                semantic=semantic,
                semantic_form=next(forms),
                spatial_temporal=weight,
                spatial_temporal_form=form,
                image_features=features,
            )
        except ConfigError:  # nothing to learn
            continue
        own = SelfTrainingConfig(start, unpaired=unpaired)
        config = replace(DISTILL["synthetic"], student=SMALL, loss=loss, self_training=own)
        method = Clip2Scene(make_student(config, teacher, 1), teacher, loss, own)
        yield f"{loss} {own}", method, batches


def finetune() -> Iterator[Case]:
    batches = cloud_batches()
    for (entropy, lovasz), freeze, norms, config in itertools.product(
        ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)), (False, True), (0.5, 1.0), (SMALL, BRANCHED)
    ):
        student = Student(config, 1, torch.zeros(3, 0), VOCABULARY, {"classifier": 3})
        method = FineTuning(student, FinetuneLoss(entropy, lovasz), freeze, norms)
        yield f"{entropy=} {lovasz=} {freeze=} {norms=} {config}", method, batches


def pretrain() -> Iterator[Case]:
    config, batches = PRETRAIN["synthetic"], cloud_batches()
    images = build_image_backbone(config.images, RANDOM, VOCABULARY)
    heads, wide = {"contrast": 8}, {"image": (feature_width(images, config.images, SIZE), 8)}
    for method, cached, align in itertools.product(("ppkt", "slidr"), (0, 9), (False, True)):
        own = replace(config.images, cache_frames=cached, align_corners=align)
        student = Student(SMALL, 1, torch.zeros(3, 0), VOCABULARY, heads, wide)
        yield (
            f"{method} {own}",
            Pretrain(student, images, replace(config, method=method, images=own)),
            batches,
        )


def ground() -> Iterator[Case]:
    lexicon, draw = Lexicon(("the", "red", "chair"), torch.randn(5, 6)), random.Random(0)
    rooms = [made_up_room(f"room-{number}", 4, 2) for number in range(3)]
    lost = [replace(sentence, noun=-1, category=-1) for sentence in rooms[0].sentences]
    poor = replace(rooms[0], objectness=np.zeros(4, bool), sentences=tuple(lost))
    for category, mil, words, match in itertools.product(
        ("noun", "annotation", "off"), ("nce", "margin", "off"), (False, True), (False, True)
    ):
        try:
            method = MethodConfig(
                category,
                mil,
                words,
                match,
                candidates=2,
                background=draw.choice((False, True)),
                hard_candidate_fraction=draw.choice((0.5, 1.0)),
                hard_candidates_from=2,
                mask_keywords=draw.choice((False, True)),
            )
        except ConfigError:  # nothing to select candidates by
            continue
        relations, pooling = draw.choice(("absolute", "pairwise")), draw.choice(("last", "mean"))
        network = GroundNetwork(
            8, 2, draw.choice((0, 1)), relations, pooling, decoder_layers=1, causal=draw.choice((False, True))
        )
        collate = CollateRooms.of(lexicon.words, method)
        grounder = Grounder(network, method, lexicon, FEATURES, CLASSES)
        yield f"{method} {network}", Grounding(grounder, GroundLoss()), [collate(rooms), collate([poor])]


def phrases(folder: Path) -> Iterator[Case]:
    usual, draw = [photographed("a", 6), photographed("b", 4)], random.Random(0)
    silent = [replace(made_up_image("c", sentences=(("quux",),)), photo=usual[0].photo)]
    statistics = RegionStatistics.of([feature_sums(sample.features for sample in usual)])
    glove, teacher = folder / "glove.txt", clip()
    glove.write_text("\n".join(f"{word} 1 2" for word in WORDS))
    words = EncoderConfig(word_channels=2, lstm=4, hidden=4, channels=4)
    students: dict[str, Callable[[], Any]] = {
        "words": lambda: phrase_student.make_student(words, WORDS, statistics),
        "glove": lambda: phrase_student.make_student(replace(words, glove=str(glove)), WORDS, statistics),
        "clip": lambda: ClipStudent(CLIP, WORDS, TEACHER, teacher),
    }
    for (name, build), form, support in itertools.product(
        students.items(), ("nce", "margin", "none"), ("neighbours", "all", "none")
    ):
        if form == support == "none":  # refused by the config
            continue
        contrast = ContrastConfig(
            form,
            phrases=draw.choice(("sum", "mean")),
            regions=draw.choice(("max", "logsumexp")),
            negatives="images" if form == "margin" else draw.choice(("images", "images and sentences")),
        )
        distillation = DistillationConfig(support, teacher=draw.choice(("belief", "log belief")))
        student = build()
        collate = PhraseCollate(student.vocabulary, distil=support != "none", photo_size=student.photo_size)
        batches = [collate(usual), collate(usual[:1]), collate(silent)]
        yield f"{name} {contrast} {distillation}", Ckd(student, contrast, distillation), batches


@pytest.mark.slow
@pytest.mark.parametrize("cases", [distill, finetune, pretrain, ground, phrases])
def test_no_parameter_waits_for_a_gradient(cases: Callable[..., Iterator[Case]], tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, method, batches in cases(tmp_path) if cases is phrases else cases():
        assert not ungraded(method.train(), batches), name


def ungraded(method: Method, batches: Sequence[Any]) -> set[str]:
    """The trained parameters that some batch gives no gradient, early or late."""
    parallel = DistributedDataParallel(method)
    found: set[str] = set()
    for progress, batch in itertools.product((EARLY, LATE), batches):
        parallel.zero_grad()
        losses = parallel(batch, progress)
        torch.stack([method.weights[name] * loss for name, loss in losses.items()]).sum().backward()
        trained = [pair for pair in method.named_parameters() if pair[1].requires_grad]
        found |= {name for name, parameter in trained if parameter.grad is None}
        if found:  # the next step would raise
            return found
    return found
