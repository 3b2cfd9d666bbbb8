"""Every use of private parts of viser. An upgrade: run `pytest -m internals`, open the viewer in a browser, mend
what fails here, then change `TESTED_VISER`."""

from __future__ import annotations

import functools
import io
import re
import socket
from contextlib import redirect_stdout
from typing import Any
from unittest.mock import patch

import viser
import websockets.asyncio.server

from scenelift.errors import ClusterError, first_line
from scenelift.io.console import warn_if_untested

TESTED_VISER = "1.1"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OWN_PAGES = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
"""Origins of pages of this machine, at any port, as it may be forwarded."""


class Server(viser.ViserServer):
    """viser's server, which never asks viser's makers for a public address, and tells strangers nothing.

    On loopback, only pages from this machine are answered: otherwise any page of the internet that is open in the
    user's browser could connect, as browsers do not keep WebSockets apart by origin. To ask for upstream:
    `origins`, and a port that is not silently replaced by the next one.
    """

    def __init__(self, host: str, port: int, title: str) -> None:
        """ClusterError if the port is not free, or the address is not of this machine."""
        warn_if_untested("viser", viser.__version__, TESTED_VISER)
        require_free(host, port)
        serve: Any = websockets.asyncio.server.serve
        if host in LOOPBACK:
            serve = functools.partial(serve, origins=[_OWN_PAGES, None])
        with patch.object(websockets.asyncio.server, "serve", serve), redirect_stdout(io.StringIO()):
            super().__init__(host=host, port=port, label=title, verbose=False)
        if self.get_port() != port:
            self.stop()
            raise _not_free(port, f"another program took it just now, and {self.get_port()} was free")

    def request_share_url(self, verbose: bool = True) -> None:
        """Refused: it would lead everyone who knows the address to the user's data, through a server of others."""


def require_free(host: str, port: int) -> None:
    """ClusterError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server has it
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _not_free(port, first_line(error)) from None


def _not_free(port: int, why: str) -> ClusterError:
    return ClusterError(f"port {port} is not free: {why}; choose another: --server.port {port % 65535 + 1}")
