"""The two shapes in which S3 tells of a change, as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

from shared.errors import InvalidEventError
from shared.photos import StoredPhoto

__all__ = ["Change", "Kind", "read_changes"]

Kind = Literal["created", "removed", "version_removed"]

# Hexadecimal digits of a padded sequencer: more than S3 has ever sent.
_SEQUENCER_DIGITS: Final = 64
_TEST_EVENT: Final = "s3:TestEvent"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one photo.

    Parameters
    ----------
    kind : {"created", "removed", "version_removed"}
        ``version_removed`` says that one version of several is gone; another may be the newest now.
    bucket, key : str
        The key as it is, not URL-encoded.
    version_id, etag : str or None
        Of the photo after the change; of ``version_removed``, the version that is gone.
    order : str
        Compares as the changes of one photo happened, whatever their order of arrival.
    """

    kind: Kind
    bucket: str
    key: str
    version_id: str | None
    etag: str | None
    order: str

    @property
    def photo(self) -> StoredPhoto:
        """The state of the photo that this change announces."""
        return StoredPhoto(self.bucket, self.key, self.version_id, self.etag)


def read_changes(body: str) -> list[Change | InvalidEventError]:
    """Return the changes that a queue's message tells of, from S3 itself or through EventBridge.

    Parameters
    ----------
    body : str
        Of the message.

    Returns
    -------
    list of Change or InvalidEventError
        In the message's order, with an error in the place of a record that cannot be read. Empty for S3's
        test event and for events that change no photo, such as a restore or a tag.

    Raises
    ------
    InvalidEventError
        The message as a whole is neither.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError(f"the message must be JSON of S3 or EventBridge: {error}") from error
    if not isinstance(content, dict):
        raise InvalidEventError(f"the message must be a JSON object, got {type(content).__name__}")
    if content.get("Event") == _TEST_EVENT:
        return []
    if isinstance(content.get("Records"), list):
        found = [_read(_from_notification, record) for record in content["Records"]]
    elif content.get("source") == "aws.s3":
        found = [_read(_from_event_bridge, content)]
    else:
        raise InvalidEventError(
            f"the message is no event of S3 or EventBridge; it has the members {sorted(content)}"
        )
    return [change for change in found if change is not None]


def _read(read: Callable[[Any], Change | None], record: object) -> Change | InvalidEventError | None:
    try:
        return read(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return InvalidEventError(
            f"the event of S3 is incomplete or mistyped ({type(error).__name__}: {error})"
        )


def _from_notification(record: Mapping[str, Any]) -> Change | None:
    name = str(record["eventName"]).removeprefix("s3:")
    if name.startswith("ObjectCreated:"):
        kind: Kind = "created"
    elif name.endswith(":DeleteMarkerCreated"):
        kind = "removed"
    elif name in ("ObjectRemoved:Delete", "LifecycleExpiration:Delete"):
        kind = "version_removed" if record["s3"]["object"].get("versionId") else "removed"
    else:
        return None
    entry = record["s3"]["object"]
    return _change(
        kind,
        bucket=record["s3"]["bucket"]["name"],
        # notifications encode keys as forms do: a space is a plus, a plus is %2B
        key=unquote_plus(entry["key"], errors="strict"),
        version_id=entry.get("versionId"),
        etag=entry.get("eTag"),
        sequencer=entry.get("sequencer"),
        time=record["eventTime"],
    )


def _from_event_bridge(event: Mapping[str, Any]) -> Change | None:
    detail = event["detail"]
    entry = detail["object"]
    if event["detail-type"] == "Object Created":
        kind: Kind = "created"
    elif event["detail-type"] == "Object Deleted":
        permanent = detail.get("deletion-type") != "Delete Marker Created"
        kind = "version_removed" if permanent and entry.get("version-id") else "removed"
    else:
        return None
    return _change(
        kind,
        bucket=detail["bucket"]["name"],
        # EventBridge does not encode keys: decoding would turn a plus into a space
        key=entry["key"],
        version_id=entry.get("version-id"),
        etag=entry.get("etag"),
        sequencer=entry.get("sequencer"),
        time=event["time"],
    )


def _change(
    kind: Kind,
    *,
    bucket: str,
    key: str,
    version_id: str | None,
    etag: str | None,
    sequencer: str | None,
    time: str,
) -> Change:
    if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
        raise ValueError("bucket and key must be texts that are not empty")
    _, _, version_id, etag = StoredPhoto.named(bucket, key, version_id, etag)
    if kind == "version_removed" and version_id is None:
        kind = "removed"
    return Change(kind, bucket, key, version_id, etag, _order(sequencer, time, version_id or etag or ""))


def _order(sequencer: str | None, time: str, tie: str) -> str:
    # S3: pad the shorter sequencer with zeros on its right, then compare as text. An emulator without
    # sequencers leaves the time, and photos that it stored within one millisecond get an order that is at
    # least the same for everybody.
    if sequencer:
        int(sequencer, 16)
        return f"1:{sequencer.upper().ljust(_SEQUENCER_DIGITS, '0')}:{tie}"
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return f"0:{moment.astimezone(UTC).isoformat(timespec='milliseconds')}:{tie}"
