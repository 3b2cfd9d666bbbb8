"""Settings and presets of visual grounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from scenelift.config.constraints import (
    Exists,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Settings,
)
from scenelift.errors import ConfigError
from scenelift.runs.config import DataConfig, TrainingConfig
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER
from trainables.common.presets import Suited, require_suited

GLOVE_ADVICE = (
    "give a file of GloVe's vectors, --lexicon.glove FILE (glove.6B.300d.txt of glove.6B.zip), or "
    "--lexicon.glove none for those of the text tower of lexicon.teacher"
)


@dataclass(frozen=True)
class LexiconConfig(Settings):
    """Where word vectors come from."""

    glove: Annotated[Path, Exists(GLOVE_ADVICE)] | None = None
    """A GloVe text file (a word and its numbers a line); words that it lacks are unknown. None: the teacher."""
    teacher: TeacherConfig = TINY_TEACHER
    """The CLIP whose frozen text tower reads the words, one by one."""
    min_count: PositiveInt = 1
    """Words that the training sentences have less often are unknown."""

    @property
    def source(self) -> str:
        """What the vectors are, for the records of a run: the name of the file, or the teacher and its weights."""
        teacher = self.teacher
        return f"{teacher.model} {Path(teacher.weights).name}" if self.glove is None else self.glove.name


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """Sizes of the networks."""

    width: PositiveInt = 288
    """Channels."""
    heads: PositiveInt = 8
    """Heads of every attention; a divisor of the width."""
    relation_layers: NonNegativeInt = 2
    """Self-attention layers among the proposals of a room."""
    relations: Literal["absolute", "pairwise"] = "absolute"
    """Positions in those layers: of each box, as the authors have it; or also a bias for every pair, from the
    offset and the gap between the two."""
    sentence: Literal["last", "mean"] = "last"
    """Feature of a sentence: the last state of the recurrent network, as the authors have it, or the mean of
    all."""
    attention_start: Literal["linear", "xavier"] = "linear"
    """Initial weights of attention: those of any linear layer of PyTorch; or Glorot's uniform ones without bias, as
    the authors have them, which are nearly twice as large."""
    norm_momentum: PositiveFraction = 0.1
    """Momentum of the running statistics of batch norms; the authors' is 0.5."""
    decoder_layers: PositiveInt = 3
    """Layers of the reconstructor."""
    decoder_dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Dropout in the reconstructor."""
    causal: bool = True
    """Whether the reconstructor predicts a word from earlier words only, as the authors' does, or from all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width % 2:
            raise ConfigError(
                f"network.width must be even and a multiple of network.heads {self.heads}, not {self.width}"
            )


@dataclass(frozen=True)
class MethodConfig(Settings):
    """Parts of the method (ws3dvg.md 11), and how candidates are selected and ranked."""

    category: Literal["annotation", "noun", "off"] = "noun"
    """Where the class of a sentence comes from: the annotated object, as the authors have it; the head noun,
    found by a rule; or nowhere, so that class similarity is switched off too (their `no_text`)."""
    mil: Literal["nce", "margin", "off"] = "nce"
    """Loss between sentences and proposals of different rooms; off: no feature similarity either (`no_mil`)."""
    reconstruct: bool = True
    """Reconstruct words and rank candidates by it; false: all candidates rank equally (`no_recon`)."""
    distill: bool = True
    """Train the matching head; false: the coarse stage predicts (`no_distill`)."""
    candidates: PositiveInt = 8
    """Proposals that the coarse stage selects for the fine one."""
    background: bool = True
    """Use proposals that are not considered objects too: as neighbours, as negatives, and in the student's softmax.
    They are never predicted."""
    hard_candidate_fraction: PositiveFraction = 0.5
    """Fraction of the candidates, those with the lowest loss, that reconstruction learns from late."""
    hard_candidates_from: NonNegativeInt = 3
    """Epoch from which only these are learned from."""
    reward_power: NonNegativeFloat = 2.0
    """Power of the matching head's rewards by rank: with the authors' 2 the best of eight candidates gets a third
    of the sum, with 6 it gets 0.6."""
    masked: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Probability that a word is masked for the reconstructor."""
    mask_keywords: bool = False
    """Mask the keywords for the reconstructor too; their vectors are set to 0 in either case."""
    mask_noun: bool = False
    """Count the head noun among the keywords, so that a candidate must explain the class, too."""
    word_dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Fraction of a sentence's words that are replaced by the unknown word in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.category == "off" and self.mil == "off":
            raise ConfigError(
                "nothing is left to select candidates by: write --method.category noun or --method.mil nce"
            )


@dataclass(frozen=True)
class GroundLoss(Settings):
    """Weights of the losses; those of switched-off parts are not used."""

    features: PositiveFloat = 2.0
    """Sentences against proposals of other rooms (7.1, 7.2)."""
    category: PositiveFloat = 2.0
    """Class of the sentence (7.3)."""
    reconstruction: PositiveFloat = 1.0
    """Words from candidates (7.4)."""
    distillation: PositiveFloat = 1.0
    """Matching head towards the better candidates (7.5)."""


@dataclass(frozen=True)
class GroundConfig(TrainingConfig):
    """WS-3DVG: learns which of the proposed boxes a sentence describes, without such labels."""

    data: DataConfig = DataConfig()
    """Shards of rooms that are trained and scored on; none: the synthetic rooms, made at first use."""
    lexicon: LexiconConfig = LexiconConfig()
    """Words and their vectors."""
    network: NetworkConfig = NetworkConfig()
    """The networks."""
    method: MethodConfig = MethodConfig()
    """The parts of the method."""
    loss: GroundLoss = GroundLoss()
    """Weights of the losses."""
    optimizer: OptimizerConfig = OptimizerConfig("adamw", lr=1e-3, momentum=0.9, weight_decay=5e-4)
    loop: LoopConfig = LoopConfig(epochs=20, batch=4)
    """The training loop; a sample is a room with up to eight sentences."""
    tracking: TrackingConfig = TrackingConfig(experiment="ground")

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        require_suited("room", (self.data.train, self.data.test), SUITED, preset, program, options)


_PAPER = GroundConfig(
    lexicon=LexiconConfig(Path("data/glove/glove.6B.300d.txt"), CLIP_TEACHER),
    network=NetworkConfig(attention_start="xavier", norm_momentum=0.5),
    method=MethodConfig(category="annotation"),
)
_OURS = replace(
    _PAPER,
    network=NetworkConfig(relations="pairwise", sentence="mean", causal=False),
    method=MethodConfig(hard_candidate_fraction=0.25, background=False, mask_keywords=True, mask_noun=True),
)
PRESETS = {
    "synthetic": replace(
        _OURS,
        lexicon=LexiconConfig(),
        network=NetworkConfig(width=64, heads=4, relations="pairwise", sentence="mean", causal=False),
        method=replace(_OURS.method, reward_power=6.0),
        loss=GroundLoss(distillation=2.0),
        optimizer=OptimizerConfig("adamw", lr=4e-3, weight_decay=5e-4, schedule="one_cycle", warmup=0.1),
        loop=LoopConfig(epochs=14, batch=16),
        # Operations are so small here that two threads of one worker mostly wait for each other.
        scale=ScaleConfig(workers=2),
    ),
    "scanrefer": _OURS,
    "paper": _PAPER,
}
"""`synthetic`: minutes on two cores, with more weight on the best candidate than the authors have, and the words of
the tiny teacher. `scanrefer`: any of the three corpora over ScanNet. `paper`: the authors' code with its bugs fixed
(ws3dvg.md 13.1), apart from what docs/methods/ws3dvg.md lists. Both need a GloVe file."""

SUITED: Suited = dict.fromkeys(("scanrefer", "nr3d", "sr3d"), ("scanrefer", "paper"))
