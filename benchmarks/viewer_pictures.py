"""Pictures of the viewer for docs/explore.md, from a headless Chromium."""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from websockets.sync.client import connect

from scenelift.errors import ConfigError
from scenelift.viewer.boxes.server import BoxPage
from scenelift.viewer.config import ExploreConfig, ServerConfig
from scenelift.viewer.ranking import Ranking
from scenelift.viewer.run import boxes_of, explorer_of, settle
from scenelift.viewer.server import CloudPage
from scenelift.viewer.viser_internals import Server
from trainables.explore.run import METHODS

FLAGS = (
    "--headless --no-sandbox --disable-gpu --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic "
    "--no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
)
WIDTH, HEIGHT = 1400, 850
_DISMISS = "document.querySelectorAll('.mantine-Notification-closeButton').forEach(each => each.click())"
"""Of a note that this browser draws without a GPU."""


class Browser:
    """A page of Chromium, driven by its own protocol."""

    def __init__(self, address: str) -> None:
        self.socket, self.ids = connect(address, max_size=1 << 28), itertools.count(1)
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH,
            height=HEIGHT,
            deviceScaleFactor=1,
            mobile=False,
        )

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one call."""
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, url: str, seconds: float = 6.0) -> None:
        """Open a page, and wait until it is drawn."""
        self.ask("Page.navigate", url=url)
        time.sleep(seconds)
        self.ask("Runtime.evaluate", expression=_DISMISS)
        time.sleep(4)  # it fades

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path) -> None:
        """Write what is seen, in 256 colors, which keeps it small."""
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image.resize((WIDTH * 4 // 5, HEIGHT * 4 // 5), Image.Resampling.LANCZOS).quantize(
            256, Image.Quantize.FASTOCTREE
        ).save(path, optimize=True)
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium with an empty profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise ConfigError("no Chromium is on PATH; install it to draw the viewer's pictures")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [
            program,
            *FLAGS.split(),
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(profile, "DevToolsActivePort")
            for _ in range(200):
                if port.exists() and port.read_text().strip():
                    break
                time.sleep(0.1)
            number = port.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{number}/json") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            yield Browser(pages[0]["webSocketDebuggerUrl"])
        finally:
            process.terminate()
            process.wait()


@contextmanager
def cloud_page(config: ExploreConfig) -> Iterator[CloudPage]:
    """The page of a config's clouds, served."""
    found, config = settle(config, METHODS)
    assert found.scans is not None
    explorer = explorer_of(found.scans, config)
    server = Server(config.server.host, config.server.port, "Scenelift")
    try:
        yield CloudPage(server, explorer, Ranking(explorer, config.kept), config.start)
    finally:
        server.stop()


@contextmanager
def box_page(config: ExploreConfig) -> Iterator[BoxPage]:
    """The page of a config's rooms or images, served."""
    found, config = settle(config, METHODS)
    server = Server(config.server.host, config.server.port, "Scenelift")
    try:
        yield BoxPage(server, boxes_of(found, config, METHODS), config.start)
    finally:
        server.stop()


def main() -> None:
    """Draw what the options give students for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", help="a student of trainables.distill")
    parser.add_argument("--against", help="another one, of the same data")
    parser.add_argument("--ground", help="a student of trainables.ground")
    parser.add_argument("--phrases", help="a student of trainables.phrases")
    parser.add_argument("--words", default="a car")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--port", type=int, default=8155)
    options = parser.parse_args()
    ports = itertools.count(options.port)

    def config(**more: Any) -> ExploreConfig:
        return ExploreConfig(server=ServerConfig(port=next(ports)), **more)

    with chromium() as browser:

        def shot(name: str, port: int, seconds: float = 20) -> None:
            browser.open(f"http://localhost:{port}/", seconds)
            browser.picture(options.out / f"explore_{name}.png")

        if options.student:
            with cloud_page(one := config(student=options.student)) as page:
                page.ranking.compute()
                page.sort.value = "error"
                page.by.value = "error"
                time.sleep(1)
                _, wrong = page.explorer.wrong(page.view, "student")
                both = wrong[page.view.pairs[0]].nonzero()[0]
                page.tell(int(page.view.pairs[0][both[len(both) // 2]]))
                shot("errors", one.server.port)
                page.words.value = options.words
                shot("words", one.server.port)
            if options.against:
                with cloud_page(one := config(student=options.student, against=options.against)) as page:
                    shot("two", one.server.port)
        for name, student in (("room", options.ground), ("phrase", options.phrases)):
            if student:
                with box_page(one := config(student=student)):
                    shot(name, one.server.port)


if __name__ == "__main__":
    sys.exit(main())
