"""Refusals of AWS, given where botocore would send the request, whichever client a function made for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.endpoint import Endpoint

__all__ = ["refused"]


@contextmanager
def refused(service: str, status: int, code: str, operation: str = "") -> Iterator[None]:
    """Refuse every call of a service, or those of one operation of DynamoDB, for a while."""
    send = Endpoint._send

    class Body:
        def stream(self, *_: Any, **__: Any) -> Any:
            if service == "s3":
                yield f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
            else:
                yield json.dumps({"__type": code, "message": "injected"}).encode()

    def refuse(endpoint: Any, request: Any) -> Any:
        target = request.headers.get("X-Amz-Target", b"")
        target = target.decode() if isinstance(target, bytes) else target
        if endpoint._endpoint_prefix != service or not target.endswith(operation):
            return send(endpoint, request)
        return AWSResponse(request.url, status, {}, Body())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Endpoint, "_send", refuse)
        yield
