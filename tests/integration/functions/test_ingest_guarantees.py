"""Whatever the order, the number and the timing of events, the newest photo's result is what stays."""

from __future__ import annotations

import itertools
import json
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import NoCredentialsError

from featherface import Detector, load_settings
from ingest.events import Change, read_changes
from ingest.index import Index, Outcome
from ingest.service import IngestService
from shared.detectors import Detectors
from shared.errors import SetupError, StorageDeniedError, StorageUnavailableError
from shared.results import ResultStore
from shared.storage import translated

PHOTOS = "photos-of-the-tests"
RESULTS = "results-of-the-tests"
Result = Callable[[str], dict[str, Any] | None]


@pytest.fixture(scope="module")
def detectors(deployed: None) -> Detectors:
    return Detectors(load_settings())


@pytest.fixture
def service(detectors: Detectors, aws: Callable[[str], Any]) -> IngestService:
    return make_service(detectors, aws)


class AtomicTable:
    """A client of DynamoDB whose conditional updates are atomic, as the service's are.

    The emulator checks the condition and writes in two steps, between which another thread may write.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._one_at_a_time = threading.Lock()

    def get_item(self, **arguments: Any) -> Any:
        with self._one_at_a_time:
            return self._client.get_item(**arguments)

    def update_item(self, **arguments: Any) -> Any:
        with self._one_at_a_time:
            return self._client.update_item(**arguments)


def make_service(
    detectors: Detectors, aws: Callable[[str], Any], s3: Any = None, dynamodb: Any = None
) -> IngestService:
    own = s3 or aws("s3")
    index = Index(dynamodb or aws("dynamodb"), os.environ["INDEX_TABLE"])
    return IngestService(detectors, own, ResultStore(own, RESULTS), index)


@pytest.fixture
def result(s3: Any) -> Result:
    def read(key: str) -> dict[str, Any] | None:
        try:
            answer = s3.get_object(Bucket=RESULTS, Key=f"results/{key}.json")
        except s3.exceptions.NoSuchKey:
            return None
        document: dict[str, Any] = json.loads(answer["Body"].read())
        return document

    return read


def row(aws: Callable[[str], Any], key: str, bucket: str = PHOTOS) -> dict[str, Any]:
    photo = {"photo": {"S": f"{bucket}/{key}"}}
    item = aws("dynamodb").get_item(TableName=os.environ["INDEX_TABLE"], Key=photo).get("Item", {})
    return {name: value.get("S", value.get("N")) for name, value in item.items()}


def change(
    kind: str, key: str, number: int, *, etag: str | None = None, version: str | None = None
) -> Change:
    """A change as S3 would number it; the emulator's events have no sequencers."""
    name = {
        "created": "ObjectCreated:Put",
        "removed": "ObjectRemoved:Delete",
        "version_removed": "ObjectRemoved:Delete",
    }[kind]
    entry = {"key": key, "eTag": etag, "versionId": version, "sequencer": f"{number:016x}"}
    record = {
        "eventName": name,
        "eventTime": "2026-11-23T02:00:00.000Z",
        "s3": {"bucket": {"name": PHOTOS}, "object": entry},
    }
    (made,) = read_changes(json.dumps({"Records": [record]}))
    assert made.kind == kind
    return made


def put(s3: Any, key: str, content: bytes) -> str:
    return str(s3.put_object(Bucket=PHOTOS, Key=key, Body=content)["ETag"].strip('"'))


def same(found: dict[str, Any] | None, expected: dict[str, Any]) -> bool:
    return found is not None and {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_events_in_any_order_leave_the_newest_photo_s_result(
    service: IngestService,
    s3: Any,
    result: Result,
    jpeg: Callable[[int], bytes],
    reference: Detector,
    key: str,
    order: tuple[int, ...],
) -> None:
    changes = [change("created", key, number, etag=put(s3, key, jpeg(number))) for number in range(3)]
    for number in order:
        service.settle(changes[number])
    assert same(result(key), reference.detect(jpeg(2)).to_dict())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_events_in_any_order_leave_nothing_of_a_removed_photo(
    service: IngestService,
    s3: Any,
    aws: Callable[[str], Any],
    result: Result,
    jpeg: Callable[[int], bytes],
    key: str,
    order: tuple[int, ...],
) -> None:
    changes = [change("created", key, number, etag=put(s3, key, jpeg(number))) for number in range(2)]
    s3.delete_object(Bucket=PHOTOS, Key=key)
    changes.append(change("removed", key, 2))
    for number in order:
        service.settle(changes[number])
        service.settle(changes[number])
    assert result(key) is None
    assert row(aws, key)["state"] == "removed"
    assert int(row(aws, key)["expires_at"]) > 0


def test_events_side_by_side_leave_the_newest_photo_s_result(
    detectors: Detectors,
    s3: Any,
    aws: Callable[[str], Any],
    result: Result,
    jpeg: Callable[[int], bytes],
    reference: Detector,
    key: str,
) -> None:
    changes = [change("created", key, number, etag=put(s3, key, jpeg(number))) for number in range(6)]
    dynamodb = AtomicTable(aws("dynamodb"))
    services = [make_service(detectors, aws, dynamodb=dynamodb) for _ in changes]
    barrier = threading.Barrier(len(changes))

    def work(service: IngestService, one: Change) -> str:
        barrier.wait()
        return service.settle(one)

    with ThreadPoolExecutor(len(changes)) as pool:
        assert set(pool.map(work, services, changes)) <= {"done", "failed"}
    assert same(result(key), reference.detect(jpeg(5)).to_dict())
    assert row(aws, key)["state"] == "done"
    assert row(aws, key)["change_order"] == changes[-1].order


def test_a_late_write_of_an_old_result_is_repaired_by_its_own_retry(
    service: IngestService,
    s3: Any,
    aws: Callable[[str], Any],
    result: Result,
    jpeg: Callable[[int], bytes],
    reference: Detector,
    key: str,
) -> None:
    # The old event's function wrote its result after the newer one's and died before it could look again.
    old = change("created", key, 1, etag=put(s3, key, jpeg(1)))
    new = change("created", key, 2, etag=put(s3, key, jpeg(2)))
    service.settle(new)
    s3.put_object(
        Bucket=RESULTS,
        Key=f"results/{key}.json",
        Body=b'{"faces": "old"}',
        Metadata={"change-order": old.order},
    )
    # ... so its message comes back
    service.settle(old)
    assert same(result(key), reference.detect(jpeg(2)).to_dict())


def test_an_event_that_overtakes_another_s_writing_wins(
    service: IngestService, aws: Callable[[str], Any], s3: Any, jpeg: Callable[[int], bytes], key: str
) -> None:
    index = Index(aws("dynamodb"), os.environ["INDEX_TABLE"])
    old, new = (change("created", key, number, etag=put(s3, key, jpeg(number))) for number in (1, 2))
    index.claim(old)
    index.claim(new)
    assert index.settle(old, Outcome("done")) is False
    assert index.read(PHOTOS, key).change.order == new.order
    assert index.settle(new, Outcome("failed", error_code="x")) is True
    index.claim(old)
    assert index.read(PHOTOS, key).state == "failed"


@pytest.fixture
def versioned(s3: Any) -> str:
    bucket = f"versioned-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_removing_the_newest_version_brings_back_the_one_before(
    service: IngestService,
    aws: Callable[[str], Any],
    s3: Any,
    versioned: str,
    result: Result,
    jpeg: Callable[[int], bytes],
    reference: Detector,
    key: str,
    order: tuple[int, ...],
) -> None:
    versions = [s3.put_object(Bucket=versioned, Key=key, Body=jpeg(n))["VersionId"] for n in range(2)]
    s3.delete_object(Bucket=versioned, Key=key, VersionId=versions[1])
    changes = [
        change("created", key, 1, version=versions[0]),
        change("created", key, 2, version=versions[1]),
        change("version_removed", key, 3, version=versions[1]),
    ]
    for number in order:
        one = changes[number]
        service.settle(Change(one.kind, versioned, key, one.version_id, one.etag, one.order))
    found = result(key)
    assert same(found, reference.detect(jpeg(0)).to_dict())
    assert found is not None
    # the version that is there, not the one that the event named
    assert found["photo"]["version_id"] == row(aws, key, versioned)["version_id"] == versions[0]


def test_removing_an_old_version_leaves_the_newest_on_record(
    service: IngestService,
    aws: Callable[[str], Any],
    s3: Any,
    versioned: str,
    result: Result,
    jpeg: Callable[[int], bytes],
    reference: Detector,
    key: str,
) -> None:
    versions = [s3.put_object(Bucket=versioned, Key=key, Body=jpeg(n))["VersionId"] for n in range(2)]
    newest = change("created", key, 2, version=versions[1])
    old_gone = change("version_removed", key, 3, version=versions[0])
    service.settle(Change("created", versioned, key, versions[1], None, newest.order))
    s3.delete_object(Bucket=versioned, Key=key, VersionId=versions[0])
    service.settle(Change("version_removed", versioned, key, versions[0], None, old_gone.order))
    found = result(key)
    assert same(found, reference.detect(jpeg(1)).to_dict())
    assert found is not None
    assert found["photo"]["version_id"] == row(aws, key, versioned)["version_id"] == versions[1]


def test_a_version_that_comes_back_and_is_no_photo_is_named_by_its_error(
    service: IngestService, s3: Any, versioned: str, result: Result, jpeg: Callable[[int], bytes], key: str
) -> None:
    broken = s3.put_object(Bucket=versioned, Key=key, Body=b"no photo")["VersionId"]
    newest = s3.put_object(Bucket=versioned, Key=key, Body=jpeg(1))["VersionId"]
    s3.delete_object(Bucket=versioned, Key=key, VersionId=newest)
    gone = change("version_removed", key, 1, version=newest)
    assert service.settle(Change("version_removed", versioned, key, newest, None, gone.order)) == "failed"
    found = result(key)
    assert found is not None
    assert found["photo"]["version_id"] == broken


def test_removing_the_only_version_removes_the_result(
    service: IngestService,
    s3: Any,
    versioned: str,
    result: Result,
    jpeg: Callable[[int], bytes],
    key: str,
) -> None:
    version = s3.put_object(Bucket=versioned, Key=key, Body=jpeg(1))["VersionId"]
    made = change("created", key, 1, version=version)
    gone = change("version_removed", key, 2, version=version)
    service.settle(Change("created", versioned, key, version, None, made.order))
    assert result(key) is not None
    s3.delete_object(Bucket=versioned, Key=key, VersionId=version)
    service.settle(Change("version_removed", versioned, key, version, None, gone.order))
    assert result(key) is None


def test_a_photo_that_is_gone_before_it_is_read_is_an_error_on_record(
    service: IngestService, aws: Callable[[str], Any], result: Result, key: str
) -> None:
    assert service.settle(change("created", key, 1, etag="0" * 32)) == "failed"
    found = result(key)
    assert found is not None
    assert found["error"]["code"] == row(aws, key)["error_code"] == "photo_not_found"


def test_a_photo_in_an_archive_is_an_error_on_record_and_no_event_to_try_again(
    service: IngestService,
    aws: Callable[[str], Any],
    s3: Any,
    result: Result,
    key: str,
    jpeg: Callable[[int], bytes],
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(1), StorageClass="DEEP_ARCHIVE")
    assert service.settle(change("created", key, 1)) == "failed"
    found = result(key)
    assert found is not None
    assert found["error"]["code"] == row(aws, key)["error_code"] == "photo_archived"


@pytest.mark.parametrize("code", ["InvalidRequest", "KMS.NotFoundException"])
def test_a_photo_that_nobody_can_decrypt_is_an_error_on_record_and_no_event_to_try_again(
    detectors: Detectors, aws: Callable[[str], Any], result: Result, key: str, code: str
) -> None:
    client = refusing(aws, 400, code, 1)
    service = IngestService(
        detectors, client, ResultStore(aws("s3"), RESULTS), Index(aws("dynamodb"), os.environ["INDEX_TABLE"])
    )
    assert service.settle(change("created", key, 1)) == "failed"
    found = result(key)
    assert found is not None
    assert found["error"]["code"] == row(aws, key)["error_code"] == "photo_encrypted"
    assert code in found["error"]["message"]


def test_a_key_too_long_for_a_result_is_on_record_in_the_index(
    service: IngestService, aws: Callable[[str], Any], s3: Any, jpeg: Callable[[int], bytes]
) -> None:
    key = uuid.uuid4().hex.ljust(1024, "k")
    one = change("created", key, 1, etag=put(s3, key, jpeg(1)))
    assert service.settle(one) == service.settle(one) == "failed"
    assert row(aws, key)["error_code"] == "photo_key_too_long"


def test_results_are_never_taken_for_photos(service: IngestService) -> None:
    one = change("created", "results/a.json", 1)
    assert service.settle(Change("created", RESULTS, one.key, None, None, one.order)) == "ignored"


def test_settled_photos_can_be_queried_by_day(
    service: IngestService, aws: Callable[[str], Any], s3: Any, jpeg: Callable[[int], bytes], key: str
) -> None:
    service.settle(change("created", key, 1, etag=put(s3, key, jpeg(1))))
    answer = aws("dynamodb").query(
        TableName=os.environ["INDEX_TABLE"],
        IndexName="by_day",
        KeyConditionExpression="#day = :day",
        ExpressionAttributeNames={"#day": "day"},
        ExpressionAttributeValues={":day": {"S": row(aws, key)["day"]}},
    )
    assert key in {item["key"]["S"] for item in answer["Items"]}


def refusing(aws: Callable[[str], Any], status: int, code: str, times: int) -> Any:
    """An S3 client whose first answers are refusals, given where botocore would send the request."""
    client = aws("s3")
    left = iter(range(times))

    class Body:
        def stream(self, *_: Any, **__: Any) -> Any:
            yield f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        if next(left, None) is None:
            return None
        return AWSResponse(request.url, status, {}, Body())

    client.meta.events.register("before-send.s3.*", before_send)
    return client


def test_throttling_that_passes_is_waited_out(
    detectors: Detectors, aws: Callable[[str], Any], s3: Any, jpeg: Callable[[int], bytes], key: str
) -> None:
    service = make_service(detectors, aws, refusing(aws, 503, "SlowDown", 1))
    assert service.settle(change("created", key, 1, etag=put(s3, key, jpeg(1)))) == "done"


def test_missing_credentials_are_the_setup_s_fault_and_not_storage_s() -> None:
    with pytest.raises(SetupError), translated("reading the photo"):
        raise NoCredentialsError


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "SlowDown", StorageUnavailableError),
        (403, "AccessDenied", StorageDeniedError),
        (400, "KMS.DisabledException", StorageDeniedError),
        (400, "KMS.KMSInvalidStateException", StorageDeniedError),
    ],
)
def test_what_is_not_the_photo_s_fault_goes_back_and_succeeds_later(
    detectors: Detectors,
    service: IngestService,
    aws: Callable[[str], Any],
    s3: Any,
    result: Result,
    jpeg: Callable[[int], bytes],
    key: str,
    status: int,
    code: str,
    error: type[Exception],
) -> None:
    one = change("created", key, 1, etag=put(s3, key, jpeg(1)))
    with pytest.raises(error):
        make_service(detectors, aws, refusing(aws, status, code, 100)).settle(one)
    assert result(key) is None
    assert row(aws, key)["state"] == "pending"
    assert service.settle(one) == "done"
    assert result(key) is not None
