from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import Change, read_changes
from shared.errors import InvalidEventError

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def notification(
    key: str, name: str = "ObjectCreated:Put", *, time: str = "2026-11-23T02:00:00.123Z", **entry: Any
) -> str:
    record = {
        "eventSource": "aws:s3",
        "eventTime": time,
        "eventName": name,
        "s3": {"bucket": {"name": "photos"}, "object": {"key": quote_plus(key), **entry}},
    }
    return json.dumps({"Records": [record]})


def event_bridge(key: str, kind: str = "Object Created", deletion: str | None = None, **entry: Any) -> str:
    detail = {"bucket": {"name": "photos"}, "object": {"key": key, **entry}}
    if deletion:
        detail["deletion-type"] = deletion
    return json.dumps(
        {"source": "aws.s3", "detail-type": kind, "time": "2026-11-23T02:00:00Z", "detail": detail}
    )


def only(body: str) -> Change:
    (change,) = read_changes(body)
    assert isinstance(change, Change)
    return change


@given(KEYS)
def test_any_key_comes_through_both_shapes(key: str) -> None:
    assert only(notification(key)).key == key
    assert only(event_bridge(key)).key == key


@pytest.mark.parametrize("key", ["a b", "a+b", "100%", "%2B", "é/ü", "a//b", "100%25 + 1", "a=b&c"])
def test_the_keys_that_trip_others_come_through_both_shapes(key: str) -> None:
    assert only(notification(key)).key == only(event_bridge(key)).key == key


def test_both_shapes_of_one_change_are_the_same_change() -> None:
    one = notification("k", eTag="abc", versionId="v1", sequencer="0055AED6DCD90281E5")
    other = event_bridge("k", etag="abc", sequencer="0055aed6dcd90281e5", **{"version-id": "v1"})
    assert only(one) == only(other)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (notification("k", "ObjectCreated:CompleteMultipartUpload"), "created"),
        (notification("k", "s3:ObjectCreated:Copy"), "created"),
        (notification("k", "ObjectRemoved:Delete"), "removed"),
        (notification("k", "ObjectRemoved:Delete", versionId="null"), "removed"),
        (notification("k", "ObjectRemoved:Delete", versionId="v1"), "version_removed"),
        (notification("k", "ObjectRemoved:DeleteMarkerCreated", versionId="m1"), "removed"),
        (notification("k", "LifecycleExpiration:Delete"), "removed"),
        (notification("k", "LifecycleExpiration:DeleteMarkerCreated", versionId="m1"), "removed"),
        (event_bridge("k"), "created"),
        (event_bridge("k", "Object Deleted", "Permanently Deleted"), "removed"),
        (
            event_bridge("k", "Object Deleted", "Permanently Deleted", **{"version-id": "v"}),
            "version_removed",
        ),
        (event_bridge("k", "Object Deleted", "Delete Marker Created", **{"version-id": "v"}), "removed"),
    ],
)
def test_what_an_event_says_happened(body: str, kind: str) -> None:
    assert only(body).kind == kind


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}),
        notification("k", "ObjectRestore:Completed"),
        notification("k", "ObjectTagging:Put"),
        event_bridge("k", "Object Tags Added"),
        json.dumps({"Records": []}),
    ],
)
def test_events_that_change_no_photo_are_nothing(body: str) -> None:
    assert read_changes(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        json.dumps({"source": "aws.ec2", "detail": {}}),
    ],
)
def test_what_is_no_event_of_s3_is_refused(body: str) -> None:
    with pytest.raises(InvalidEventError):
        read_changes(body)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Records": [{}]}),
        json.dumps({"Records": ["text"]}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}),
        notification("k", sequencer="no hexadecimal digits"),
        notification("k", time="yesterday"),
        notification("").replace('"key": ""', '"key": null'),
        notification("k").replace('"key": "k"', '"key": "%FF"'),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error_in_its_place(body: str) -> None:
    (found,) = read_changes(body)
    assert isinstance(found, InvalidEventError)
    content = json.loads(body)
    if "Records" in content:
        content["Records"].append(json.loads(notification("neighbour"))["Records"][0])
        first, neighbour = read_changes(json.dumps(content))
        assert isinstance(first, InvalidEventError)
        assert isinstance(neighbour, Change)
        assert neighbour.key == "neighbour"


@given(
    st.text("0123456789abcdef", min_size=1, max_size=34), st.text("0123456789abcdef", min_size=1, max_size=34)
)
def test_sequencers_compare_as_s3_says(one: str, other: str) -> None:
    width = max(len(one), len(other))
    expected = one.ljust(width, "0") < other.ljust(width, "0")
    first, second = (only(notification("k", sequencer=sequencer)) for sequencer in (one, other))
    assert (first.order < second.order) == expected


def test_without_sequencers_the_time_decides_whatever_its_zone() -> None:
    early = only(notification("k", time="2026-11-23T02:00:00.001Z"))
    late = only(notification("k", time="2026-11-23T03:00:00.002+01:00"))
    assert early.order < late.order


def test_null_versions_do_not_name_a_version() -> None:
    assert only(notification("k", versionId="null", eTag="e")).photo.version_id is None
