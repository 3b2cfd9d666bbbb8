"""Loading of a teacher's model and weights: from a tiny model's file, any file, or open_clip's cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from huggingface_hub import constants, try_to_load_from_cache
from open_clip.pretrained import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, get_pretrained_cfg
from torch import Tensor, nn

from scenelift.config.build import nearest
from scenelift.errors import TeacherError, reason
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.tiny import TinyModel, TinyTokenizer, build_tiny, is_tiny, load_tiny, read_tiny

URL_CACHE = Path("~/.cache/clip")
"""Where open_clip keeps the weights that it fetches by address and not from a hub."""

Color = tuple[float, float, float]


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP model, its tokenizer, and how to preprocess images and prompts."""

    clip: open_clip.CLIP
    tokenizer: Callable[[list[str]], Tensor]
    """Sentences -> token ids [P, context]."""
    templates: str
    """Key of scenelift.samples.vocabulary.prompt_templates."""
    value_path: Literal["value", "residual"]
    activation: Literal["quickgelu", "gelu"]
    """Activation that the weights were trained with."""
    mean: Color = open_clip.OPENAI_DATASET_MEAN
    std: Color = open_clip.OPENAI_DATASET_STD
    assumed: bool = False
    """Whether the activation is that of the model's name, as a file of weights cannot say it."""


def load_clip(model: str, weights: str, vocabulary: Vocabulary) -> LoadedClip:
    """Build `model` and load `weights` (both as in `TeacherConfig`), on the CPU. vocabulary: the words that the
    tokenizer of a random tiny model knows. Raises TeacherError, and never downloads."""
    if model != "tiny":
        _plain_config(model)
    weights = _placed(weights)
    if Path(weights).is_file() and is_tiny(weights) != (model == "tiny"):
        kind = "a plain file of weights" if model == "tiny" else "a tiny model"
        advice = "a file or tag of it, or random" if model != "tiny" else "a tiny model's file, or random"
        raise TeacherError(
            f"{weights} is {kind}: it does not go with teacher.model {model}; give --teacher.weights {advice}"
        )
    # The seed makes random weights the same in every process.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _tiny(weights, vocabulary) if model == "tiny" else _open_clip(model, weights)


def require_words(config: TeacherConfig, vocabulary: Vocabulary) -> None:
    """TeacherError if a tiny model's tokenizer does not know a word of the vocabulary, without building the model:
    what takes minutes is not begun. Other tokenizers know every word."""
    if config.model == "tiny" and config.weights != "random":
        tiny = read_tiny(_placed(config.weights))
        templates = tiny.templates if config.templates == "model" else config.templates
        TinyTokenizer(tiny)([prompt for group in vocabulary.prompts(templates) for prompt in group])


def _placed(weights: str) -> str:
    """A file of the repository, wherever it is run from."""
    in_repository = Path(__file__).parents[3] / weights
    return str(in_repository) if not Path(weights).exists() and in_repository.is_file() else weights


def _tiny(weights: str, vocabulary: Vocabulary) -> LoadedClip:
    if weights == "random":
        prompts = [text for name in ("tiny", "plain") for group in vocabulary.prompts(name) for text in group]
        tiny = TinyModel.of(prompts)
        clip = build_tiny(tiny)
    else:
        clip, tiny = load_tiny(weights)
        require_finite(weights, clip)
    return LoadedClip(clip, TinyTokenizer(tiny), tiny.templates, tiny.value_path, "gelu")


def _open_clip(model: str, weights: str) -> LoadedClip:
    config = _plain_config(model)
    tag = {} if weights == "random" or Path(weights).is_file() else get_pretrained_cfg(model, weights)
    path = None if weights == "random" else _weights_file(model, weights, tag)
    try:
        clip = open_clip.create_model(model, pretrained=path, pretrained_text=False)
    except Exception as error:  # the file decides what is read, so that anything may fail
        raise TeacherError(
            f"{path} does not fit {model}, or holds more than tensors (a TorchScript archive does; save its "
            f"state_dict as .safetensors): {reason(error)}"
        ) from error
    require_finite(path or weights, clip)
    quick = tag.get("quick_gelu") or config.get("quick_gelu", False)
    return LoadedClip(
        clip=clip,
        tokenizer=open_clip.get_tokenizer(model),
        templates="clip2scene",
        value_path="residual",
        activation="quickgelu" if quick else "gelu",
        mean=tag.get("mean", open_clip.OPENAI_DATASET_MEAN),
        std=tag.get("std", open_clip.OPENAI_DATASET_STD),
        assumed=path is not None and not tag,
    )


def require_finite(path: str | Path, module: nn.Module) -> None:
    """TeacherError for weights that are not finite: everything that they name would be NaN."""
    bad = next((name for name, value in module.state_dict().items() if not _usable(value, name)), None)
    if bad is not None:
        raise TeacherError(f"{path} is damaged: its {bad} has numbers that are not finite; copy it again")


def _usable(value: Tensor, name: str) -> bool:
    """A mask for attention is minus infinity by design."""
    return name.endswith("attn_mask") or bool(torch.isfinite(value).all())


def _plain_config(model: str) -> dict[str, Any]:
    """open_clip's configuration of a model that is built without a network and has a plain ViT."""
    if model not in open_clip.list_models():
        hint = nearest(model, ["tiny", *open_clip.list_models()])
        example = (
            "write --teacher clip, a plain ViT of open_clip, such as ViT-B-16-quickgelu, or FILE.py:CLASS"
        )
        raise TeacherError(f"unknown teacher.model {model}; {hint if hint[:3] == 'did' else example}")
    config = open_clip.get_model_config(model)
    image, text = config["vision_cfg"], config["text_cfg"]
    foreign = "timm_model_name" in image or isinstance(image["layers"], list) or image.get("attentional_pool")
    foreign = foreign or config.get("custom_text") or "multimodal_cfg" in config
    if foreign or "hf_model_name" in text or "hf_tokenizer_name" in text:
        raise TeacherError(
            f"teacher.model {model} lacks a plain ViT image tower or CLIP's text tower; use one like ViT-B-16"
        )
    return config


def _weights_file(model: str, weights: str, tag: dict[str, Any]) -> str:
    if Path(weights).is_file():
        return weights
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model))
        raise TeacherError(f"no weights file {weights}; give a path, random, or a tag of {model}: {tags}")
    repository, name = os.path.split(tag.get("hf_hub", ""))
    names = (name,) if name else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    cached = [try_to_load_from_cache(repository, name) for name in names] if repository else []
    by_address = URL_CACHE.expanduser() / os.path.basename(tag.get("url", ""))
    for path in [*cached, by_address]:
        if isinstance(path, str | Path) and Path(path).is_file():
            return str(path)
    wanted = f"{names[0]} of {repository} (cache {constants.HF_HUB_CACHE})" if repository else str(by_address)
    fetch = f"python -c \"import open_clip; open_clip.create_model('{model}', pretrained='{weights}')\""
    raise TeacherError(
        f"the {weights} weights of {model} are not on this machine: wanted is {wanted}. Where there is a network "
        f"run {fetch} and copy the cache, or copy the file and write --teacher.weights FILE"
    )
