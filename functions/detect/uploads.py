"""Photos that are too large for one call: a place to send them, and the result later."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from shared.clients import client, signing_client
from shared.environment import required
from shared.errors import ResultNotFoundError
from shared.photos import UPLOADS
from shared.results import ResultStore, result_key

__all__ = ["create_upload", "read_result"]

_SECONDS: Final = 900
_ID: Final = re.compile(r"[0-9a-f]{32}")


def create_upload(max_bytes: int) -> dict[str, Any]:
    """Return an address that takes one photo, and the id by which its result can be asked for.

    The id is the only way to the result, and nobody can guess it: callers do not see each other's photos.

    Parameters
    ----------
    max_bytes : int
        S3 refuses more.
    """
    # what the module secrets does, without importing all that it can do
    upload_id = os.urandom(16).hex()
    form = signing_client().generate_presigned_post(
        Bucket=required("PHOTOS_BUCKET"),
        Key=_photo_key(upload_id),
        Conditions=[["content-length-range", 1, max_bytes]],
        ExpiresIn=_SECONDS,
    )
    return {
        "id": upload_id,
        "upload": {"method": "POST", "url": form["url"], "fields": form["fields"]},
        "max_bytes": max_bytes,
        "expires_in": _SECONDS,
        "result": f"/v1/results/{upload_id}",
    }


def read_result(upload_id: str) -> dict[str, Any]:
    """Return what came of an upload: its faces, or ``error`` with a code.

    Raises
    ------
    ResultNotFoundError
        The id is none of ours, or the photo has not been analysed yet.
    """
    if not _ID.fullmatch(upload_id):
        raise ResultNotFoundError("an id has 32 hexadecimal digits, as POST /v1/uploads gave it")
    return ResultStore(client("s3"), required("RESULTS_BUCKET")).read(result_key(_photo_key(upload_id)))


def _photo_key(upload_id: str) -> str:
    return f"{UPLOADS}{upload_id}"
