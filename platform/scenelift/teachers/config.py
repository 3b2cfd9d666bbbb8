"""Settings of the 2D teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from scenelift.config.constraints import PositiveInt, Settings
from scenelift.config.outside import Group, is_outside, require_there

GROUP: Group = "scenelift.teachers"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Settings):
    """Which CLIP is the teacher, and how it reads images and class names; or a teacher of your own."""

    NAMED: ClassVar[dict[str, TeacherConfig]] = {}
    """`TEACHERS`, so that a command takes `--teacher clip`."""
    model: str = "tiny"
    """"tiny" (its weights file says how it is built), the name of an open_clip ViT, such as ViT-B-16-quickgelu,
    which is what OpenAI's weights were trained as, or a class of your own, FILE.py:CLASS
    (docs/your_own_teacher.md)."""
    weights: str
    """A file (.safetensors, or a torch file of tensors only), the tag of open_clip weights that are already in
    the local cache, such as "openai", or "random" (for tests; the same on every machine)."""
    templates: str = "model"
    """Prompt ensemble, a key of scenelift.samples.vocabulary.prompt_templates; "model": the one a tiny
    model was trained with, else "clip2scene"."""
    normalize: bool = True
    """Subtract CLIP's mean color and divide by its deviation. CLIP2Scene's code did not (false)."""
    activation: Literal["model", "quickgelu", "gelu"] = "model"
    """Activation in the image tower: the one its weights were trained with ("model"), or another: CLIP2Scene's
    code ran "gelu" on OpenAI's weights. The text tower keeps the one of its weights."""
    value_path: Literal["model", "value", "residual"] = "model"
    """What the last block gives for a patch: its projected value alone ("value"), or the value with residual
    and MLP, as MaskCLIP does for ViTs ("residual"); "model": as a tiny model was trained, else "residual"."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the frozen image tower on a GPU; its similarities, and a CPU, stay float32."""
    image_size: tuple[PositiveInt, PositiveInt] = (112, 192)
    """(height, width) at which the ViT reads images, pixels, multiples of its patch; others are resized."""

    def check_here(self, prefix: str = "") -> None:
        if is_outside(self.model, GROUP):
            require_there(self.model, GROUP, f"{prefix}model")
        super().check_here(prefix)


TEACHERS = {
    "clip": TeacherConfig(model="ViT-B-16-quickgelu", weights="openai", image_size=(224, 416)),
    "tiny": TeacherConfig(weights="trainables/weights/tiny_clip.safetensors"),
}
"""Teachers by name. `clip`: OpenAI's CLIP ViT-B/16, read as CLIP2Scene reads it but without its two mistakes:
images are normalized, and the activation is that of the weights (clip2scene.md 8.2). `tiny`: trained by
`trainables.teacher` on region captions of the synthetic world; ships with the repository."""

TeacherConfig.NAMED.update(TEACHERS)
