"""Refusals of AWS, given to the functions' own clients where botocore would send the request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSResponse

from shared.clients import client

__all__ = ["refused"]


@contextmanager
def refused(service: str, status: int, code: str, operation: str = "*") -> Iterator[None]:
    """Refuse every call of a service, or those of one operation, for a while."""

    class Body:
        def stream(self, *_: Any, **__: Any) -> Any:
            if service == "s3":
                yield f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
            else:
                yield json.dumps({"__type": code, "message": "injected"}).encode()

    def before_send(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, status, {}, Body())

    events = client(service).meta.events
    name = f"before-send.{service}.{operation}"
    events.register(name, before_send)
    try:
        yield
    finally:
        events.unregister(name, before_send)
