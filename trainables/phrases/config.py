"""Settings and presets of CKD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from scenelift.config.constraints import Exists, NonNegativeFloat, PositiveFloat, PositiveInt, Settings
from scenelift.errors import ConfigError
from scenelift.evaluation.config import NO_VALIDATION, ValidationConfig
from scenelift.runs.config import DataConfig, TrainingConfig
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from trainables.common.config import CLIP_TEACHER
from trainables.common.presets import Suited, require_suited

GLOVE_ADVICE = (
    "give a file of GloVe's vectors, --student.glove FILE (glove.6B.300d.txt of glove.6B.zip), or --student.glove "
    "none to learn vectors"
)


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """The two encoders; the defaults are CKD's (ckd.md 3)."""

    features: Literal["files", "clip"] = "files"
    """Input features of regions and phrases: those in the files and word vectors, or a CLIP's features of photo and
    phrase; the other settings of words are then without effect."""
    word_channels: PositiveInt = 300
    """Width of a word's vector; that of the file, if there is one."""
    glove: Annotated[str, Exists(GLOVE_ADVICE)] | None = None
    """A GloVe file (a word and its numbers per line) of frozen vectors; words that it lacks are unknown. None:
    vectors of the training phrases' words are learned."""
    lstm: PositiveInt = 300
    """Width of the LSTM that reads a phrase."""
    hidden: PositiveInt = 1024
    """Width of the hidden layer of both encoders."""
    channels: PositiveInt = 512
    """Width of the space in which phrases and regions are compared."""
    tokens: PositiveInt = 10
    """Words of a phrase that are read at most."""

    def check_here(self, prefix: str = "") -> None:
        if self.features == "files":
            super().check_here(prefix)


@dataclass(frozen=True)
class PhraseDataConfig(DataConfig):
    """Which shards are trained and scored on, and which parts of an image enter a batch."""

    captions: PositiveInt = 1
    """Sentences of an image in a batch; later epochs use the others."""
    phrases: PositiveInt = 16
    """At most N phrases of a sentence, drawn anew each epoch."""
    mask_padding: bool = True
    """Whether padding regions are masked; in CKD's code they count as regions."""


@dataclass(frozen=True)
class ContrastConfig(Settings):
    """The contrastive loss of sentences and images (ckd.md 4)."""

    form: Literal["nce", "margin", "none"] = "nce"
    """`nce`: cross-entropy over the images of the batch; `margin`: hinge loss over the same; `none`: no such
    loss."""
    logit_scale: PositiveFloat = 2.0
    """Similarities are multiplied by it: one over the temperature."""
    margin: NonNegativeFloat = 1.0
    """Margin of the hinge loss; for `margin`."""
    phrases: Literal["sum", "mean"] = "sum"
    """A sentence's score from those of its phrases."""
    regions: Literal["max", "logsumexp"] = "max"
    """Score of a phrase on an image: that of its best region, or a soft maximum over all."""
    sharpness: PositiveFloat = 10.0
    """Of the soft maximum."""
    negatives: Literal["images", "images and sentences"] = "images"
    """Negatives of a pair: other images, or also other sentences, of the worker's own batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "margin" and self.negatives != "images":
            raise ConfigError("contrast.form margin knows images alone; write --contrast.negatives images")


_COCO_CLASSES = 80


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """Distillation of a detector's belief (ckd.md 5)."""

    support: Literal["neighbours", "all", "none"] = "neighbours"
    """Regions over which student and detector are compared: those around the student's best region, or all; `none`:
    no distillation, and no detector is read."""
    neighbours: PositiveInt = 8
    """Number of regions around the best one, including it; at most as many as the shards have."""
    teacher: Literal["belief", "log belief"] = "belief"
    """Input of the teacher's softmax: the detector's belief in the class, or its logarithm."""
    teacher_temperature: PositiveFloat | None = None
    """Divides that input; none: as CKD's code has it, 2 for a belief in COCO's 80 classes, otherwise 1."""
    student_temperature: PositiveFloat = 1.0
    """Divides the student's cosines."""
    start: NonNegativeFloat = 0.001
    """Weight of the loss at the first step."""
    rise: NonNegativeFloat = 1.0
    """Increase of the weight ..."""
    every: PositiveInt = 500
    """... after every N steps ..."""
    max_weight: NonNegativeFloat = 3.0
    """... up to this maximum."""

    def settled(self, classes: int) -> DistillationConfig:
        """With the teacher's temperature, for a detector of this many classes."""
        if self.teacher_temperature is not None:
            return self
        coco = self.teacher == "belief" and classes == _COCO_CLASSES
        return replace(self, teacher_temperature=2.0 if coco else 1.0)


@dataclass(frozen=True)
class PhrasesConfig(TrainingConfig):
    """Weakly supervised phrase grounding: image-sentence contrast and a detector's belief, distilled."""

    data: PhraseDataConfig = PhraseDataConfig()
    student: EncoderConfig = EncoderConfig()
    """The encoders of phrases and regions."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The CLIP of student.features clip."""
    contrast: ContrastConfig = ContrastConfig()
    """The contrastive loss."""
    distillation: DistillationConfig = DistillationConfig()
    """The distillation of the detector."""
    fuse: NonNegativeFloat = 0.0
    """Also score the student plus the detector's belief times this weight; 0: do not."""
    optimizer: OptimizerConfig = OptimizerConfig("adamw", lr=1e-4, weight_decay=0.0, schedule="constant")
    """Optimizer and schedule; AdamW without decay is Adam."""
    loop: LoopConfig = LoopConfig(epochs=30, batch=32)
    """The training loop; a frame is an image."""
    validation: ValidationConfig = NO_VALIDATION
    """Training images that are held out; each is a scene of its own."""
    scale: ScaleConfig = ScaleConfig()
    """Workers; a sentence is held against the images of its own worker."""
    tracking: TrackingConfig = TrackingConfig(experiment="phrases")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast.form == "none" and self.distillation.support == "none":
            raise ConfigError(
                "nothing to learn: write --contrast.form nce or --distillation.support neighbours"
            )

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        folders = (self.data.train, self.data.test)
        require_suited("captioned image", folders, SUITED, preset, program, options)

    @property
    def protocol(self) -> str:
        """Scores may be compared with those of runs of the same protocol."""
        return "weakly supervised grounding"


_GLOVE = EncoderConfig(glove="data/glove/glove.6B.300d.txt")
_PAPER = PhrasesConfig(data=PhraseDataConfig(mask_padding=False), student=_GLOVE)
_SYNTHETIC = PhrasesConfig(
    student=EncoderConfig(word_channels=64, lstm=64, hidden=128, channels=64),
    contrast=ContrastConfig(logit_scale=10.0),
    distillation=DistillationConfig(
        teacher="log belief", student_temperature=0.1, rise=1.0, every=60, max_weight=1.0
    ),
    optimizer=OptimizerConfig("adamw", lr=2e-3, weight_decay=0.0, schedule="one_cycle", warmup=0.1),
    loop=LoopConfig(epochs=20, batch=32, checkpoint_every=0),
)
PRESETS = {
    "synthetic": _SYNTHETIC,
    "flickr30k": PhrasesConfig(student=_GLOVE),
    "referit": PhrasesConfig(student=_GLOVE, loop=LoopConfig(epochs=6, batch=32)),
    "paper_synthetic": replace(
        _SYNTHETIC,
        data=PhraseDataConfig(mask_padding=False),
        contrast=ContrastConfig(),
        distillation=DistillationConfig(every=60),
    ),
    "paper_flickr30k": _PAPER,
    "paper_referit": replace(_PAPER, loop=LoopConfig(epochs=6, batch=32)),
}
"""`synthetic`: minutes on two cores; its sharper losses were chosen on synthetic images. `paper_synthetic` has
the paper's, with a ramp as short as the training. `flickr30k` and `referit` have the paper's settings without the
mistakes of ckd.md 10; the `paper` ones count padding as regions, as the authors' code did. An epoch has one of an
image's five sentences, so 30 epochs are the code's 6 over all sentences; two sentences of one image are never in
one batch, where the code contrasted them."""

SUITED: Suited = {name: (name, f"paper_{name}") for name in ("flickr30k", "referit")}
