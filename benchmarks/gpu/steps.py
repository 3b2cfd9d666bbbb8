"""One step of every method on the card: against the CPU, how fast, twice the same, and with several ranks."""

from __future__ import annotations

import multiprocessing as mp
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.gpu import methods
from benchmarks.gpu.bench import Bench, Engine, Precision, attempt, difference, slowest_calls
from benchmarks.gpu.frames import Frames, load, megabytes
from benchmarks.gpu.methods import Case
from scenelift.nn.config import NETWORKS, StudentConfig

CPU = torch.device("cpu")
_RAND = torch.rand
EXACT = {"precision": "float32"}
"""A teacher that names the same on the card and on the CPU."""


def _cases(bench: Bench, frames: Frames) -> dict[str, Callable[[], Case]]:
    from trainables.distill.config import PRESETS

    whole = PRESETS["synthetic_whole"]
    student = StudentConfig(whole.student.voxels, NETWORKS["spvcnn"])
    joint = replace(whole.loss, spatial_temporal_form="joint", image_features="trained")
    cosine = replace(
        whole.loss, spatial_temporal_form="cosine", image_features="frozen", semantic_form="points"
    )
    cases: dict[str, Callable[[], Case]] = {
        "distill": lambda: methods.distill(frames, True, False, teacher=EXACT),
        "finetune, fixed norms": lambda: methods.finetune(frames, True),
        "pretrain ppkt": lambda: methods.pretrain(frames, True, "ppkt"),
        "pretrain slidr": lambda: methods.pretrain(frames, True, "slidr"),
        "ground": lambda: methods.ground(True),
        "phrases": lambda: methods.phrases(True),
    }
    if not bench.small:
        cases["distill spvcnn joint"] = lambda: methods.distill(
            frames, True, False, student=student, loss=joint, teacher=EXACT
        )
        cases["distill cosine points"] = lambda: methods.distill(
            frames, True, False, loss=cosine, teacher=EXACT
        )
    return cases


def steps(bench: Bench, frames: Frames) -> dict[str, Any]:
    """One step of the real loop beside the same on the CPU with the plain engine: losses, gradients."""
    result: dict[str, Any] = {}
    for name, make in _cases(bench, frames).items():
        case = attempt(make)
        if not isinstance(case, Case):
            result[name] = case
            continue
        losses, gradients = _stepped(case, bench, "float32", "torch", CPU)
        result[f"{name} | cpu"] = losses
        for engine in bench.engines if name not in ("ground", "phrases") else bench.engines[:1]:
            for arithmetic in bench.precisions:
                result[f"{name} | {engine} {arithmetic}"] = attempt(
                    _compared, case, bench, arithmetic, engine, gradients
                )
    return result


def _compared(
    case: Case, bench: Bench, arithmetic: Precision, engine: Engine, gradients: dict[str, Tensor]
) -> dict[str, Any]:
    losses, ours = _stepped(case, bench, arithmetic, engine, bench.device)
    assert ours.keys() == gradients.keys(), sorted(gradients.keys() ^ ours.keys())[:3]
    together = [torch.cat([g[key].flatten() for key in gradients]) for g in (ours, gradients)]
    return {"losses": losses, "gradients": difference(*together)}


def _stepped(
    case: Case, bench: Bench, arithmetic: Precision, engine: Engine, device: torch.device
) -> tuple[dict[str, float], dict[str, Tensor]]:
    state = case.state(bench, arithmetic, engine, device)
    generator = torch.Generator().manual_seed(0)  # the same draws on every device
    with (
        mock.patch("torch.rand", lambda *n, device=None: _RAND(*n, generator=generator).to(device)),
        mock.patch("torch.nn.functional.dropout", lambda x, *_, **__: x),
    ):
        case.step(state)()
    losses = {name: loss.item() for name, loss in state.losses[0][0].items()}
    student = state.method.student
    return losses, {n: p.grad.float().cpu() for n, p in student.named_parameters() if p.grad is not None}


def whole_steps(bench: Bench, frames: Frames) -> dict[str, Any]:
    """The `nuscenes` preset: 4 frames x 3 clouds, 24 photos, SPVCNN, ViT-B/16; batches lie in memory."""
    result: dict[str, Any] = {}
    for teacher in ("bfloat16", "float32"):
        began = time.perf_counter()
        case = methods.distill(frames, bench.small, True, teacher={"precision": teacher})
        if not result:
            batch = case.batch
            result["batch"] = {
                "collate_s": round(time.perf_counter() - began, 2),
                "voxels": len(batch.voxels.sites),
                "pairs": len(batch.pair_points),
                "images": list(batch.images.shape),
                "MB": megabytes(batch),
                "to_device": bench.time(partial(batch.to, bench.device), 5, 2),
            }
        for engine in bench.engines:
            for arithmetic in bench.precisions:
                # Of what is not recommended, one number is enough.
                plain, exact = engine == "torch" and "spconv" in bench.engines, teacher == "float32"
                if bench.cuda and (plain or exact) and (plain == exact or arithmetic != "float32"):
                    continue
                name = f"{engine} {arithmetic}, teacher {teacher}"
                result[name] = attempt(_speed, case, bench, arithmetic, engine)
                if isinstance(result[name], dict):
                    result[name]["frames_s"] = round(1000 * case.loop.batch / result[name]["ms"], 1)
    return result


def _speed(case: Case, bench: Bench, arithmetic: Precision, engine: Engine) -> dict[str, Any]:
    step = case.step(case.state(bench, arithmetic, engine, bench.device))
    return bench.time(step, 6, 3) | bench.profile(step) | {"host_ms": slowest_calls(step)}


def small_steps(bench: Bench, frames: Frames) -> dict[str, Any]:
    """WS-3DVG and CKD at their papers' sizes."""
    result = {}
    cases = {
        "ground paper": lambda: methods.ground(bench.small),
        "ground scanrefer": lambda: methods.ground(bench.small, "scanrefer"),
        "phrases flickr30k": lambda: methods.phrases(bench.small),
    }
    for name, make in cases.items():
        case = make()
        for arithmetic in bench.precisions:
            result[f"{name} {arithmetic}"] = attempt(_speed, case, bench, arithmetic, bench.engines[0])
    return result


def repeated(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Three steps, twice from the same start: which weights are the same bits, and how far apart the others are."""
    case = methods.distill(frames, True, False)
    ends = []
    for _ in range(2):
        state = case.state(bench, "float32", bench.engines[0], bench.device)
        for _ in range(3):
            case.step(state)()
        ends.append(state.method.student.state_dict())
    differ = [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])]
    apart = [difference(ends[0][name].float(), ends[1][name].float()) for name in differ]
    return {
        "same_bits": not differ,
        "differ": len(differ),
        "of": len(ends[0]),
        "most": max(apart, default=0.0),
    }


def distributed(bench: Bench, frames: Frames, file: Path) -> dict[str, Any]:
    """NCCL with one rank, and two ranks that share the card through gloo: gradients, batch norms, sums."""
    result = {}
    for backend, workers in ([("nccl", 1)] if bench.cuda else []) + [("gloo", 2)]:
        context = mp.get_context("spawn")
        queue, folder = context.SimpleQueue(), tempfile.mkdtemp()
        ranks = [
            context.Process(target=_rank, args=(rank, workers, backend, folder, str(file), bench, queue))
            for rank in range(workers)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(60)
            rank.kill()
        codes = [rank.exitcode for rank in ranks]
        result[f"{backend} {workers}"] = queue.get() if not queue.empty() else f"nothing; exit codes {codes}"
    return result


def _rank(rank: int, workers: int, backend: str, folder: str, file: str, bench: Bench, queue: Any) -> None:
    import torch.distributed as dist

    if bench.cuda:
        torch.cuda.set_device(0)
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    case = methods.distill(load(Path(file)), True, False)
    method = case.build(bench.engines[0], bench.device)
    state = methods.train_state(method, case.loop, case.optimizer, bench.device, rank, workers)
    if workers == 1:  # what several ranks would have
        state.model = nn.parallel.DistributedDataParallel(method.to(bench.device))
    step = case.step(state)
    for _ in range(3):
        step()
    total = torch.stack([p.double().sum() for p in method.student.parameters()]).sum().reshape(1)
    totals = [torch.zeros_like(total) for _ in range(workers)]
    dist.all_gather(totals, total)
    timed = bench.time(step, 5, 1)
    if rank == 0:
        loss = state.losses[0][0]["total"].item()
        queue.put({"weights_equal": len({float(each) for each in totals}) == 1, "loss": loss, **timed})
    dist.barrier()
    dist.destroy_process_group()
