"""A table of finished runs, read from MLflow: mean and spread over seeds, one block for each protocol.

Runs that differ in the seed alone make one row; their other differences become its name. Scores of other shards, of
another protocol or over other points never share a column.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scenelift.config.build import nearest
from scenelift.errors import ConfigError, StorageError, TrackingError
from scenelift.io.console import say
from scenelift.io.secrets import address
from scenelift.runs import history
from scenelift.runs.history import Finished
from scenelift.tracking import store
from trainables.table.compare import Block, Row, compare, distinct_titles
from trainables.table.config import TableConfig

COLUMNS = {
    "miou": "mIoU, all points",
    "miou_seen": "mIoU, seen points",
    "miou_unseen": "mIoU, unseen points",
    "accuracy": "accuracy, all points",
}
"""Metric -> title. Seen points are those that a camera sees; a teacher has scores only on them."""


def run(config: TableConfig) -> None:
    """Print the table and write its files."""
    uri = store.resolve(config.uri, Path(config.runs))
    finished, unfinished = history.read(uri)
    chosen = _chosen(config, finished, set(unfinished))
    left_out = sum((unfinished[name] for name in config.experiments or unfinished), Counter[str]())
    if left_out:
        say(f"left out: {', '.join(f'{count} {status}' for status, count in sorted(left_out.items()))}")
    rows, warnings = compare(chosen, finished)
    if not rows:
        raise TrackingError(
            f"no finished run with scores at {address(uri)}; make one: python -m trainables.distill"
        )
    for warning in warnings:
        say(f"warning: {warning}")
    columns = COLUMNS
    if config.metric is not None:
        rows, columns = _one_metric(rows, config.metric)
    rows = distinct_titles(rows)
    text = markdown(rows, columns)
    print(text)
    _write(Path(config.out), {"table.md": text, "table.csv": as_csv(rows, columns)})


def _chosen(config: TableConfig, runs: Sequence[Finished], experiments: set[str]) -> list[Finished]:
    """The runs of the config's experiments and rows; ConfigError if there are none."""
    for name in config.experiments:
        if name not in experiments:
            raise ConfigError(f"no experiment {name}; {nearest(name, experiments)}")
    chosen = [run for run in runs if not config.experiments or run.experiment in config.experiments]
    for condition in config.rows:
        key, equals, value = condition.partition("=")
        settings = [{"experiment": run.experiment, **run.params, **run.tags} for run in chosen]
        if not equals or not any(key in setting for setting in settings):
            keys = {key for setting in settings for key in setting}
            raise ConfigError(f"rows takes KEY=VALUE, not {condition}; {nearest(key, keys)}")
        values = {setting[key] for setting in settings if key in setting}
        if value not in values:
            raise ConfigError(f"no run has {condition}; {key} is {' or '.join(sorted(values))}")
        chosen = [run for run, setting in zip(chosen, settings, strict=True) if setting.get(key) == value]
    return chosen


def _one_metric(rows: Sequence[Row], metric: str) -> tuple[list[Row], dict[str, str]]:
    """The rows with a metric, and it as the only column; ConfigError if they are of several blocks."""
    prefix, _, name = metric.partition("/")
    measured = [row for row in rows if row.prefix == prefix and name in row.values]
    if not measured:
        known = {f"{row.prefix}/{key}" for row in rows for key in row.values}
        raise ConfigError(f"no run has the metric {metric}; {nearest(metric, known)}")
    blocks = dict.fromkeys(row.block for row in distinct_titles(measured))
    if len(blocks) > 1:
        titles = "; ".join(map(_title, blocks))
        raise ConfigError(
            f"{metric} was measured in {len(blocks)} ways that cannot share a column ({titles}); choose one with "
            f"--rows, such as --rows protocol='{min(blocks).protocol}', or leave out --metric"
        )
    return measured, {name: COLUMNS.get(name, name)}


def _title(block: Block) -> str:
    return f"{block.dataset}, {block.split}: {block.protocol}"


def markdown(rows: Sequence[Row], columns: dict[str, str]) -> str:
    """One table for each block, under its own heading."""
    parts = []
    for block in dict.fromkeys(row.block for row in rows):
        mine = [row for row in rows if row.block == block]
        used = {name: title for name, title in columns.items() if any(name in row.values for row in mine)}
        heads = ["", "data set", "split", "protocol", "teacher", "student", "seeds", *used.values()]
        lines = [f"### {_title(block)}", "", _line(heads), _line(["---"] * len(heads))]
        lines += [_line([*_facts(row), *(_cell(row, name) for name in used)]) for row in mine]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _facts(row: Row) -> list[str]:
    block = row.block
    return [row.name, block.dataset, block.split, block.protocol, row.teacher, row.student, str(row.seeds)]


def _cell(row: Row, metric: str) -> str:
    mean, spread = row.mean(metric), row.spread(metric)
    if mean is None:
        return "-"
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def as_csv(rows: Sequence[Row], columns: dict[str, str]) -> str:
    """One line per row; each block has its own columns, empty in the rows of other blocks."""
    fields = ["row", "dataset", "split", "protocol", "teacher", "student", "seeds"]
    lines, heads = [], list(fields)
    for row in rows:
        line = dict(zip(fields, _facts(row), strict=True))
        for name, title in columns.items():
            if name in row.values:
                head = f"{_title(row.block)}: {title}"
                spread = row.spread(name)
                line[f"{head}, mean"] = repr(row.mean(name))
                line[f"{head}, spread"] = "" if spread is None else repr(spread)
        heads += [head for head in line if head not in heads]
        lines.append(line)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error}; set out") from None
    say(f"written: {', '.join(str(folder / name) for name in files)}")
