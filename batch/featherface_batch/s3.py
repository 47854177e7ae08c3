"""S3 and what speaks its protocol: addresses, clients, and what went wrong in plain words."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from featherface_batch.errors import UsageError

__all__ = ["S3Address", "S3Options", "S3Reason", "is_s3", "s3_client", "s3_reason"]

_SCHEME = "s3://"
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach S3; credentials and region come from boto3's usual chain.

    Parameters
    ----------
    endpoint_url : str, optional
        Another server than AWS. If omitted, ``AWS_ENDPOINT_URL_S3`` and ``AWS_ENDPOINT_URL`` count.
    timeout : float
        Seconds that a connection or an answer may take.
    connections : int
        Requests at the same time.
    anonymous : bool
        Whether requests go unsigned and need no credentials, for buckets that anyone may read.
    requester_pays : bool
        Whether you agree to pay for requests to buckets whose owners have it so.
    """

    endpoint_url: str | None = None
    timeout: float = 60.0
    connections: int = 32
    anonymous: bool = False
    requester_pays: bool = False


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket and a key or prefix in it."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Address:
        """Read ``s3://bucket/key``; UsageError for anything else."""
        bucket, _, key = text.removeprefix(_SCHEME).partition("/")
        if not is_s3(text) or not bucket:
            raise UsageError(f"an S3 address must be s3://bucket/prefix; got {text}")
        return cls(bucket, key)

    def child(self, name: str) -> S3Address:
        """Return the address of a name below this prefix."""
        prefix = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        return S3Address(self.bucket, prefix + name)

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class S3Reason:
    """Why a request failed.

    Parameters
    ----------
    text : str
        For people.
    missing, denied, archived : bool
        There is no such object, it may not be read, it must be restored first.
    present, unknown : bool
        A write that was for a new object found one, or the server does not know such writes.
    timeout : bool
        No answer came in time.
    """

    text: str
    missing: bool = False
    denied: bool = False
    archived: bool = False
    present: bool = False
    unknown: bool = False
    timeout: bool = False


def is_s3(place: str) -> bool:
    """Whether a place is an S3 address."""
    return place.startswith(_SCHEME)


def s3_client(options: S3Options) -> Any:
    """Return this process's client; clients are safe to share between threads, making them is not.

    Raises
    ------
    UsageError
        The endpoint is no address.
    """
    with _LOCK:
        return _make_client(options)


@lru_cache(maxsize=8)
def _make_client(options: S3Options) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        signature_version=UNSIGNED if options.anonymous else None,
        connect_timeout=min(10.0, options.timeout),
        read_timeout=options.timeout,
        max_pool_connections=options.connections,
        # Adaptive: a sudden ramp makes S3 answer 503 Slow Down, and a fixed back-off keeps the ramp up.
        retries={"mode": "adaptive", "total_max_attempts": 5},
        # Checksums of whole objects are verified where the server has them; servers that don't know them fail
        # on requests that demand them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = boto3.session.Session().client("s3", endpoint_url=options.endpoint_url, config=config)
    except ValueError as error:
        raise UsageError(f"an endpoint of S3 is an address such as https://host:port ({error})") from error
    if options.requester_pays:
        # One place instead of a parameter at each call; buckets without such an owner don't mind.
        client.meta.events.register("before-call.s3", _agree_to_pay)
    return client


def _agree_to_pay(params: dict[str, Any], **_: object) -> None:
    params["headers"]["x-amz-request-payer"] = "requester"


def s3_reason(error: Exception) -> S3Reason:
    """Return why a request failed, or raise the error again if it has nothing to do with S3."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        NoCredentialsError,
        ReadTimeoutError,
    )
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        code, status = (
            details.get("Code", ""),
            error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        )
        return S3Reason(
            text=f"{code}: {details.get('Message', '')}".strip(": ") or str(error),
            missing=code in {"NoSuchKey", "404", "NotFound"},
            denied=status in {401, 403} or code == "ExpiredToken",
            archived=code == "InvalidObjectState",
            present=code in {"PreconditionFailed", "ConditionalRequestConflict"},
            unknown=code == "NotImplemented",
        )
    if isinstance(error, NoCredentialsError):
        return S3Reason(
            "there are no credentials of AWS here. `aws configure` asks for them, and what anyone may read "
            "can be read with --no-sign-request",
            denied=True,
        )
    if isinstance(error, BotoCoreError | HTTPError | OSError):
        return S3Reason(
            str(error), timeout=isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError)
        )
    raise error
