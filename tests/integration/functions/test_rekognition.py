"""A plain boto3 client of Amazon Rekognition is the judge."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from gateway_events import rest_event

from featherface import Detector

PHOTO = "astronaut.png"
BUCKET = "photos-of-the-tests"


@pytest.fixture(scope="module")
def rekognition(api_url: str) -> Any:
    return boto3.client(
        "rekognition",
        endpoint_url=api_url,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_the_client_reads_our_faces_as_its_own(
    rekognition: Any, reference: Detector, sample: Callable[[str], bytes]
) -> None:
    answer = rekognition.detect_faces(Image={"Bytes": sample(PHOTO)})
    expected = reference.detect(sample(PHOTO))
    largest_first = sorted(expected.faces, key=lambda face: face.box.area, reverse=True)
    assert largest_first
    for detail, face in zip(answer["FaceDetails"], largest_first, strict=True):
        assert detail["Confidence"] == pytest.approx(100 * face.confidence)
        assert detail["BoundingBox"] == pytest.approx(
            {
                "Left": face.box.left / expected.width,
                "Top": face.box.top / expected.height,
                "Width": face.box.width / expected.width,
                "Height": face.box.height / expected.height,
            }
        )
        points = {point["Type"]: (point["X"], point["Y"]) for point in detail["Landmarks"]}
        assert set(points) == {"eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"}
        eye = face.landmarks.left_eye
        assert points["eyeLeft"] == pytest.approx((eye.x / expected.width, eye.y / expected.height))


def test_an_object_in_s3_gets_the_same_answer(
    rekognition: Any, s3: Any, sample: Callable[[str], bytes]
) -> None:
    key = f"{uuid.uuid4().hex} ü+.png"
    s3.put_object(Bucket=BUCKET, Key=key, Body=sample(PHOTO))
    place = {"S3Object": {"Bucket": BUCKET, "Name": key}}
    one = rekognition.detect_faces(Image=place)["FaceDetails"]
    other = rekognition.detect_faces(Image={"Bytes": sample(PHOTO)})["FaceDetails"]
    assert one == other


@pytest.mark.parametrize("attributes", [["ALL"], ["DEFAULT", "AGE_RANGE"]])
def test_what_is_not_computed_is_absent_and_named(
    rekognition: Any, sample: Callable[[str], bytes], attributes: list[str]
) -> None:
    answer = rekognition.detect_faces(Image={"Bytes": sample(PHOTO)}, Attributes=attributes)
    for face in answer["FaceDetails"]:
        assert set(face) == {"BoundingBox", "Confidence", "Landmarks"}
    absent = answer["ResponseMetadata"]["HTTPHeaders"]["x-featherface-absent"].split(",")
    assert {"Pose", "Quality", "AgeRange"} <= set(absent)
    assert ("Emotions" in absent) == ("ALL" in attributes)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"Image": {"Bytes": b"no photo"}}, "InvalidImageFormatException"),
        ({"Image": {"Bytes": b"\xff\xd8\xff cut off"}}, "InvalidImageFormatException"),
        ({"Image": {"Bytes": b"\xff\xd8\xff" + bytes(3_000_000)}}, "ImageTooLargeException"),
        ({"Image": {"S3Object": {"Bucket": BUCKET, "Name": "none"}}}, "InvalidS3ObjectException"),
        ({"Image": {"S3Object": {"Bucket": "no-such-bucket", "Name": "x"}}}, "InvalidS3ObjectException"),
        (
            {"Image": {"S3Object": {"Bucket": BUCKET, "Name": "x", "Version": "y"}}},
            "InvalidS3ObjectException",
        ),
        ({"Image": {}}, "InvalidParameterException"),
        ({"Image": {"S3Object": {"Bucket": BUCKET}}}, "InvalidParameterException"),
        ({"Image": {"Bytes": b"x"}, "Attributes": ["SHOE_SIZE"]}, "InvalidParameterException"),
    ],
)
def test_the_client_raises_its_own_exceptions(rekognition: Any, request_: dict[str, Any], name: str) -> None:
    with pytest.raises(getattr(rekognition.exceptions, name)) as caught:
        rekognition.detect_faces(**request_)
    assert caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_an_archived_photo_is_not_the_service_s_fault(rekognition: Any, s3: Any, key: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"photo", StorageClass="GLACIER")
    with pytest.raises(rekognition.exceptions.InvalidS3ObjectException, match="archive"):
        rekognition.detect_faces(Image={"S3Object": {"Bucket": BUCKET, "Name": key}})


def test_other_operations_are_unknown(rekognition: Any) -> None:
    with pytest.raises(ClientError) as caught:
        rekognition.detect_labels(Image={"Bytes": b"x"})
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[1]",
        b'{"Image": 1}',
        b'{"Image": {"Bytes": 1}}',
        b'{"Image": {"Bytes": "?"}}',
        '{"Image": {"Bytes": "é"}}'.encode(),
    ],
)
def test_a_body_that_no_client_would_send_is_refused(api_url: str, body: bytes) -> None:
    headers = {
        "X-Amz-Target": "RekognitionService.DetectFaces",
        "Content-Type": "application/x-amz-json-1.1",
    }
    request = urllib.request.Request(f"{api_url}/", body, headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert json.loads(caught.value.read())["__type"] == "InvalidParameterException"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("no base64", "InvalidParameterException"),
        (
            base64.b64encode(b'{"Image": {"S3Object": {"Bucket": "b", "Name": "\\ud800"}}}').decode(),
            "InvalidS3ObjectException",
        ),
    ],
)
def test_a_body_that_no_gateway_would_hand_over_is_refused_in_the_protocol_too(
    detect_handler: Callable[..., dict[str, Any]], context: Any, body: str, name: str
) -> None:
    event = rest_event("POST", "/", headers={"X-Amz-Target": "RekognitionService.DetectFaces"})
    answer = detect_handler({**event, "body": body, "isBase64Encoded": True}, context)
    assert (answer["statusCode"], json.loads(answer["body"])["__type"]) == (400, name)
