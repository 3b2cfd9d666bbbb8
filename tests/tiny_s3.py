"""The part of S3 that the library uses, as a server on localhost that can be slow and can fail."""

from __future__ import annotations

import io
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape


@dataclass
class TinyS3:
    """Buckets in memory. Start it by `with`; `url` is what AWS_ENDPOINT_URL takes."""

    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Bucket -> key -> object."""
    delay: float = 0.0
    """Seconds before each answer."""
    refuse: Callable[[str, str], int] = lambda method, path: 0
    """(method, path with query) -> the status to fail with; 0: none."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with query) of everything that was asked, refused or not."""
    _parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def __enter__(self) -> TinyS3:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"s3": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: TinyS3

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self._body()
        self.s3.requests.append((self.command, self.path))
        time.sleep(self.s3.delay)
        refused = self.s3.refuse(self.command, self.path)
        if refused:
            return self._error(refused, "SlowDown" if refused == 503 else "InternalError")
        parts = urlsplit(self.path)
        _, bucket, *key = unquote(parts.path).split("/", 2)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        objects = self.s3.buckets.get(bucket)
        if objects is None:
            return self._error(404, "NoSuchBucket")
        if key and key[0]:
            return self._object(objects, key[0], query, body)
        return self._bucket(objects, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def _bucket(self, objects: dict[str, bytes], query: dict[str, str], body: bytes) -> None:
        if self.command == "GET":
            return self._xml(_listing(objects, query))
        if self.command == "POST" and "delete" in query:
            for element in ElementTree.fromstring(body).iter():
                if element.tag.endswith("Key"):
                    objects.pop(element.text or "", None)
            return self._xml("<DeleteResult/>")
        return self._send(200)

    def _object(self, objects: dict[str, bytes], key: str, query: dict[str, str], body: bytes) -> None:
        if self.command in ("GET", "HEAD"):
            return self._read(objects.get(key))
        if self.command == "DELETE":
            if "uploadId" not in query:
                objects.pop(key, None)
            return self._send(204)
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.s3._parts[upload] = {}
            return self._xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        if "partNumber" in query:
            self.s3._parts[query["uploadId"]][int(query["partNumber"])] = body
            return self._send(200, headers={"ETag": _tag(body)})
        if "uploadId" in query:
            parts = self.s3._parts[query["uploadId"]]  # asked for twice if the answer came late
            objects[key] = b"".join(parts[number] for number in sorted(parts))
            return self._xml(
                f"<CompleteMultipartUploadResult><ETag>{_tag(objects[key])}</ETag></CompleteMultipartUploadResult>"
            )
        objects[key] = body
        return self._send(200, headers={"ETag": _tag(body)})

    def _read(self, found: bytes | None) -> None:
        if found is None:
            return self._error(404, "NoSuchKey")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, found)
        first, last = int(asked[1]), min(int(asked[2] or len(found)), len(found) - 1)
        place = {"Content-Range": f"bytes {first}-{last}/{len(found)}"}
        return self._send(206, found[first : last + 1], place)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(self._chunks(self.rfile.readline, self.rfile.read))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            inner = io.BytesIO(body)
            body = b"".join(self._chunks(inner.readline, inner.read))
        return body

    @staticmethod
    def _chunks(line: Callable[[], bytes], read: Callable[[int], bytes]) -> Iterator[bytes]:
        """Pieces, each after a line with its size; one of no size is the last."""
        while size := int(line().split(b";")[0], 16):
            yield read(size)
            read(2)
        while line().strip():
            pass

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _xml(self, text: str) -> None:
        self._send(200, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode())

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        told = {
            "Content-Type": "application/xml",
            "Last-Modified": self.date_time_string(),
            **(headers or {}),
        }
        for name, value in {**told, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _listing(objects: dict[str, bytes], query: dict[str, str]) -> str:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most = int(query.get("max-keys", 1000))
    keys: list[str] = []
    folders: list[str] = []
    for key in sorted(key for key in objects if key.startswith(prefix)):
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if found and prefix + head + delimiter not in folders:
            folders.append(prefix + head + delimiter)
        elif not found:
            keys.append(key)
    after = query.get("continuation-token", query.get("start-after", ""))
    names = sorted(name for name in (*keys, *folders) if name > after)
    shown = names[:most]
    text = f"<KeyCount>{len(shown)}</KeyCount><IsTruncated>{str(len(names) > most).lower()}</IsTruncated>"
    if len(names) > most:
        text += f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>"
    for name in shown:
        if name in folders:
            text += f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
        else:
            text += (
                f"<Contents><Key>{escape(name)}</Key><Size>{len(objects[name])}</Size>"
                f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{_tag(objects[name])}</ETag></Contents>"
            )
    return f"<ListBucketResult>{text}</ListBucketResult>"


def _tag(body: bytes) -> str:
    return f'"{md5(body).hexdigest()}"'
