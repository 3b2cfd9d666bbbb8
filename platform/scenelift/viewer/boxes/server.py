"""The page of rooms and captioned images: a sentence, and the boxes that students find for it, with scores."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from scenelift.errors import SceneliftError
from scenelift.samples.room import Room
from scenelift.viewer.boxes.explorer import BoxExplorer, Choice, edges, picture, room_boxes, room_extent
from scenelift.viewer.photos import png
from scenelift.viewer.viser_internals import Server

_CEILING = 2.2
"""Points above this height, metres, are not drawn: they would hide the room."""


class BoxPage:
    """Controls and scene; all browsers that are connected see the same."""

    def __init__(self, server: Server, boxes: BoxExplorer, start: int = 0) -> None:
        self.server, self.boxes = server, boxes
        self._busy = threading.RLock()
        gui, names = server.gui, list(boxes.grounders) or ["nobody"]
        server.scene.set_up_direction("+z")
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_right()
        gui.main_panel.set_width(320)
        self.title = gui.add_html("")
        self.place = gui.add_slider("number", 0, max(1, len(boxes.names) - 1), 1, start)
        self.own = gui.add_dropdown("of the data", boxes.sentences(start))
        self.sentence = gui.add_text("sentence", self.own.value, hint="What to look for. Enter.")
        self.who = gui.add_dropdown("student", names, visible=len(names) > 1)
        self.count = gui.add_slider("boxes", 1, 10, 1, 3)
        self.told = gui.add_html("")
        shot, page = gui.add_button("screenshot"), gui.add_button("page without a server")
        self.place.on_update(self._safely(self._moved))
        self.own.on_update(self._safely(self._chosen))
        for control in (self.sentence, self.count, self.who):
            control.on_update(self._safely(self.draw))
        shot.on_click(self._screenshot)
        page.on_click(self._export)
        self.show(start)

    def show(self, index: int) -> None:
        """Show a sample, and the first of its own sentences."""
        with self._busy:
            self.index, self.sample = index, self.boxes.sample(index)
            self.title.content = f"<div style='padding:0 1em'><b>{html.escape(self.sample.token)}</b></div>"
            self.own.options = self.boxes.sentences(index)
            self.sentence.value = self.own.value
            self.server.scene.remove_by_name("/sample")
            if isinstance(self.sample, Room):
                self._show_room(self.sample)
            self._safely(self.draw)()

    def _show_room(self, room: Room) -> None:
        low = room.points[:, 2] < _CEILING
        self.server.scene.add_point_cloud(
            "/sample/points",
            room.points[low],
            room.colors[low],
            point_size=0.05,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )
        middle = np.median(room.points, 0) if len(room.points) else room.boxes[:, :3].mean(0)
        self.server.initial_camera.look_at = middle
        self.server.initial_camera.position = middle + np.array([-0.4, -1.0, 1.2]) * room_extent(room)

    def draw(self) -> None:
        """Draw what the chosen student finds for the sentence."""
        with self._busy:
            sentence = self.sentence.value
            found = self.boxes.find(self.sample, sentence, self.count.value)
            choices = found.get(self.who.value, [])
            self.server.scene.remove_by_name("/found")
            if isinstance(self.sample, Room):
                self._draw_boxes(self.sample, sentence, choices)
            else:
                self._draw_regions(picture(self.sample, sentence, choices))
            self.told.content = self._told(choices)

    def _draw_boxes(self, room: Room, sentence: str, choices: list[Choice]) -> None:
        for number, (box, text, color) in enumerate(room_boxes(room, sentence, choices)):
            width = 5.0 if number == 0 else 3.0
            self.server.scene.add_line_segments(f"/found/{number}", edges(box), color, line_width=width)
            above = 0.1 + 0.3 * number  # metres, so that names of boxes that overlap do not
            top = (float(box[0]), float(box[1]), float(box[2] + box[5] / 2) + above)
            self.server.scene.add_label(f"/found/{number}/name", text, position=top)

    def _draw_regions(self, drawn: np.ndarray) -> None:
        """The picture stands upright before the camera, 2 m wide."""
        upright = (np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0)
        height = 2.0 * drawn.shape[0] / drawn.shape[1]
        self.server.scene.add_image("/found/photo", drawn, 2.0, height, wxyz=upright, jpeg_quality=90)
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        self.server.initial_camera.position = (0.0, -1.6, 0.0)

    def _told(self, choices: list[Choice]) -> str:
        if not self.boxes.grounders:
            return "<div style='padding:.3em 1em'>no student to ask; give --student runs/NAME/student</div>"
        scale = html.escape(self.boxes.grounders[self.who.value].scale)
        rows = [f"{rank}: box {each.box}, {each.score:.3f}" for rank, each in enumerate(choices, 1)]
        return (
            f"<div style='padding:.3em 1em;font-size:.85em'>{'<br>'.join([f'<i>{scale}</i>', *rows])}</div>"
        )

    def _moved(self) -> None:
        self.show(min(self.place.value, len(self.boxes.names) - 1))

    def _chosen(self) -> None:
        self.sentence.value = self.own.value  # draws

    def _screenshot(self, event: Any) -> None:
        camera = event.client.camera
        shot = event.client.get_render(camera.image_height, camera.image_width, transport_format="png")
        event.client.send_file_download(f"{self.sample.token}.png", png(shot), save_immediately=True)

    def _export(self, event: Any) -> None:
        with self._busy:
            text = self.boxes.page(self.index, self.sentence.value, self.count.value).html()
        event.client.send_file_download(f"{self.sample.token}.html", text.encode(), save_immediately=True)

    def _safely(self, act: Callable[[], None]) -> Callable[..., None]:
        """A callback that shows a user's mistake in the page."""

        def called(*_: Any) -> None:
            try:
                act()
            except SceneliftError as error:
                self.told.content = (
                    f"<div style='padding:.3em 1em;color:#ff8a80'>{html.escape(str(error))}</div>"
                )

        return called
