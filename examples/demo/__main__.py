"""Run the demo: `python -m examples.demo --output FOLDER`."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from featherface import Detections, Settings, __version__
from featherface.drawing import draw

from .page import PhotoReport, write_page
from .servers import CREDENTIALS, moto, seaweedfs
from .ways import Answer, annotate, api_call, upload_event

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "examples" / "photos"
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
CUT_SHORT = "cut short.jpg"
PHOTOS_BUCKET, RESULTS_BUCKET = "photos", "results"
INDEX_TABLE, IDEMPOTENCY_TABLE = "featherface-index", "featherface-idempotency"


def _say(text: str) -> None:
    # the handlers' standard output goes to a file meanwhile
    print(text, file=sys.__stdout__, flush=True)


class _AsLines(logging.Formatter):
    """Log records as Lambda's runtime writes them: JSON, with what came beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        known = logging.makeLogRecord({}).__dict__
        extra = {name: value for name, value in record.__dict__.items() if name not in known}
        return json.dumps({"level": record.levelname, "message": record.getMessage(), **extra}, default=str)


@contextlib.contextmanager
def logs_to(file: TextIO) -> Iterator[None]:
    """Collect the handlers' logs, which would else stand alone between the demo's lines."""
    collector = logging.StreamHandler(file)
    collector.setFormatter(_AsLines())
    logger = logging.getLogger("featherface.functions")
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)


def _say_errors(answers: dict[str, Answer]) -> None:
    for key, answer in answers.items():
        if answer.error is not None:
            intended = ", as intended (a photo cut short)" if key == CUT_SHORT else f": {key}"
            _say(f"    1 of {len(answers)} ended with {answer.error}{intended}")


def sample_photos() -> dict[str, bytes]:
    """Return the shipped photos, one of them under a name that URLs escape, and one cut short."""
    photos = {path.name: path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.suffix in TYPES}
    photos["holiday 2026/team+guests (1).jpg"] = photos["group.jpg"]
    photos[CUT_SHORT] = photos["group.jpg"][:20_000]
    return photos


@contextlib.contextmanager
def environment(objects: str, events: str) -> Iterator[None]:
    """Point every AWS client of this process and its children at the loopback servers."""
    values = {
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": CREDENTIALS["AWS_REGION"],
        "AWS_ENDPOINT_URL": events,
        "AWS_ENDPOINT_URL_S3": objects,
        "RESULTS_BUCKET": RESULTS_BUCKET,
        "PHOTOS_BUCKET": PHOTOS_BUCKET,
        "INDEX_TABLE": INDEX_TABLE,
        "IDEMPOTENCY_TABLE": IDEMPOTENCY_TABLE,
        "POWERTOOLS_SERVICE_NAME": "featherface-demo",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_LOG_LEVEL": "WARNING",
        "AWS_XRAY_SDK_ENABLED": "false",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def prepare_cloud(events: str) -> tuple[Any, Any, Any, str]:
    """Make buckets, tables, the queue and the bucket's notification, as the template does.

    Returns
    -------
    objects, notifier : boto3 S3 clients
        Of SeaweedFS, and of moto, which sends the events that SeaweedFS doesn't.
    sqs : boto3 SQS client
    queue : str
        URL.
    """
    import boto3

    objects = boto3.client("s3")
    notifier = boto3.client("s3", endpoint_url=events)
    sqs, dynamodb = boto3.client("sqs"), boto3.client("dynamodb")
    objects.create_bucket(Bucket=PHOTOS_BUCKET)
    objects.create_bucket(Bucket=RESULTS_BUCKET)
    queue = sqs.create_queue(QueueName="uploads")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    notifier.create_bucket(Bucket=PHOTOS_BUCKET)
    notifier.put_bucket_notification_configuration(
        Bucket=PHOTOS_BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    dynamodb.create_table(
        TableName=IDEMPOTENCY_TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    names = ("photo", "day", "processed_at")
    dynamodb.create_table(
        TableName=INDEX_TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        KeySchema=[{"AttributeName": "photo", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_day",
                "KeySchema": [
                    {"AttributeName": "day", "KeyType": "HASH"},
                    {"AttributeName": "processed_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return objects, notifier, sqs, queue


def messages(sqs: Any, queue: str) -> Iterator[dict[str, Any]]:
    """Give the queue's messages until it is empty, deleting each once it is handled."""
    while True:
        received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        if not received:
            return
        for message in received:
            yield message
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def uploads(
    handler: Any, photos: dict[str, bytes], notifier: Any, objects: Any, sqs: Any, queue: str
) -> dict[str, Answer]:
    """Upload each photo and let its event go through the ingest handler."""
    from urllib.parse import unquote_plus

    answers = {}
    for key, data in photos.items():
        objects.put_object(Bucket=PHOTOS_BUCKET, Key=key, Body=data)
        notifier.put_object(Bucket=PHOTOS_BUCKET, Key=key, Body=data)
    for message in messages(sqs, queue):
        body = json.loads(message["Body"])
        if "Records" not in body:
            # S3 tests a new notification with an event of its own
            assert "s3:TestEvent" in message["Body"], message["Body"]
            continue
        key = unquote_plus(body["Records"][0]["s3"]["object"]["key"])
        answers[key] = upload_event(handler, message, objects, RESULTS_BUCKET, key)
    return answers


def _reports(photos: dict[str, bytes], ways: dict[str, dict[str, Answer]]) -> list[PhotoReport]:
    reports = []
    for key, data in photos.items():
        answers = {way: by_key.get(key) for way, by_key in ways.items()}
        first = answers["API"]
        assert first is not None
        agree = all(
            a is not None and a.faces == first.faces and a.error == first.error for a in answers.values()
        )
        picture = None
        confidences: tuple[float, ...] = ()
        if first.faces is not None and first.size is not None:
            found = Detections.from_dict(
                {
                    "schema_version": "1.0",
                    "image": {"width": first.size[0], "height": first.size[1]},
                    "faces": first.faces,
                }
            )
            picture = draw(data, found, long_side=1280)
            confidences = tuple(face.confidence for face in found.faces)
        times = {way: a.milliseconds for way, a in answers.items() if a is not None and a.milliseconds}
        reports.append(PhotoReport(key, picture, confidences, first.error, times, agree))
    return reports


def run(output: Path) -> int:
    """Run the demo, and return 0 if the three ways agree."""
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    photos = sample_photos()
    steps: list[tuple[str, str, str]] = []
    with contextlib.ExitStack() as stack:
        _say("starting an S3 (SeaweedFS) and a queue and tables (moto) on loopback")
        objects_url = stack.enter_context(seaweedfs())
        events_url = stack.enter_context(moto())
        stack.enter_context(environment(objects_url, events_url))
        objects, notifier, sqs, queue = prepare_cloud(events_url)
        steps.append(("", "servers started", f"{time.perf_counter() - began:.1f} s"))

        sys.path.insert(0, str(ROOT / "functions"))
        cold = time.perf_counter()
        # what CloudWatch would collect: logs and metrics
        log_file = stack.enter_context((output / "handlers.log").open("w"))
        stack.enter_context(contextlib.redirect_stdout(log_file))
        stack.enter_context(logs_to(log_file))
        from detect.handler import lambda_handler as detect_handler
        from ingest.handler import lambda_handler as ingest_handler

        took = time.perf_counter() - cold
        steps.append(("", "both handlers started, the model validated", f"{took:.1f} s"))

        _say(f"(a) {len(photos)} uploads: event -> queue -> ingest handler -> results bucket")
        clock = time.perf_counter()
        by_upload = uploads(ingest_handler, photos, notifier, objects, sqs, queue)
        took = time.perf_counter() - clock
        _say_errors(by_upload)
        steps.append(("upload", f"{len(by_upload)} events through the ingest handler", f"{took:.1f} s"))

        _say(f"(b) {len(photos)} API calls: POST /v1/detect -> detect handler -> answer")
        clock = time.perf_counter()
        by_api = {
            key: api_call(detect_handler, data, TYPES.get(Path(key).suffix, "image/jpeg"))
            for key, data in photos.items()
        }
        took = time.perf_counter() - clock
        _say_errors(by_api)
        steps.append(("API", f"{len(by_api)} calls of the detect handler", f"{took:.1f} s"))

        target = f"s3://{RESULTS_BUCKET}/annotations"
        _say(f"(c) featherface annotate s3://{PHOTOS_BUCKET} --output {target}")
        by_job, seconds, log = annotate(f"s3://{PHOTOS_BUCKET}", target, objects)
        steps.append(("bulk job", f"{len(by_job)} photos with Ray, its start included", f"{seconds:.1f} s"))

        annotations = output / "annotations"
        annotations.mkdir(exist_ok=True)
        for name in ("annotations.jsonl", "errors.jsonl", "coco.json", "report.html", "manifest.json"):
            body = objects.get_object(Bucket=RESULTS_BUCKET, Key=f"annotations/{name}")["Body"].read()
            (annotations / name).write_bytes(body)

    reports = _reports(photos, {"upload": by_upload, "API": by_api, "bulk job": by_job})
    pictures = output / "pictures"
    pictures.mkdir(exist_ok=True)
    for report in reports:
        if report.picture is not None:
            report.picture.save(
                pictures / (report.key.replace("/", "_").rsplit(".", 1)[0] + ".jpg"), quality=90
            )
    facts = {
        "featherface": __version__,
        "model": Settings().model,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "date": date.today().isoformat(),
        "photos": "examples/photos (SOURCES.md names each source and licence)",
    }
    write_page(output / "index.html", reports, facts=facts, steps=steps, log=log)

    for report in reports:
        count = len(report.confidences)
        what = report.error or f"{count} face{'' if count == 1 else 's'}"
        _say(f"    {report.key:36} {what:24} {'same in all three ways' if report.agree else 'DIFFERENT'}")
    _say(f"page:        {output / 'index.html'}")
    _say(f"pictures:    {pictures}")
    _say(f"annotations: {annotations}, with the job's own report.html")
    _say(f"logs:        {output / 'handlers.log'}")
    if not all(report.agree for report in reports):
        _say("the three ways do not agree")
        return 1
    _say(f"the three ways gave identical faces; {time.perf_counter() - began:.0f} s in all")
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder for page and pictures"
    )
    return run(parser.parse_args().output)


if __name__ == "__main__":
    sys.exit(main())
