"""The page of clouds: the cloud with its colors, photos, and what is known of a clicked point."""

from __future__ import annotations

import functools
import html
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import SceneliftError
from scenelift.io.console import say
from scenelift.viewer.colors import Coloring
from scenelift.viewer.explorer import DISTANCE, OF_STUDENTS, STUDENT, Explorer, Point
from scenelift.viewer.page import page_of
from scenelift.viewer.photos import png, together
from scenelift.viewer.picking import pick
from scenelift.viewer.ranking import ORDERS, Ranking
from scenelift.viewer.viser_internals import Server

ALL = "all"
_MARK = (255, 60, 200)
_CLICK = "<small style='padding:0 1em'>click a point of the cloud</small>"


class CloudPage:
    """Controls and scene of an explorer; all browsers that are connected see the same."""

    def __init__(self, server: Server, explorer: Explorer, ranking: Ranking, start: int = 0) -> None:
        self.server, self.explorer, self.ranking = server, explorer, ranking
        self.order = ranking.order("scene")
        self._busy = threading.RLock()
        self._clouds: list[Any] = []
        self._offsets: list[NDArray[np.float32]] = []
        self._colors: Coloring | None = None
        self.view = explorer.view(start)
        server.scene.set_up_direction("+z")
        server.scene.on_click()(self._clicked)
        server.gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, control_width="large"
        )
        server.gui.main_panel.dock_right()
        server.gui.main_panel.set_width(300)
        self._make_frames(start)
        self._make_colors()
        self._make_buttons()
        side = server.gui.add_panel()
        with side.add_tab("Photos and point"):
            self._make_photos()
            self._make_point()
        side.dock_left()
        side.set_width(400)
        self.show(start)
        self._place_camera()

    def _make_frames(self, start: int) -> None:
        gui = self.server.gui
        scenes = list(dict.fromkeys(self.explorer.scans.scenes))
        self.title = gui.add_html("")
        with gui.add_folder("Frames"):
            orders = list(ORDERS) if self.ranking.useful else ["scene"]
            self.sort = gui.add_dropdown(
                "sorted by", orders, hint="\n".join(f"{k}: {v}" for k, v in ORDERS.items())
            )
            self.scene = gui.add_dropdown("scene", [ALL, *scenes])
            self.place = gui.add_slider("number", 0, max(1, self.ranking.total - 1), 1, start)
            steps = gui.add_button_group("step", ["previous", "next"])
            self.score = gui.add_button(
                "score all frames", visible=self.ranking.useful and not self.ranking.done
            )
            self.progress = gui.add_progress_bar(0.0, visible=False)
        self.sort.on_update(self._safely(self._reorder))
        self.scene.on_update(self._safely(self._reorder))
        self.place.on_update(self._safely(self._moved))
        steps.on_click(self._safely(lambda: self._step(1 if steps.value == "next" else -1)))
        self.score.on_click(self._safely(self._start_scoring))

    def _make_colors(self) -> None:
        gui, two = self.server.gui, len(self.explorer.students) > 1
        with gui.add_folder("Colors"):
            self.by = gui.add_dropdown("points by", self.explorer.colorings(self.view))
            self.words = gui.add_text("words", "", hint="Points that look like it, to the student. Enter.")
            self.words.visible = "words" in self.explorer.colorings(self.view)
            self.beside = gui.add_checkbox("side by side", two, visible=two)
            self.size = gui.add_slider("size, cm", 1, 40, 1, max(1, min(40, round(self.view.extent / 3))))
            self.legend = gui.add_html("")
        self.by.on_update(self._safely(self.recolor))
        self.words.on_update(self._safely(self._asked))
        self.beside.on_update(self._safely(self._rebuild))
        self.size.on_update(self._safely(self._resize))

    def _make_photos(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Photos", visible=len(self.view.cameras) > 0):
            self.camera = gui.add_dropdown("camera", [ALL, *self.view.cameras])
            self.over = gui.add_dropdown("over them", ["points by color", "points by distance", "nothing"])
            self.photo = gui.add_image(np.zeros((2, 2, 3), np.uint8), jpeg_quality=85)
        self.camera.on_update(self._safely(self.draw_photos))
        self.over.on_update(self._safely(self.draw_photos))

    def _make_point(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Point"):
            self.told = gui.add_html(_CLICK)
            self.crops = gui.add_image(np.zeros((2, 2, 3), np.uint8), visible=False, format="png")

    def _make_buttons(self) -> None:
        gui = self.server.gui
        shot, page = gui.add_button("screenshot"), gui.add_button("page without a server")
        shot.on_click(self._screenshot)
        page.on_click(self._export)

    def show(self, index: int) -> None:
        """Show a scan, in the chosen colors."""
        with self._busy:
            self.view = self.explorer.view(index)
            self.index = index
            scores = self.ranking.scores.get(index)
            known = [f"{k} {v:.1%}" for k, v in (vars(scores) if scores else {}).items() if v is not None]
            shown = f"{len(self.view.points):,} points" + (
                f", every {self.view.step}th" if self.view.step > 1 else ""
            )
            lines = [f"<b>{html.escape(self.view.name)}</b>", html.escape(self.view.scene), shown, *known]
            self.title.content = f"<div style='padding:0 1em;font-size:.85em'>{'<br>'.join(lines)}</div>"
            possible = self.explorer.colorings(self.view)
            if list(self.by.options) != possible:
                self.by.options = possible
            self._unmark()
            self._rebuild()

    def _rebuild(self) -> None:
        """The clouds of the view: one, or one for each student."""
        who, made = self._who(), self._made()
        for cloud in self._clouds:
            cloud.remove()
        width = 2.3 * self.view.extent
        self._offsets = [np.array([number * width, 0, 0], np.float32) for number in range(len(who))]
        self._clouds = [
            self.server.scene.add_point_cloud(
                f"/cloud/{number}",
                self.view.points,
                coloring.colors,
                point_size=self.size.value / 100,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                position=tuple(offset.tolist()),
            )
            for number, (offset, coloring) in enumerate(zip(self._offsets, made, strict=True))
        ]
        self.server.scene.remove_by_name("/names")
        for name, offset in zip(who, self._offsets, strict=True):
            if len(who) > 1:
                top = self.view.middle + offset + np.array([0, self.view.extent, 3], np.float32)
                self.server.scene.add_label(f"/names/{name}", name, position=tuple(top.tolist()))
        self._explain(made)

    def recolor(self) -> None:
        """Color the clouds, and draw the photos anew."""
        with self._busy:
            made = self._made()
            for cloud, coloring in zip(self._clouds, made, strict=True):
                cloud.colors = coloring.colors
            self._explain(made)

    def _made(self) -> list[Coloring]:
        """The chosen coloring for each cloud."""
        chosen = self.by.value, self.words.value
        return [self.explorer.coloring(self.view, chosen[0], who, chosen[1]) for who in self._who()]

    def _explain(self, made: list[Coloring]) -> None:
        self._colors = made[0]
        titles = self._who() if self.by.value in OF_STUDENTS and len(made) > 1 else [""]
        parts = zip(titles, made, strict=False)
        self.legend.content = "".join(legend(coloring, title) for title, coloring in parts)
        self.draw_photos()

    def draw_photos(self) -> None:
        """Draw the photos of the chosen cameras."""
        view, chosen = self.view, self.camera.value
        if not view.cameras:
            return
        numbers = [n for n, name in enumerate(view.cameras) if chosen in (ALL, name)]
        over = {"points by color": self._colors, "nothing": None}.get(self.over.value)
        if self.over.value == "points by distance":
            over = self.explorer.coloring(view, DISTANCE)
        drawn = [self.explorer.photo(view, number, over) for number in numbers]
        self.photo.image = together(drawn, [view.cameras[n] for n in numbers], 2)

    def _who(self) -> list[str]:
        students = list(self.explorer.students) or [STUDENT]
        return students if self.beside.value else students[:1]

    def _moved(self) -> None:
        if (index := self.order[min(self.place.value, len(self.order) - 1)]) != self.index:
            self.show(index)

    def _step(self, by: int) -> None:
        self.place.value = int(np.clip(self.place.value + by, 0, len(self.order) - 1))

    def _reorder(self) -> None:
        """The frames of the chosen scene in the chosen order; the first of them is shown."""
        chosen, scenes = self.scene.value, self.explorer.scans.scenes
        self.order = [i for i in self.ranking.order(self.sort.value) if chosen in (ALL, scenes[i])]
        self.place.max = max(1, len(self.order) - 1)
        if self.place.value:
            self.place.value = 0  # shows it
        self._moved()
        if self.sort.value != "scene" and not self.ranking.done:
            self._start_scoring()

    def _start_scoring(self) -> None:
        self.progress.visible, self.score.visible = True, False
        self.ranking.start(self._progressed)

    def _progressed(self, done: int, total: int) -> None:
        self.progress.value = 100 * done / max(1, total)
        if done == total:
            self.progress.visible = False
            say(f"scored {total} frames; kept in {self.ranking.path}")
            self._safely(self._reorder)()

    def _asked(self) -> None:
        """Words that are typed choose their coloring."""
        if self.words.value and self.by.value != "words":
            self.by.value = "words"  # colors
        else:
            self.recolor()

    def _resize(self) -> None:
        for cloud in self._clouds:
            cloud.point_size = self.size.value / 100

    def _clicked(self, event: Any) -> None:
        origin, direction = np.array(event.ray_origin), np.array(event.ray_direction)
        with self._busy:
            for offset in self._offsets:
                number = pick(self.view.points, origin - offset, direction)
                if number is not None:
                    self._safely(functools.partial(self.tell, number))()
                    return
            self._unmark()

    def tell(self, number: int) -> None:
        """Tell what is known of a point, and mark it."""
        point = self.explorer.point(self.view, number)
        self.told.content = described(point)
        self.crops.visible = bool(point.seen)
        if point.seen:
            self.crops.image = together(
                [each.crop for each in point.seen], [each.camera for each in point.seen], 2
            )
        self.server.scene.remove_by_name("/mark")
        radius = max(0.05, self.view.extent / 150)
        for copy, offset in enumerate(self._offsets):
            place = tuple((self.view.points[number] + offset).tolist())
            self.server.scene.add_icosphere(f"/mark/{copy}", radius, color=_MARK, position=place, opacity=0.7)

    def _unmark(self) -> None:
        self.server.scene.remove_by_name("/mark")
        self.told.content, self.crops.visible = _CLICK, False

    def _place_camera(self) -> None:
        """Behind and above the middle, so that all of it is seen."""
        width = self._offsets[-1] / 2
        middle, away = self.view.middle + width, self.view.extent + float(width[0])
        self.server.initial_camera.look_at = middle
        self.server.initial_camera.position = middle + np.array([-0.2, -1.0, 0.8]) * away

    def _screenshot(self, event: Any) -> None:
        camera = event.client.camera
        shot = event.client.get_render(camera.image_height, camera.image_width, transport_format="png")
        event.client.send_file_download(f"{self.view.name}.png", png(shot), save_immediately=True)

    def _export(self, event: Any) -> None:
        with self._busy:
            text = page_of(self.explorer, self.view, self.words.value).html()
        event.client.send_file_download(f"{self.view.name}.html", text.encode(), save_immediately=True)

    def _safely(self, act: Callable[[], None]) -> Callable[..., None]:
        """A callback that shows a user's mistake in the page."""

        def called(*_: Any) -> None:
            try:
                act()
            except SceneliftError as error:
                self.legend.content = (
                    f"<div style='padding:0 1em;color:#ff8a80'>{html.escape(str(error))}</div>"
                )

        return called


def legend(coloring: Coloring, title: str = "") -> str:
    """A coloring's legend as HTML."""
    rows = [f"<b>{html.escape(title)}</b>"] if title else []
    for name, (red, green, blue) in coloring.legend:
        swatch = (
            f"<span style='display:inline-block;width:.8em;height:.8em;background:rgb({red},{green},{blue})'>"
        )
        rows.append(f"{swatch}</span> {html.escape(name)}")
    rows += [f"<i>{html.escape(coloring.note)}</i>"] if coloring.note else []
    return f"<div style='padding:.3em 1em;font-size:.85em'>{'<br>'.join(rows)}</div>"


def described(point: Point) -> str:
    """What is known of a point as HTML."""
    x, y, z = point.position
    rows = [f"point {point.number:,} at {x:.2f}, {y:.2f}, {z:.2f} m"]
    rows += [f"features {', '.join(f'{value:.3g}' for value in point.features)}"] if point.features else []
    for who, name in point.labels.items():
        sure = f" ({point.confidence[who]:.2f})" if who in point.confidence else ""
        rows.append(f"{who}: <b>{html.escape(name)}</b>{sure}")
    if not point.seen:
        rows.append("in no photo")
    for seen in point.seen:
        row, column = seen.pixel
        best = ", ".join(f"{html.escape(name)} {score:.3f}" for name, score in seen.scores)
        rows.append(f"{html.escape(seen.camera)}, row {row}, column {column}" + (f": {best}" if best else ""))
    return f"<div style='padding:.3em 1em;font-size:.85em'>{'<br>'.join(rows)}</div>"
