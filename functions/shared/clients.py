"""Clients of AWS services, made at first use and kept.

Endpoints come from ``AWS_ENDPOINT_URL`` and ``AWS_ENDPOINT_URL_<SERVICE>``, which boto3 reads itself;
``AWS_MAX_ATTEMPTS`` says how often a call is tried.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

__all__ = ["client", "forget_clients", "longest_call_seconds", "signing_client"]

# A service that hangs must not outlast the function that asks it, or nobody is told: 3 tries of 6 seconds and
# 3 between them are 21 at most, where the template lets a call of the API take 28. Neither S3 nor DynamoDB
# takes a second for its first byte, and AWS Batch, the slowest, two or three.
_ATTEMPTS: Final = "3"
_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 5


def longest_call_seconds() -> int:
    """Return how long a call may keep its caller waiting in vain, as far as clients decide that."""
    attempts = _attempts()
    # of throttled calls, up to 1, 2, 4 ... seconds lie between two tries; of others a twentieth of that
    return attempts * (_CONNECT_SECONDS + _READ_SECONDS) + (1 << (attempts - 1)) - 1


@cache
def client(service: str) -> Any:
    """Return the process's client of a service, such as ``s3`` or ``dynamodb``."""
    # Imported here: boto3 costs more than numpy and onnxruntime together, and most API calls need none of it.
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _attempts()},
    )
    return boto3.client(service, region_name=os.environ.get("AWS_REGION"), config=config)


@cache
def signing_client() -> Any:
    """Return a client of S3 whose presigned addresses name the bucket's region.

    Left to itself, botocore signs for the global address, which redirects to buckets of other regions for
    their first day; a browser's form does not follow.
    """
    import boto3
    from botocore.config import Config

    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def _attempts() -> int:
    return int(os.environ.get("AWS_MAX_ATTEMPTS", _ATTEMPTS))


def forget_clients() -> None:
    """Let the next calls make clients anew, with connections and credentials of their own."""
    client.cache_clear()
    signing_client.cache_clear()
