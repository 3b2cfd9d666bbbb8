"""What the library writes and reads again (students, checkpoints, runs, sweeps, shards), and teachers' weights."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import yaml
from safetensors.torch import save_file

from benchmarks.hostile.subjects import Read, Subject
from benchmarks.toy import NAMES, STUDENT
from scenelift.config import files
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.runs.config import TrainingConfig
from scenelift.runs.folder import Run
from scenelift.runs.history import Origin
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import MANIFEST, Manifest, ShardFile
from scenelift.shards.read import Shards
from scenelift.shards.write import encode
from scenelift.teachers.weights import LoadedClip, load_clip
from scenelift.train.checkpoints import Checkpoints, read_state
from scenelift.tune.command import parse
from sweeps.loss_weights import SWEEP
from tests.made.frames import OPTIONS, VOCABULARY, MadeUp, made_up_frame
from trainables.common.glove import read_glove

TINY = Path(__file__).parents[2] / "trainables" / "weights" / "tiny_clip.safetensors"
_SMALL = "hostile-small"
"""A CLIP of open_clip's kind that takes no seconds to build."""


def _student() -> Student:
    torch.manual_seed(0)
    return Student(STUDENT, 1, torch.eye(len(NAMES.classes), 8), NAMES, {"semantic": 8})


def _plain(module: torch.nn.Module) -> dict[str, Any]:
    return {name: tensor.float().numpy() for name, tensor in module.state_dict().items()}


def _write_student(root: Path) -> None:
    _student().save(root)


def _read_student(root: Path) -> Read:
    student = Student.load(root)
    about = [dataclasses.asdict(student.config), dataclasses.asdict(student.vocabulary)]
    return Read([_plain(student), about], {})


def _write_run(root: Path) -> None:
    run = Run(root / "run")
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text(files.dump(TrainingConfig()))
    run.save_identity({"run_id": "1", "experiment": "distill", "tags": {"method": "distill"}})
    run.record({"kind": "metrics", "step": 1, "values": {"loss/total": 1.0}})
    run.record({"kind": "epoch", "step": 2, "values": {"validation/miou": 0.5}})
    run.finish({"status": "finished", "metrics": {"miou": 0.5}, "config": {}})
    checkpoints = Checkpoints(run.checkpoints)
    for step in (10, 20):
        checkpoints.save(step, _student(), {"step": step}, score=0.1)
    shutil.copytree(run.folder / "checkpoints/step-00000020", run.folder / "student")


def _read_run(root: Path) -> Read:
    run = Run(root / "run")
    checkpoints = Checkpoints(run.checkpoints)
    newest, best = checkpoints.latest(), checkpoints.best()
    state = None
    if newest is not None:
        with newest.fetched() as folder:
            state = [_plain(Student.load(folder)), read_state(folder)]
    origin = Origin.of(run.folder / "student")
    values = [
        [run.status, run.result, run.mlflow_run, list(map(str, run.history())), run.curves()],
        dataclasses.asdict(files.load(TrainingConfig, run.folder / "config.yaml")),
        [origin.method, origin.version, origin.run_id],
        [None if one is None else [Path(one.folder).name, one.step, one.score] for one in (newest, best)],
    ]
    return Read([values, state], {"checkpoints that are broken": 2 - len(checkpoints.all())})


def _write_sweep(root: Path) -> None:
    (root / "runs/one").mkdir(parents=True)
    settings, config, given = parse(SWEEP, ["--trials", "2", "--loop.epochs", "20"])
    values = {
        "name": SWEEP.name,
        "sweep": dataclasses.asdict(settings),
        "config": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "given": list(given),
        "max_concurrent": 1,
        "mlflow_run": "1",
    }
    (root / "runs/one/sweep.yaml").write_text(yaml.safe_dump(files.stamp(values, 1), sort_keys=False))


def _read_sweep(root: Path) -> Read:
    with contextlib.chdir(root):
        settings, config, given = parse(SWEEP, ["--resume", "one"])
    return Read([dataclasses.asdict(settings), dataclasses.asdict(config), list(given)], {})


def _write_shards(root: Path) -> None:
    root.mkdir()
    frames = [made_up_frame(f"frame-{number:05d}") for number in range(2)]
    summary = {"samples": 2, "bad": [], "about": FRAME.summarize(frames, MadeUp())}
    data = bytes(encode(FRAME, frames, summary))
    (root / "shard-00000.parquet").write_bytes(data)
    file = ShardFile("shard-00000.parquet", 2, len(data), hashlib.sha256(data).hexdigest())
    about = FRAME.describe([summary["about"]], MadeUp(), OPTIONS)
    told = Manifest(
        "frame", FRAME.schema_version, "made-up", "v0", "all", about, 2, len(data), (file,), (), "again"
    )
    (root / MANIFEST).write_text(told.to_json())


def _read_shards(root: Path) -> Read:
    shards = Shards.open(str(root))
    frames = shards.read_many(range(len(shards)))
    batch = Collate(STUDENT.voxels)(frames)
    rows = [FRAME.to_row(frame) for frame in frames]
    names = [list(shards.tokens), list(shards.scenes), shards.vocabulary.version, shards.about.points]
    return Read([rows, names, batch.labels.tolist(), batch.images.numpy()], {})


def _clip(loaded: LoadedClip) -> Read:
    about = [loaded.activation, loaded.value_path, loaded.templates, list(loaded.mean)]
    return Read([_plain(loaded.clip), about], {})


def _write_tiny(root: Path) -> None:
    root.mkdir()
    shutil.copy(TINY, root / "tiny.safetensors")


def _register(folder: Path) -> None:
    """Make the small CLIP known to open_clip."""
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "head_width": 32}
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    path = folder / f"{_SMALL}.json"
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    path.unlink()


def _write_clip(root: Path) -> None:
    root.mkdir()
    _register(root)
    torch.manual_seed(0)
    tensors = open_clip.create_model(_SMALL).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, root / "clip.safetensors")
    torch.save(tensors, root / "clip.pt")


def _read_clip(name: str) -> Callable[[Path], Read]:
    def read(root: Path) -> Read:
        if _SMALL not in open_clip.list_models():
            _register(root)
        return _clip(load_clip(_SMALL, str(root / name), VOCABULARY))

    return read


def _write_glove(root: Path) -> None:
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = [f"{word} {' '.join(f'{value:.4f}' for value in rng.normal(size=5))}" for word in _WORDS]
    (root / "glove.txt").write_text("\n".join([*rows, "the 0.1 0.2 0.3 0.4 0.5", ""]))


_WORDS = ("chair", "table", "red", "unk")


def _read_glove(root: Path) -> Read:
    return Read(read_glove(root / "glove.txt", _WORDS), {})


OWN: dict[str, Subject] = {
    "student": Subject(_write_student, _read_student),
    "run": Subject(_write_run, _read_run, r"^(?!run/student/)"),
    "sweep": Subject(_write_sweep, _read_sweep),
    "shards": Subject(_write_shards, _read_shards),
    "tiny teacher": Subject(
        _write_tiny, lambda root: _clip(load_clip("tiny", str(root / "tiny.safetensors"), VOCABULARY))
    ),
    "clip": Subject(_write_clip, _read_clip("clip.safetensors"), "safetensors"),
    "clip of torch": Subject(_write_clip, _read_clip("clip.pt"), r"\.pt$"),
    "glove": Subject(_write_glove, _read_glove),
}
"""The readers of such files, by name."""
