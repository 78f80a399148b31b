"""A W&B server for tests, on the loopback interface, which the real ``wandb`` talks to; no part of it is a mock.

It also fails when it is asked to. What it knows and answers is in ``tests/wandb_backend.py``.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import math
import re
import socket
import sys
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.wandb_backend import KEY, Backend, RefusedError


@dataclass
class _Failure:
    where: str
    status: int
    times: int | None


class WandbServer(Backend):
    """The server; it runs from the start of a ``with`` block to its end.

    Attributes:
        env: The variables by which ``wandb`` finds it.
        received: All that it was sent, in order: each request's first line, headers, but for the authorization, and
            body as it was before its compression.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.received: list[bytes] = []
        self._failures: list[_Failure] = []
        self._dropping = False
        self._answering = threading.Event()
        self._answering.set()
        self._listener: _Listener | None = None
        # Bound, and never listening: while the server is down its port is refused, and is nobody else's.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._reserved.getsockname()[1]}"
        self.env = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def __enter__(self) -> WandbServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._reserved.close()

    def start(self) -> None:
        """Listen, on the port that the server always has."""
        if self._listener is None:
            self._listener = _Listener(self, self._reserved.getsockname())
            threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """End all connections, and refuse new ones; what was stored stays."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    def fail(self, where: str, status: int = 500, times: int | None = None) -> None:
        """Answer with a status, always or a number of times, where an operation's name or a path contains a text."""
        with self.lock:
            self._failures.append(_Failure(where, status, times))

    def hang(self) -> None:
        """Take connections and requests, and answer none before :meth:`recover`."""
        self._answering.clear()

    def drop(self) -> None:
        """Close the connection of each request instead of an answer."""
        self._dropping = True

    def recover(self) -> None:
        """End all that :meth:`fail`, :meth:`hang` and :meth:`drop` have begun."""
        with self.lock:
            self._failures.clear()
        self._dropping = False
        self._answering.set()

    def receive(self, line: str, headers: Mapping[str, str], body: bytes, listener: _Listener) -> bool:
        """Note a request, and return whether it is to be answered."""
        kept = [f"{name}: {value}" for name, value in headers.items() if name.lower() != "authorization"]
        with self.lock:
            self.received.append("\n".join([line, *kept, "", ""]).encode() + body)
        while not self._answering.wait(0.05):
            if listener.ended:
                return False
        return not (self._dropping or listener.ended)

    def respond(self, path: str, key: str, body: bytes) -> dict[str, Any]:
        """Answer a request."""
        graph = path.endswith("/graphql")
        request = json.loads(body) if graph else {}
        operation = request.get("operationName") or "".join(re.findall(r"(?:query|mutation)\s+(\w+)", str(request))[:1])
        with self.lock:
            for failure in self._failures:
                if (failure.where in operation or failure.where in path) and failure.times != 0:
                    failure.times = None if failure.times is None else failure.times - 1
                    raise RefusedError(failure.status)
            words = [urllib.parse.unquote(word) for word in path.strip("/").split("/")]
            if words[0] == "storage":
                self.upload(words[1], words[2], "/".join(words[3:]), body)
                return {}
            if words[0] == "sdk":
                return {}
            if key != KEY:
                raise RefusedError(401)
            if graph:
                return {"data": self.answer(operation, request.get("variables") or {})}
            if words[0] == "files" and words[-1] == "file_stream":
                self.stream(words[3], json.loads(body))
                return {}
        raise RefusedError(404)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, owner: WandbServer, address: tuple[str, int]) -> None:
        self.owner = owner
        self.ended = False
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        self.ended = True
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        assert isinstance(self.server, _Listener)
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        wanted = owner.receive(f"{self.command} {self.path}", dict(self.headers), body, self.server)
        # A client that has given up asks again; what it asked before is not to be done as well.
        if not wanted or self._is_left():
            self.close_connection = True
            return
        _, _, code = self.headers.get("Authorization", "").partition(" ")
        key = base64.b64decode(code).decode().rpartition(":")[2]
        try:
            status, answer = 200, owner.respond(self.path, key, body)
        except RefusedError as refused:
            error = {"message": str(refused), "extensions": {"code": "PERMISSION_ERROR"}}
            status, answer = refused.status, {"errors": [error], "data": None}
        content = json.dumps(_finite(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _is_left(self) -> bool:
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False

    do_GET = do_POST = do_PUT = _serve


def _finite(value: Any) -> Any:
    """Return JSON with texts for the numbers that it has not."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
