"""Settings and presets of CKD."""

from __future__ import annotations

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


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """The two encoders; the defaults are CKD's (ckd.md 3)."""

    features: Literal["files", "clip"] = "files"
    """What regions and phrases are to begin with: the features in the files and vectors of words, or what a CLIP
    says of photo and phrase; the other settings of words are then without effect."""
    word_channels: PositiveInt = 300
    """Width of a word's vector; that of the file, where there is one."""
    glove: Annotated[str, Exists("give a file of GloVe vectors, or none")] | None = None
    """A GloVe file (word and numbers a line): its vectors stay as they are, and words that it lacks are unknown;
    none: vectors of the training phrases' words are learned."""
    lstm: PositiveInt = 300
    """Width of the LSTM that reads a phrase."""
    hidden: PositiveInt = 1024
    """Width of the hidden layer of both encoders."""
    channels: PositiveInt = 512
    """Width of the space in which phrases and regions are compared."""
    tokens: PositiveInt = 10
    """Words of a phrase that are read; later ones are left out."""

    def check_here(self, prefix: str = "") -> None:
        if self.features == "files":
            super().check_here(prefix)


@dataclass(frozen=True)
class PhraseDataConfig(DataConfig):
    """Which shards are trained and scored on, and what of an image enters a batch."""

    captions: PositiveInt = 1
    """Sentences of an image in a batch; in the next epochs it is the others' turn."""
    phrases: PositiveInt = 16
    """At most N phrases of a sentence, drawn anew each epoch."""
    mask_padding: bool = True
    """Padding, which fills images up to the same number of regions, is not a region. In CKD's code it is."""


@dataclass(frozen=True)
class ContrastConfig(Settings):
    """How whole sentences are held against whole images (ckd.md 4)."""

    form: Literal["nce", "margin", "none"] = "nce"
    """`nce`: cross-entropy over the images of the batch; `margin`: hinge loss over the same; `none`: left out."""
    logit_scale: PositiveFloat = 2.0
    """Similarities are multiplied by it: one over the temperature."""
    margin: NonNegativeFloat = 1.0
    """By how much the own image has to lead; for `margin`."""
    phrases: Literal["sum", "mean"] = "sum"
    """How the phrases of a sentence add up."""
    regions: Literal["max", "logsumexp"] = "max"
    """How well an image holds a phrase: by its best region, or a soft maximum over all."""
    sharpness: PositiveFloat = 10.0
    """Of the soft maximum."""
    negatives: Literal["images", "images and sentences"] = "images"
    """What a pair is held against: other images, or other sentences besides; those of the worker's own batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "margin" and self.negatives != "images":
            raise ConfigError("contrast.form margin knows images alone; set contrast.negatives to images")


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """How a detector's belief reaches the student (ckd.md 5)."""

    support: Literal["neighbours", "all", "none"] = "neighbours"
    """Over which regions student and detector are compared: those around the student's own choice, or all; `none`:
    no distillation, and no detector is read."""
    neighbours: PositiveInt = 8
    """How many regions around the choice, itself included; the shards must hold as many."""
    teacher: Literal["belief", "log belief"] = "belief"
    """What goes into the teacher's softmax: the detector's share of the class, or the logarithm of it."""
    teacher_temperature: PositiveFloat = 1.0
    """Divides that. CKD's code takes 1 for Open Images, 2 for COCO."""
    student_temperature: PositiveFloat = 1.0
    """Divides the student's cosines."""
    start: NonNegativeFloat = 0.001
    """Weight of the loss at first."""
    rise: NonNegativeFloat = 1.0
    """How much it grows ..."""
    every: PositiveInt = 500
    """... after N steps ..."""
    max_weight: NonNegativeFloat = 3.0
    """... up to this."""


@dataclass(frozen=True)
class PhrasesConfig(TrainingConfig):
    """Weakly supervised phrase grounding: image-sentence contrast and a detector's belief, distilled."""

    data: PhraseDataConfig = PhraseDataConfig()
    student: EncoderConfig = EncoderConfig()
    """The encoders of phrases and regions."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The CLIP that student.features clip asks for."""
    contrast: ContrastConfig = ContrastConfig()
    """Sentences against images."""
    distillation: DistillationConfig = DistillationConfig()
    """What the detector teaches."""
    fuse: NonNegativeFloat = 0.0
    """Also score the student with the detector's belief added at test, times this weight; 0: do not."""
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
                "nothing to learn: give contrast.form or distillation.support another value than none"
            )

    @property
    def protocol(self) -> str:
        """What the scores of such a run may be compared with."""
        return "weakly supervised grounding"


_GLOVE = EncoderConfig(glove="data/glove/glove.6B.300d.txt")
_PAPER = PhrasesConfig(
    data=PhraseDataConfig(mask_padding=False),
    student=_GLOVE,
)
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
"""`synthetic`: minutes on two cores; its sharper losses were chosen on synthetic images. `paper_synthetic` has the
paper's, with a ramp as short as the training. `flickr30k` and `referit` have the paper's settings with the mistakes
of ckd.md 10 mended; the `paper` ones count padding as regions, as the authors' code did. An image brings one of its
five sentences to an epoch, so 30 epochs are the code's 6 over all sentences; two sentences of one image never meet
in a batch, where the code held them against each other."""
