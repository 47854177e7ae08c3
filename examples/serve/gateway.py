"""What API Gateway does between HTTP and the function, as far as this API needs it."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["LambdaHandler", "Page", "serve", "serving"]

LambdaHandler = Callable[[dict[str, Any], Any], Mapping[str, Any]]

# of the gateway, and of Lambda, which counts the event: a photo is a third longer in it
_MAX_BODY_BYTES: Final = 10 * 1024 * 1024
_MAX_EVENT_BYTES: Final = 6 * 1024 * 1024
# as the template lets the gateway say it
_TOO_LARGE: Final = (
    413,
    "payload_too_large",
    "Too large",
    "one call takes 6 MB, so a photo of 4.5 MB; send larger ones by POST /v1/uploads",
)

# how long a client that was refused may go on sending
_LINGER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """Something that is served as it is."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str = "featherface-local"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:featherface-local"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        """Return a time-out that is far away."""
        return 28_000


def rest_event(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    binary_types: tuple[str, ...],
    request_id: str,
) -> dict[str, Any]:
    """Return a request as a REST API with Lambda proxy integration hands it over."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    binary = media_type in binary_types
    text = base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace")
    return {
        "resource": "/{proxy+}",
        "path": unquote(parts.path),
        "httpMethod": method,
        "headers": dict(headers),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "path": parts.path,
            "stage": "local",
            "requestId": request_id,
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": text or None,
        "isBase64Encoded": binary and bool(text),
    }


def _page(target: str) -> str:
    """Return the path under which a page is known, whatever query or closing slash came with it."""
    return urlsplit(target).path.rstrip("/") or "/"


def serve(
    handler: LambdaHandler,
    binary_types: tuple[str, ...],
    pages: Mapping[str, Page] | None = None,
    port: int = 0,
) -> ThreadingHTTPServer:
    """Return a server on 127.0.0.1 that passes every request to a handler; the caller runs it.

    Parameters
    ----------
    handler : callable
        As Lambda calls it: one request at a time.
    binary_types : tuple of str
        Media types whose bodies reach the handler in base64, as the gateway's configuration lists them.
    pages : mapping, optional
        By path: what is served without the handler.
    port : int
        0 takes a free one.
    """
    one_at_a_time = threading.Lock()

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            # until it is read, a connection that is kept open would take the body for the next request
            body = self._read()
            if body is None:
                return
            page = (pages or {}).get(_page(self.path)) if self.command in ("GET", "HEAD") else None
            if page is not None:
                self._send(200, {"Content-Type": page.media_type}, page.content)
                return
            # one id for both of Lambda's: the log knows a request by the gateway's, the answer by its own
            context = Context()
            headers = dict(self.headers.items())
            event = rest_event(self.command, self.path, headers, body, binary_types, context.aws_request_id)
            if len(json.dumps(event)) > _MAX_EVENT_BYTES:
                self._refuse(*_TOO_LARGE)
                return
            with one_at_a_time:
                answer = handler(event, context)
            content = answer["body"].encode()
            if answer.get("isBase64Encoded"):
                content = base64.b64decode(content)
            self._send(answer["statusCode"], answer["headers"], content)

        def _read(self) -> bytes | None:
            if "Transfer-Encoding" in self.headers:
                self._refuse(
                    411,
                    "length_required",
                    "Length required",
                    "this server takes no body in chunks; send it with its Content-Length "
                    "(curl: --data-binary @photo.jpg)",
                )
                return None
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
                self._refuse(*_TOO_LARGE)
                return None
            return self.rfile.read(int(length))

        def _refuse(self, status: int, code: str, title: str, detail: str) -> None:
            """Answer for the last time on this connection, whose body may not have been read."""
            problem = {
                "type": f"urn:featherface:problem:{code}",
                "title": title,
                "status": status,
                "detail": detail,
                "code": code,
                "request_id": str(uuid.uuid4()),
            }
            headers = {"Content-Type": "application/problem+json", "Connection": "close"}
            self._send(status, headers, json.dumps(problem).encode())
            self._linger()

        def _linger(self) -> None:
            """Take in what the client still sends, as RFC 9112, section 9.6, advises."""
            # to close over unread bytes resets the connection, and the client may lose the answer with it
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                until = time.monotonic() + _LINGER_SECONDS
                while (left := until - time.monotonic()) > 0:
                    self.connection.settimeout(left)
                    if not self.connection.recv(1 << 16):
                        break

        def _send(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            # whichever the method is: the function knows what it does not have
            if name.startswith("do_"):
                return self._respond
            raise AttributeError(name)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the handler logs each request itself."""

    return ThreadingHTTPServer(("127.0.0.1", port), Gateway)


@contextmanager
def serving(handler: LambdaHandler, binary_types: tuple[str, ...]) -> Iterator[str]:
    """Serve a handler in a thread, on any free port, and give its address."""
    server = serve(handler, binary_types)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
