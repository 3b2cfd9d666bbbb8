"""The real training step of every method, on one batch that lies in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.gpu.bench import Bench, Engine, Precision
from benchmarks.gpu.frames import Frames
from scenelift.nn.config import NETWORKS
from scenelift.points.collate import Collate
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig, OptimizerConfig
from scenelift.train.method import Method
from scenelift.train.plan import Plan
from scenelift.train.state import TrainState, Worker

FRAMES = 1000
"""Length of the made-up training that a step belongs to."""


@dataclass(frozen=True)
class Case:
    """A method with its batch."""

    build: Callable[[Engine, torch.device], Method]
    """Makes it with the same weights each time."""
    batch: Any
    loop: LoopConfig
    optimizer: OptimizerConfig

    def state(self, bench: Bench, arithmetic: Precision, engine: Engine, device: torch.device) -> TrainState:
        """The method in the training loop."""
        loop = replace(self.loop, precision=arithmetic, accumulate=1)
        return train_state(self.build(engine, device), loop, self.optimizer, device)

    def step(self, state: TrainState) -> Callable[[], None]:
        """One optimizer step on the batch."""
        return lambda: state.advance(iter([self.batch]))


def train_state(
    method: Method,
    loop: LoopConfig,
    optimizer: OptimizerConfig,
    device: torch.device,
    rank: int = 0,
    workers: int = 1,
) -> TrainState:
    """The loop's state, of a training that is neither read nor saved."""

    def nothing(*_: Any) -> Any:
        raise AssertionError("batches lie in memory")

    checkpoints = Checkpoints(tempfile.mkdtemp())
    plan = Plan(FRAMES, loop, workers)
    return TrainState(
        method, Worker(plan, optimizer, checkpoints, nothing, nothing, rank=rank, device=device)
    )


def distill(frames: Frames, small: bool, real: bool, **changes: Any) -> Case:
    """CLIP2Scene: the `nuscenes` preset on 4 x 3 clouds with 24 photos (real), or `synthetic_whole`."""
    from scenelift.teachers.clip import build_teacher
    from trainables.distill.config import PRESETS
    from trainables.distill.method import Clip2Scene, make_student

    config = PRESETS["nuscenes" if real else "synthetic_whole"]
    if real:
        config = replace(
            config,
            teacher=replace(config.teacher, weights="random"),
            self_training=replace(config.self_training, start=None),
        )
    if real and small:
        config = replace(
            config,
            student=replace(config.student, network=NETWORKS["tiny"]),
            teacher=replace(config.teacher, model="tiny", image_size=(112, 192)),
        )
    config = replace(config, **{key: value for key, value in changes.items() if key in ("student", "loss")})
    teacher_config = replace(config.teacher, **changes.get("teacher", {}))
    vocabulary = frames.vocabularies[0 if real else -1]
    samples = frames.large(1 if small else 4, sweeps=2) if real else frames.synthetic(2)
    config = replace(config, loop=replace(config.loop, batch=len(samples)))
    grid = config.loss.grid if config.loss.cells else None
    batch = Collate(config.student.voxels, config.augmentation, 0, grid=grid)(samples, 0)
    features = samples[0].features.shape[1]
    teachers: dict[torch.device, Any] = {}

    def build(engine: Engine, device: torch.device) -> Method:
        torch.manual_seed(0)
        if device not in teachers:
            teachers[device] = build_teacher(teacher_config, vocabulary, device)
        torch.manual_seed(0)
        teacher = teachers[device]
        made = make_student(_on_engine(config, "torch"), teacher, features).state_dict()
        student = make_student(_on_engine(config, engine), teacher, features)
        student.load_state_dict(made)  # engines draw their first weights in another order
        return Clip2Scene(student, teacher, config.loss, config.self_training, 0)

    return Case(build, batch, config.loop, config.optimizer)


def _on_engine(config: Any, engine: Engine) -> Any:
    network = replace(config.student.network, engine=engine)
    return replace(config, student=replace(config.student, network=network))


def finetune(frames: Frames, small: bool) -> Case:
    """Fine-tuning with fixed batch norms: the backbone is trained in evaluation mode."""
    from scenelift.nn.student import Student
    from trainables.finetune.config import PRESETS
    from trainables.finetune.method import FineTuning

    config = PRESETS["synthetic"]
    samples, vocabulary = frames.synthetic(2), frames.vocabularies[-1]
    config = replace(config, loop=replace(config.loop, batch=2))
    batch = Collate(config.student.voxels, config.augmentation, 0, images=False)(samples, 0)
    features, classes = samples[0].features.shape[1], len(vocabulary.classes)

    def begin(engine: Engine) -> Student:
        torch.manual_seed(0)
        network = _on_engine(config, engine).student
        return Student(network, features, torch.zeros(classes, 0), vocabulary, {"classifier": classes})

    def build(engine: Engine, device: torch.device) -> Method:
        student = begin(engine)
        student.load_state_dict(begin("torch").state_dict())
        return FineTuning(student, config.loss, free_norms=0.0)

    return Case(build, batch, config.loop, config.optimizer)


def pretrain(frames: Frames, small: bool, contrast: str) -> Case:
    """PPKT or SLidR, `synthetic` preset, from the tiny CLIP's images."""
    from scenelift.nn.student import Student
    from trainables.pretrain.config import PRESETS
    from trainables.pretrain.image_backbone import build_image_backbone, feature_width
    from trainables.pretrain.method import Pretrain

    config = replace(PRESETS["synthetic"], method=contrast)  # type: ignore[arg-type]
    config = replace(
        config,
        loop=replace(config.loop, batch=2),
        contrast=replace(config.contrast, pairs=100_000),  # all of them: drawing differs between devices
    )
    samples, vocabulary = frames.synthetic(2), frames.vocabularies[-1]
    voxels, slidr = config.student.voxels, contrast == "slidr"
    batch = Collate(voxels, config.augmentation, 0, superpixels=slidr)(samples, 0)

    def build(engine: Engine, device: torch.device) -> Method:
        images = build_image_backbone(config.images, config.teacher, vocabulary)
        width = feature_width(images, config.images, samples[0].image_size)
        channels = config.contrast.channels

        def student(engine: Engine) -> Student:
            torch.manual_seed(0)
            return Student(
                _on_engine(config, engine).student,
                samples[0].features.shape[1],
                torch.zeros((len(vocabulary.classes), 0)),
                vocabulary,
                heads={"contrast": channels},
                projections={"image": (width, channels)},
            )

        ours = student(engine)
        ours.load_state_dict(student("torch").state_dict())
        return Pretrain(ours, images, config)

    return Case(build, batch, config.loop, config.optimizer)


def ground(small: bool, preset: str = "paper") -> Case:
    """WS-3DVG at the paper's size: 4 rooms of 256 proposals, 8 sentences each of up to 60 of 3,500 words."""
    from trainables.ground.batch import RoomBatch
    from trainables.ground.config import PRESETS
    from trainables.ground.lexicon import Lexicon
    from trainables.ground.method import Grounding
    from trainables.ground.model import Grounder

    rooms, proposals, length, words, width, classes = (
        (4, 256, 60, 3500, 128, 18) if not small else (2, 8, 9, 50, 16, 5)
    )
    g = torch.Generator().manual_seed(0)
    sentences = 8 * rooms
    lengths = torch.randint(length // 3, length + 1, (sentences,), generator=g)
    lengths[0] = length
    ids = torch.randint(2, words, (sentences, length), generator=g)
    ids *= torch.arange(length) < lengths[:, None]
    batch = RoomBatch(
        boxes=torch.rand(rooms, proposals, 6, generator=g) * 5,
        rows=torch.arange(proposals).expand(rooms, proposals).clone(),
        features=torch.randn(rooms, proposals, width, generator=g),
        class_logits=torch.randn(rooms, proposals, classes, generator=g),
        present=torch.ones(rooms, proposals, dtype=torch.bool),
        objects=torch.rand(rooms, proposals, generator=g) < 0.3,
        ids=ids,
        lengths=lengths,
        keywords=(torch.rand(sentences, length, generator=g) < 0.3) & (ids > 0),
        room=torch.arange(rooms).repeat_interleave(8),
        category=torch.randint(0, classes, (sentences,), generator=g),
        noun=torch.randint(-1, classes, (sentences,), generator=g),
        tokens=tuple(f"room{k}" for k in range(rooms)),
    )
    vectors = torch.randn(words, 300, generator=g)
    lexicon = Lexicon(tuple(f"word{k}" for k in range(words - 2)), vectors)
    config = PRESETS[preset]
    names = tuple(f"class{k}" for k in range(classes))

    def build(engine: Engine, device: torch.device) -> Method:
        torch.manual_seed(0)
        return Grounding(Grounder(config.network, config.method, lexicon, width, names), config.loss)

    return Case(build, batch, replace(config.loop, batch=rooms), config.optimizer)


def phrases(small: bool) -> Case:
    """CKD at the paper's size: 32 photos of 100 regions of 2,048 channels, a sentence of 4 phrases each."""
    from scenelift.samples.caption import RegionStatistics
    from trainables.phrases.batch import PhraseBatch
    from trainables.phrases.config import PRESETS
    from trainables.phrases.method import Ckd
    from trainables.phrases.student import PhraseStudent

    images, regions, width, each = (32, 100, 2048, 4) if not small else (4, 6, 16, 2)
    g = torch.Generator().manual_seed(0)
    count = images * each
    batch = PhraseBatch(
        features=torch.randn(images, regions, width, generator=g).abs(),
        region_mask=torch.ones(images, regions, dtype=torch.bool),
        neighbours=torch.randint(0, regions, (images, regions, min(8, regions)), generator=g),
        image_id=torch.arange(images),
        sentence_image=torch.arange(images),
        words=torch.randint(1, 5000, (count, 10), generator=g),
        phrase_sentence=torch.arange(images).repeat_interleave(each),
        teacher=torch.rand(count, regions, generator=g),
        tokens=tuple(f"image{k}" for k in range(images)),
    )
    config = PRESETS["flickr30k"]
    student = replace(config.student, glove=None)

    def build(engine: Engine, device: torch.device) -> Method:
        torch.manual_seed(0)
        words = tuple(f"word{k}" for k in range(5000))
        statistics = RegionStatistics(width, 0.5, 1.0)
        return Ckd(PhraseStudent(student, words, statistics), config.contrast, config.distillation)

    return Case(build, batch, replace(config.loop, batch=images), config.optimizer)
