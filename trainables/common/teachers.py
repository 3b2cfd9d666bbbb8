"""The teachers that presets name."""

from dataclasses import replace

from scenelift.teachers.clip import TeacherConfig

TINY_TEACHER = TeacherConfig(weights="trainables/weights/tiny_clip.safetensors")
"""Trained by `trainables.teacher` on region captions of the synthetic world; ships with the repository."""

CLIP_TEACHER = TeacherConfig(model="ViT-B-16-quickgelu", weights="openai", image_size=(224, 416))
"""CLIP ViT-B/16 as OpenAI trained it, read as CLIP2Scene reads it except for its two mistakes: images are
normalized and the activation is the one of the weights (clip2scene.md 8.2)."""

PAPER_TEACHER = replace(CLIP_TEACHER, normalize=False, activation="gelu")
"""CLIP ViT-B/16 as CLIP2Scene's code ran it, mistakes included: another labeler than CLIP_TEACHER."""
