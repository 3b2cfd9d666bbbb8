"""From a configuration to a folder with its world: complete, or marked as unfinished."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from datasets.synthetic import nuscenes, scannet, semantickitti
from datasets.synthetic.config import Layout, WorldConfig
from datasets.synthetic.layouts import Record, Writer
from scenelift.config.build import to_dict
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, StorageError

DONE, UNFINISHED = "world.yaml", "world.unfinished.yaml"
"""The configuration of a finished world, and that of an interrupted run, in its folder."""
WRITERS: dict[Layout, Writer] = {"nuscenes": nuscenes, "semantickitti": semantickitti, "scannet": scannet}


def write_scene(config: WorldConfig, name: str) -> Record:
    """Render one scene and write its files below `config.out`."""
    return WRITERS[config.layout].write_scene(config, name)


def generate(config: WorldConfig) -> list[Record] | None:
    """Write the world of `config` to `config.out`; None if it is already complete.

    An interrupted run of the same configuration starts again. Raises ConfigError if the folder holds anything
    else, StorageError if it cannot be written.
    """
    if _complete(config):
        return None
    try:
        _prepare(config)
        records = _render(config)
        WRITERS[config.layout].save(config, records)
        os.replace(config.out / UNFINISHED, config.out / DONE)
    except OSError as error:
        raise StorageError(
            f"cannot write {config.out}: {error}; fix that and run the command again"
        ) from error
    return records


def _complete(config: WorldConfig) -> bool:
    """Whether the folder holds exactly this world; ConfigError if it holds anything else."""
    if not config.out.exists():
        return False
    if not config.out.is_dir():
        raise ConfigError(f"{config.out} is a file; choose another --out")
    for mark in (DONE, UNFINISHED):
        if (config.out / mark).exists():
            _same(config, config.out / mark)
            return mark == DONE
    if any(config.out.iterdir()):
        raise ConfigError(f"{config.out} is not empty and not a synthetic world; choose another --out")
    return False


def _same(config: WorldConfig, mark: Path) -> None:
    """ConfigError unless the folder was started with this configuration."""
    advice = "choose another --out or delete it"
    try:
        existing = to_dict(load(WorldConfig, mark))
    except ConfigError as error:
        raise ConfigError(f"{config.out} holds a world of another version ({error}); {advice}") from None
    wanted = to_dict(config.identity)
    changed = [f"{key} {existing[key]}, not {wanted[key]}" for key in wanted if existing[key] != wanted[key]]
    if changed:
        raise ConfigError(f"{config.out} holds another world ({'; '.join(changed)}); {advice}")


def _prepare(config: WorldConfig) -> None:
    """Mark the folder as unfinished and clear what an interrupted run left."""
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / UNFINISHED).write_text(dump(config.identity))
    folders = WRITERS[config.layout].folders(config)
    for leftover in {folder.parts[0] for folder in folders} | {config.version}:
        shutil.rmtree(config.out / leftover, ignore_errors=True)
    for folder in folders:
        (config.out / folder).mkdir(parents=True)


def _render(config: WorldConfig) -> list[Record]:
    """Write all scenes, in any order, with a progress bar of keyframes; their records in order."""
    names = [name for scenes in config.splits().values() for name in scenes]
    workers = min(config.workers or os.cpu_count() or 1, len(names))
    records: dict[str, Record] = {}
    total = len(names) * config.frames_per_scene
    with (
        tqdm(total=total, unit="frame", desc="rendering") as progress,
        _scenes(config, names, workers) as scenes,
    ):
        for record in scenes:
            records[record.name] = record
            progress.update(config.frames_per_scene)
    return [records[name] for name in names]


@contextmanager
def _scenes(config: WorldConfig, names: list[str], workers: int) -> Iterator[Iterator[Record]]:
    """The records of all scenes as they are finished; no process is left behind, even on errors."""
    if workers == 1:
        yield (write_scene(config, name) for name in names)
        return
    others = set(multiprocessing.active_children())
    # spawn is safe with threads; all arithmetic is NumPy ufuncs, so each process keeps one core busy
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _serve)
    try:
        futures = [pool.submit(write_scene, config, name) for name in names]
        yield (future.result() for future in as_completed(futures))
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise StorageError("a rendering process died (out of memory?); try fewer --workers") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _serve() -> None:
    """Initialize a rendering process: leave Ctrl+C to the parent, and exit with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
