"""Clients of AWS services, made at first use and kept.

Endpoints come from ``AWS_ENDPOINT_URL`` and ``AWS_ENDPOINT_URL_<SERVICE>``, which boto3 reads itself;
``AWS_MAX_ATTEMPTS`` says how often a call is tried.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

__all__ = ["client", "forget_clients", "signing_client"]

# boto3's own number of tries may keep a caller waiting longer than the gateway does
_ATTEMPTS: Final = "4"


@cache
def client(service: str) -> Any:
    """Return the process's client of a service, such as ``s3`` or ``dynamodb``."""
    # Imported here: boto3 costs more than numpy and onnxruntime together, and most API calls need none of it.
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={
            "mode": "standard",
            "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", _ATTEMPTS)),
        },
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


def forget_clients() -> None:
    """Let the next calls make clients anew, with connections and credentials of their own."""
    client.cache_clear()
    signing_client.cache_clear()
