"""The results bucket: ``results/<key>.json`` holds what came of the photo of that key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import PhotoKeyError, ResultNotFoundError
from shared.storage import error_code, translated

__all__ = ["PREFIX", "ResultStore", "result_key"]

PREFIX: Final = "results/"
_MAX_KEY_BYTES: Final = 1024
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})


def result_key(photo_key: str) -> str:
    """Return the key of a photo's result.

    Raises
    ------
    PhotoKeyError
        It would be longer than S3 allows.
    """
    key = f"{PREFIX}{photo_key}.json"
    length = len(key.encode())
    if length > _MAX_KEY_BYTES:
        raise PhotoKeyError(
            f"the result's key would have {length} bytes, S3 allows {_MAX_KEY_BYTES}; "
            f"photo keys may have {_MAX_KEY_BYTES - length + len(photo_key.encode())}"
        )
    return key


class ResultStore:
    """Reads, writes and removes results.

    Parameters
    ----------
    s3 : boto3 client
    bucket : str
        The results bucket.
    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    @property
    def bucket(self) -> str:
        """The results bucket."""
        return self._bucket

    def write(self, key: str, document: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        """Write a result and what is said about it in its object's metadata (ASCII)."""
        with translated("writing the result"):
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=json.dumps(document, ensure_ascii=False).encode(),
                ContentType="application/json",
                Metadata=dict(metadata),
            )

    def metadata(self, key: str) -> dict[str, str] | None:
        """Return the metadata of a result; None if there is none."""
        from botocore.exceptions import ClientError

        with translated("looking for the result"):
            try:
                answer = self._s3.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise
        return dict(answer["Metadata"])

    def read(self, key: str) -> dict[str, Any]:
        """Return a result; raises ResultNotFoundError if there is none."""
        from botocore.exceptions import ClientError

        with translated("reading the result"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in _MISSING:
                    raise ResultNotFoundError(
                        "there is no such result, or not yet; ask again later"
                    ) from error
                raise
            document: dict[str, Any] = json.loads(answer["Body"].read())
            return document

    def remove(self, key: str) -> None:
        """Remove a result; one that is not there is no error."""
        with translated("removing the result"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)
