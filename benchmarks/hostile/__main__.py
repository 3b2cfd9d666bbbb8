"""Tries bad inputs on every reader, on our own files and on the commands, and counts what is made of them.

    python -m benchmarks.hostile [--subject NAME ...] [--only PATTERN] [--out DIR] [--workers N]

Every file of a small tree of each data set, and of a run, is broken in many ways; commands are given odd options.
Each input is tried within 10 s and 2 GB. It may be refused by one line that names the file or the option (clear);
it may be read, if that is right or is said (tolerated); everything else is a failure: another exception, wrong
numbers in silence, more time or memory. Failing inputs are left in DIR, each with a line that tries it again.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from tqdm import tqdm

from benchmarks.hostile.cases import Bench, Case, cases, command_cases, mend
from benchmarks.hostile.commands import describe
from benchmarks.hostile.workers import Result, Worker


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", nargs="+", help="data sets and own files to break; none: all")
    parser.add_argument("--only", default="", help="cases whose name has this pattern")
    parser.add_argument("--out", type=Path, default=Path("runs/hostile"), help="folder of failing inputs")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--every", type=int, default=1, help="try every n-th case")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        listed = cases(Path(folder), args.subject)
        every = [case for case in listed if re.search(args.only, case.name)][:: args.every]
    start = time.monotonic()
    results = distinct(tqdm(tried(every, args.workers), "trying", total=len(every), mininterval=1))
    failed = [result for result in results if result.verdict.kind == "failed"]
    shutil.rmtree(args.out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for result in failed:
            print(f"{result.case.name}\n    {result.verdict.why}", flush=True)
            leave(result, args.out, bench)
    print(report(results, time.monotonic() - start))
    if failed:
        print(f"failing inputs: {args.out}")
        sys.exit(1)


def tried(every: Sequence[Case], workers: int) -> Iterator[Result]:
    """The cases' results, in any order."""
    waiting: SimpleQueue[Case] = SimpleQueue()
    done: SimpleQueue[Result] = SimpleQueue()
    for case in every:
        waiting.put(case)

    def work() -> None:
        worker = Worker()
        with suppress(Empty):
            while True:
                done.put(worker.run(waiting.get_nowait()))
        worker.close()

    with ThreadPoolExecutor(workers) as pool:
        threads = [pool.submit(work) for _ in range(workers)]
        for _ in every:
            while True:
                with suppress(Empty):
                    yield done.get(timeout=5)
                    break
                for thread in threads:
                    if thread.done():
                        thread.result()


def distinct(results: Iterator[Result]) -> list[Result]:
    """The results without those of inputs that are the same as another, or as the whole file."""
    found = {(result.case.subject, result.case.file, result.content): result for result in results}
    return [result for result in found.values() if result.content]


def report(results: Sequence[Result], seconds: float) -> str:
    """A line of each subject, and one of all."""
    lines = []
    for subject in dict.fromkeys(result.case.subject for result in results):
        lines.append(_line(subject, [one for one in results if one.case.subject == subject]))
    slowest = max(results, key=lambda result: result.verdict.seconds)
    largest = max(results, key=lambda result: result.bytes)
    return "\n".join(
        [
            *lines,
            _line("all", results),
            f"slowest: {slowest.verdict.seconds:.1f} s ({slowest.case.name})",
            f"most memory: {largest.bytes / 1e9:.2f} GB ({largest.case.name})",
            f"{seconds:.0f} s",
        ]
    )


def _line(name: str, results: Sequence[Result]) -> str:
    count = Counter(result.verdict.kind for result in results)
    net = sum(result.verdict.net for result in results if result.verdict.kind == "clear")
    return (
        f"{name}: tried {len(results):,} / clear {count['clear']:,} (of them {net} by the net) / "
        f"tolerated {count['tolerated']:,} / failed {count['failed']:,}"
    )


def leave(result: Result, out: Path, bench: Bench) -> None:
    """Leave a failing input in a folder of its own, with the line that tries it again."""
    case = result.case
    folder = out / re.sub(r"[^\w.-]+", "_", case.name)[:150]
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"^{re.escape(case.name)}$"
    line = f"python -m benchmarks.hostile --subject {shlex.quote(case.subject)} --only {shlex.quote(pattern)}"
    if case.subject == "commands":
        line += f"\n{describe(command_cases()[case])}"
    (folder / "HOWTO.txt").write_text(f"{line}\n{result.verdict.why}\n")
    if case.subject == "commands":
        return
    path = bench.tree(case.subject) / case.file
    whole = path.read_bytes()
    if bench.broken(case, path) and path.is_file() and path.stat().st_size < 8 << 20:
        shutil.copy(path, folder / path.name)
    mend(path, whole)


if __name__ == "__main__":
    main()
