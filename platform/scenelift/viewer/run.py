"""Opens what is to be looked at, and serves its page or writes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scenelift.config.build import from_dict
from scenelift.errors import ConfigError, TeacherError
from scenelift.inference.labeler import Labeler, load
from scenelift.io.console import say
from scenelift.teachers.config import TeacherConfig
from scenelift.viewer import page
from scenelift.viewer.answers import Answers
from scenelift.viewer.boxes.explorer import BoxExplorer, Grounder
from scenelift.viewer.boxes.server import BoxPage
from scenelift.viewer.config import ExploreConfig
from scenelift.viewer.explorer import AGAINST, STUDENT, Explorer
from scenelift.viewer.ranking import Ranking
from scenelift.viewer.scans.places import Found, Scans, of_run, open_place, run_of, trained_by
from scenelift.viewer.server import CloudPage
from scenelift.viewer.viser_internals import LOOPBACK, Server, require_free

if TYPE_CHECKING:
    from scenelift.teachers.teacher import Teacher


@dataclass(frozen=True)
class Methods:
    """What is known outside of the library: synthetic data, and students that find boxes."""

    synthetic: Callable[[str], str] | None = None
    """Name of a trainable -> folder of the synthetic shards that it is scored on; None: there are none."""
    student: str | None = None
    """A student that is shown where neither data nor a student are given; None: there is none."""
    grounders: Mapping[str, Callable[[str], Grounder]] = field(default_factory=dict)
    """Kind of samples -> loads a student that scores their boxes, from its folder."""


NO_METHODS = Methods()


def run(config: ExploreConfig, methods: Methods = NO_METHODS) -> None:
    """Serve the page until interrupted, or write one sample into a file."""
    if config.export is None:
        require_free(config.server.host, config.server.port)  # before anything is loaded
    found, config = settle(config, methods)
    if found.scans is not None:
        explorer = explorer_of(found.scans, config)
        _require_sample(config.start, len(found.scans.names), found.scans.path)
        view = explorer.view(config.start)  # what is wrong with it is said before there is a page
        if config.export is None:
            ranking = Ranking(explorer, config.kept)
            _serve(
                config, found.scans.path, lambda server: CloudPage(server, explorer, ranking, config.start)
            )
            return
        page.write(page.page_of(explorer, view), config.export)
    else:
        boxes = boxes_of(found, config, methods)
        _require_sample(config.start, len(boxes.names), boxes.samples.path)
        if config.export is None:
            _serve(config, boxes.samples.path, lambda server: BoxPage(server, boxes, config.start))
            return
        page.write(boxes.page(config.start, boxes.sentences(config.start)[0]), config.export)
    print(f"Written: {config.export}; any browser opens it")


def settle(config: ExploreConfig, methods: Methods) -> tuple[Found, ExploreConfig]:
    """What is shown, and the config with the student of the run that brings it. ConfigError if nothing is named and
    nothing follows."""
    place, student = config.data, config.student
    if place is None and student is None:
        student = methods.student
    home = place if place is not None and of_run(place) is not None else None
    if place is None and student is not None:
        home = run_of(student)
    if home is not None:
        place, trained = of_run(home) or (None, None)
        student = student or trained
    if place is None and methods.synthetic is not None:
        place = methods.synthetic(trained_by(student))
    if place is None:
        raise ConfigError(
            "nothing to look at; give --data: a folder of shards, a run's folder, or a cloud or a folder of clouds"
        )
    return open_place(place, config.input), replace(config, student=student)


def explorer_of(scans: Scans, config: ExploreConfig) -> Explorer:
    """The scans with the students and the teacher of a settled config."""
    named = {STUDENT: config.student, AGAINST: config.against}
    students = {name: load(folder) for name, folder in named.items() if folder is not None}
    return Explorer(scans, Answers(students, _teacher(scans, config, students.get(STUDENT))))


def _teacher(scans: Scans, config: ExploreConfig, student: Labeler | None) -> Teacher | None:
    """The teacher of the scans' classes; None where there is nothing for it to see."""
    if not (config.with_teacher and scans.paired and scans.vocabulary is not None):
        return None
    from scenelift.teachers.clip import build_teacher  # takes seconds

    chosen = config.teacher
    if chosen == ExploreConfig.teacher and student is not None and student.student.teacher is not None:
        chosen = from_dict(TeacherConfig, student.student.teacher)
    try:
        return build_teacher(chosen, scans.vocabulary)
    except TeacherError as error:
        say(f"no teacher is shown: {error}")
        return None


def boxes_of(found: Found, config: ExploreConfig, methods: Methods) -> BoxExplorer:
    """The rooms or images with the students of a settled config."""
    assert found.samples is not None
    grounders: dict[str, Grounder] = {}
    named = {STUDENT: config.student, AGAINST: config.against}
    for name, folder in named.items():
        if folder is None:
            continue
        if found.kind not in methods.grounders:
            raise ConfigError(
                f"{folder} cannot be asked about {found.kind}s here; leave --student out, or run "
                "python -m trainables.explore in the repository"
            )
        grounders[name] = methods.grounders[found.kind](folder)
    return BoxExplorer(found.samples, grounders)


def _require_sample(index: int, count: int, place: str) -> None:
    if index >= count:
        raise ConfigError(f"start {index} is not there: {place} has {count}, 0 to {count - 1}")


def _serve(config: ExploreConfig, place: str, make: Callable[[Server], object]) -> None:
    """Serve a page until interrupted."""
    host, port = config.server.host, config.server.port
    server = Server(host, port, f"Scenelift: {place}")
    make(server)
    if host not in LOOPBACK:
        say(f"warning: everyone who reaches {host} can see {place}; there is no password")
    print(f"Look at http://{'localhost' if host in LOOPBACK else host}:{port} ; Ctrl-C stops it", flush=True)
    try:
        threading.Event().wait()
    finally:
        server.stop()
