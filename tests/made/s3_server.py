"""An S3 server on localhost, moto's, that can be slow and can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

BUCKET, KEY, SECRET = "bucket", "key", "secret"


class _Silent(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


@dataclass
class S3Server:
    """One bucket in memory, empty at first. Start it by `with`; `url` is what AWS_ENDPOINT_URL takes."""

    delay: float = 0.0
    """Seconds before each answer."""
    refuse: Callable[[str, str], int] = lambda method, path: 0
    """(method, path with query) -> the status to fail with; 0: none."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with query) of everything that was asked, refused or not."""

    def __enter__(self) -> S3Server:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        self._client.create_bucket(Bucket=BUCKET)
        self.requests.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.delay, self.refuse = 0.0, lambda method, path: 0
        for key in self.names():
            self.delete(key)
        self._client.delete_bucket(Bucket=BUCKET)
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        path += f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        self.requests.append((method, path))
        time.sleep(self.delay)
        status = self.refuse(method, path)
        if status == 0:
            return self._moto(environ, start_response)
        Request(environ).get_data()  # else the next request on this connection begins with the body
        code = "SlowDown" if status == 503 else "InternalError"
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        return Response(body, status, content_type="application/xml")(environ, start_response)

    def names(self) -> list[str]:
        """Of all objects, sorted."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def read(self, key: str) -> bytes:
        """An object."""
        return self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        """An object less."""
        self._client.delete_object(Bucket=BUCKET, Key=key)
