"""The page is served on loopback alone, to pages of this machine, and a port in use is one line."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import viser
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from scenelift.errors import ClusterError
from scenelift.viewer.explorer import Explorer
from scenelift.viewer.ranking import Ranking
from scenelift.viewer.server import CloudPage
from scenelift.viewer.viser_internals import TESTED_VISER, Server, require_free


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def page(explorer: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPage]:
    server = Server("127.0.0.1", free_port(), "test")
    yield CloudPage(server, explorer, Ranking(explorer, str(tmp_path_factory.mktemp("kept"))), 2)
    server.stop()


@pytest.mark.slow
@pytest.mark.internals
def test_the_page_is_served_on_loopback_alone(page: CloudPage) -> None:
    port = page.server.get_port()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert answer.status == 200 and b"<div id=" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/..%2f..%2fsetup.py")
    listening = {
        each.laddr.ip
        for each in psutil.Process().net_connections()
        if each.status == "LISTEN" and each.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.internals
def test_pages_of_others_are_told_nothing(page: CloudPage) -> None:
    address = f"ws://127.0.0.1:{page.server.get_port()}"
    protocol = f"viser-v{viser.__version__}"
    with connect(address, origin="http://localhost:9", subprotocols=[protocol]):
        pass
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="http://evil.example", subprotocols=[protocol])
    assert page.server.request_share_url() is None


@pytest.mark.slow
def test_the_controls_do_what_they_say(page: CloudPage) -> None:
    assert [cloud.points.shape for cloud in page._clouds] == [page.view.points.shape] * 2
    page.by.value = "error"
    page.recolor()
    assert "wrong" in page.legend.content
    page.words.value = "zebra"
    page.by.value = "words"
    page._safely(page.recolor)()
    assert "does not know zebra" in page.legend.content
    page.words.value = "car"
    page.recolor()
    assert "cosine with" in page.legend.content
    page.tell(int(page.view.pairs[0][0]))
    assert "truth" in page.told.content and page.crops.visible
    page.ranking.compute()
    page.sort.value = "error"
    page._reorder()
    assert page.index == page.ranking.order("error")[0]
    page.scene.value = "scene-1"
    page._reorder()
    assert {page.explorer.scans.scenes[i] for i in page.order} == {"scene-1"}


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=re.escape(f"port {port} is not free")) as told:
            require_free("127.0.0.1", port)
    assert f"choose another: --server.port {port % 65535 + 1}" in str(told.value) and "\n" not in str(
        told.value
    )


@pytest.mark.internals
def test_the_installed_viser_is_the_one_that_was_tested() -> None:
    assert viser.__version__.startswith(f"{TESTED_VISER}.")
    assert (Path(viser.__file__).parent / "client" / "build" / "index.html").exists()
