"""Who may read what: permissions, buckets for anyone, buckets whose readers pay, archives."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from conftest import COMMAND, jpeg, serving
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from featherface_batch.errors import ArchivedPhotoError, DeniedPhotoError, SourceError
from featherface_batch.fetch import fetch
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Options
from featherface_batch.sources import open_source

PUBLIC = ["public/1.jpg", "public/2.jpg"]
NEVER = float("inf")


def annotate_seaweed(client: Any, *arguments: str, signed: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user of that server would."""
    from examples.demo.servers import CREDENTIALS

    environment = {
        **os.environ,
        **(CREDENTIALS if signed else {}),
        "AWS_ENDPOINT_URL_S3": client.meta.endpoint_url,
        "FEATHERFACE_INPUT_SIZE": "320",
        # neither a file nor the network of a machine in a cloud has any
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if not signed:
        for name in CREDENTIALS:
            environment.pop(name, None)
    command = [COMMAND, "annotate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_a_photo_that_may_not_be_read_has_its_own_code_and_comes_when_it_may(seaweed: Any) -> None:
    seaweed.create_bucket(Bucket="guarded")
    seaweed.create_bucket(Bucket="guarded-faces")
    for key in (*PUBLIC, "secret/3.jpg"):
        seaweed.put_object(Bucket="guarded", Key=key, Body=jpeg(1))
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::guarded/secret/*",
    }
    seaweed.put_bucket_policy(
        Bucket="guarded", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    ended = annotate_seaweed(seaweed, "s3://guarded", "--output", "s3://guarded-faces/run")
    assert ended.returncode == 0, ended.stderr

    def rows(name: str) -> list[dict[str, Any]]:
        body = seaweed.get_object(Bucket="guarded-faces", Key=f"run/{name}")["Body"].read()
        return [json.loads(line) for line in body.splitlines()]

    (error,) = rows("errors.jsonl")
    assert (error["key"], error["error"]["code"]) == ("secret/3.jpg", "access_denied")
    assert [row["key"] for row in rows("annotations.jsonl")] == PUBLIC
    # the permission is given: what was denied, and only that, is tried again
    seaweed.delete_bucket_policy(Bucket="guarded")
    seaweed.delete_object(Bucket="guarded", Key=PUBLIC[0])
    ended = annotate_seaweed(seaweed, "s3://guarded", "--output", "s3://guarded-faces/run", "--retry-errors")
    assert ended.returncode == 0, ended.stderr
    assert rows("errors.jsonl") == []
    assert [row["key"] for row in rows("annotations.jsonl")] == [*PUBLIC, "secret/3.jpg"]


def test_a_bucket_for_anyone_is_read_without_credentials(seaweed: Any, tmp_path: Path) -> None:
    seaweed.create_bucket(Bucket="open")
    for key in PUBLIC:
        seaweed.put_object(Bucket="open", Key=key, Body=jpeg(1))
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::open", "arn:aws:s3:::open/*"],
    }
    seaweed.put_bucket_policy(
        Bucket="open", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    run = ["s3://open", "--output", str(tmp_path / "out")]
    refused = annotate_seaweed(seaweed, *run, signed=False)
    assert refused.returncode == 2
    assert "no credentials" in refused.stderr
    assert "--no-sign-request" in refused.stderr
    ended = annotate_seaweed(seaweed, *run, "--no-sign-request", signed=False)
    assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "out" / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == PUBLIC


def test_an_output_is_written_with_credentials_even_if_the_source_is_read_without(seaweed: Any) -> None:
    for bucket in ("private", "private-faces"):
        seaweed.create_bucket(Bucket=bucket)
    ended = annotate_seaweed(seaweed, "s3://private", "--output", "s3://private-faces", "--no-sign-request")
    assert ended.returncode == 2
    assert "s3://private/ cannot be listed: AccessDenied" in ended.stderr
    assert seaweed.get_object(Bucket="private-faces", Key="run.json")["ContentLength"]


@pytest.fixture(scope="module")
def toll() -> Iterator[str]:
    """An S3 server whose objects and listings are for those who agree to pay."""
    application = DomainDispatcherApplication(create_backend_app)

    def asking(environ: dict[str, Any], start_response: Any) -> Any:
        reads = environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        if reads and environ.get("HTTP_X_AMZ_REQUEST_PAYER") != "requester":
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        return application(environ, start_response)

    with serving(asking) as endpoint:
        yield endpoint


def test_where_readers_pay_they_have_to_agree(toll: str) -> None:
    s3 = boto3.client("s3", endpoint_url=toll)
    s3.create_bucket(Bucket="toll")
    s3.put_object(Bucket="toll", Key="photos/1.jpg", Body=b"photo")
    s3.put_object(Bucket="toll", Key="list.csv", Body=b"photos/1.jpg\n")
    stranger, payer = S3Options(toll), S3Options(toll, requester_pays=True)
    for place in ("s3://toll/photos", "s3://toll/list.csv"):
        with pytest.raises(SourceError, match=r"AccessDenied|Forbidden"):
            list(open_source(place, stranger).photos(""))
        (photo,) = open_source(place, payer).photos("")
        with pytest.raises(DeniedPhotoError):
            fetch(photo, stranger, max_bytes=99, deadline=NEVER)
        assert fetch(photo, payer, max_bytes=99, deadline=NEVER) == b"photo"


def test_a_photo_in_an_archive_has_its_own_code(s3_endpoint: str, s3: Any) -> None:
    s3.create_bucket(Bucket="cold")
    s3.put_object(Bucket="cold", Key="old.jpg", Body=b"photo", StorageClass="GLACIER")
    photo = Photo("old.jpg", "s3://cold/old.jpg")
    with pytest.raises(ArchivedPhotoError, match=r"s3://cold/old.jpg must be restored from its archive"):
        fetch(photo, S3Options(s3_endpoint), max_bytes=99, deadline=NEVER)
