from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from gateway_events import rest_event, url_event
from refusals import refused
from urllib3.filepost import encode_multipart_formdata

from detect.service import DetectService
from featherface import DETECTIONS_SCHEMA, DetectOptions, Detector, Settings
from shared.detectors import Detectors

Call = Callable[..., tuple[int, dict[str, Any]]]
PHOTO = "astronaut.png"
OWN_MEMBERS = ("model_info", "timings", "photo")


def detections(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in OWN_MEMBERS}


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("astronaut.png", "image/png"), ("sideways.jpg", "image/jpeg"), ("coffee.webp", "image/webp")],
)
def test_a_raw_photo_gets_what_the_detector_says(
    call: Call, reference: Detector, sample: Callable[[str], bytes], name: str, media_type: str
) -> None:
    status, answer = call("POST", "/v1/detect", body=sample(name), content_type=media_type)
    assert status == 200
    assert detections(answer) == reference.detect(sample(name)).to_dict()
    assert answer["faces"]
    jsonschema.validate(detections(answer), dict(DETECTIONS_SCHEMA))
    assert answer["model_info"]["sha256"] == reference.info.sha256
    assert answer["model_info"]["parameters"] == reference.info.parameters
    assert answer["model_info"]["provider"] == "cpu"
    assert set(answer["timings"]) == {"decode_ms", "inference_ms", "total_ms"}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_base64_in_json_gets_the_same_answer(
    call: Call, reference: Detector, sample: Callable[[str], bytes], encode: Callable[[bytes], bytes]
) -> None:
    # with line breaks or without
    text = encode(sample(PHOTO)).decode()
    status, answer = call("POST", "/v1/detect", json_body={"image": text})
    assert status == 200
    assert detections(answer) == reference.detect(sample(PHOTO)).to_dict()


def test_a_photo_in_s3_gets_the_same_answer(
    call: Call, reference: Detector, sample: Callable[[str], bytes], s3: Any
) -> None:
    key = "api/é + 100% sure.png"
    stored = s3.put_object(Bucket="photos-of-the-tests", Key=key, Body=sample(PHOTO))
    place = {"bucket": "photos-of-the-tests", "key": key}
    status, answer = call("POST", "/v1/detect", json_body={"s3": place})
    assert status == 200
    assert answer["photo"] == {**place, "etag": stored["ETag"].strip('"')}
    assert detections(answer) == reference.detect(sample(PHOTO)).to_dict()


def test_a_function_url_gets_the_same_answer(
    detect_handler: Callable[..., dict[str, Any]],
    context: Any,
    reference: Detector,
    sample: Callable[[str], bytes],
) -> None:
    event = url_event("POST", "/v1/detect", body=sample(PHOTO), content_type="image/png")
    answer = detect_handler(event, context)
    assert answer["statusCode"] == 200
    assert detections(json.loads(answer["body"])) == reference.detect(sample(PHOTO)).to_dict()


@pytest.mark.parametrize("way", ["query", "json"])
def test_options_reach_the_detector(
    call: Call, reference: Detector, sample: Callable[[str], bytes], way: str
) -> None:
    options = {
        "input_size": 416,
        "mirror": True,
        "confidence_threshold": 0.0001,
        "nms_threshold": 0.3,
        "max_detections": 3,
    }
    if way == "query":
        request = {
            "body": sample(PHOTO),
            "content_type": "image/png",
            "query": {name: str(value) for name, value in options.items()} | {"landmarks": "false"},
        }
    else:
        image = base64.b64encode(sample(PHOTO)).decode()
        request = {"json_body": {"image": image, "landmarks": False, **options}}
    status, answer = call("POST", "/v1/detect", **request)
    assert status == 200
    expected = reference.detect(sample(PHOTO), DetectOptions(**options)).to_dict()  # type: ignore[arg-type]
    for face in expected["faces"]:
        del face["landmarks"]
    assert detections(answer) == expected


def test_a_second_look_is_had_for_the_asking(
    call: Call, reference: Detector, sample: Callable[[str], bytes]
) -> None:
    request = {"body": sample(PHOTO), "content_type": "image/png"}
    (_, once), (_, twice) = (
        call("POST", "/v1/detect", query={"mirror": mirror}, **request) for mirror in ("false", "true")
    )
    assert detections(once) == reference.detect(sample(PHOTO)).to_dict()
    assert detections(twice) == reference.detect(sample(PHOTO), DetectOptions(mirror=True)).to_dict()
    assert detections(once) != detections(twice)


def test_the_other_model_can_be_asked_for(call: Call, sample: Callable[[str], bytes]) -> None:
    status, answer = call(
        "POST", "/v1/detect", body=sample(PHOTO), content_type="image/png", query={"model": "v1"}
    )
    assert status == 200
    assert answer["model_info"]["model"] == "v1"
    assert answer["model_info"]["parameters"] == 487_103
    assert detections(answer) == Detector.load("v1").detect(sample(PHOTO)).to_dict()


def test_health_says_what_serves(call: Call, reference: Detector) -> None:
    status, answer = call("GET", "/v1/health")
    assert status == 200
    assert answer["status"] == "ok"
    assert answer["model_info"]["sha256"] == reference.info.sha256


IMAGE = base64.b64encode(b"no photo").decode()
GONE = {"bucket": "photos-of-the-tests", "key": "no such photo"}


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"body": b"no photo", "content_type": "image/jpeg"}, 415, "unsupported_format"),
        ({"body": b"\xff\xd8\xff\xe0 cut off", "content_type": "image/jpeg"}, 422, "unreadable_image"),
        ({"body": b"\xff\xd8\xff" + bytes(3_000_000), "content_type": "image/jpeg"}, 413, "image_too_large"),
        ({"body": b"x", "content_type": "text/plain"}, 415, "unsupported_media_type"),
        ({"body": b"x"}, 415, "unsupported_media_type"),
        ({}, 400, "invalid_request"),
        ({"body": b"{", "content_type": "application/json"}, 400, "invalid_request"),
        ({"json_body": [1]}, 400, "invalid_request"),
        ({"json_body": {}}, 400, "invalid_request"),
        ({"json_body": {"image": "?"}}, 400, "invalid_request"),
        ({"json_body": {"image": 1}}, 400, "invalid_request"),
        ({"json_body": {"image": IMAGE, "s3": GONE}}, 400, "invalid_request"),
        ({"json_body": {"s3": {"bucket": "photos-of-the-tests"}}}, 400, "invalid_request"),
        ({"json_body": {"s3": {"bucket": "b", "key": 1}}}, 400, "invalid_request"),
        ({"json_body": {"s3": GONE}}, 404, "photo_not_found"),
        ({"json_body": {"s3": {**GONE, "versionId": "none"}}}, 404, "photo_not_found"),
        ({"json_body": {"s3": {"bucket": "no such name!", "key": "k"}}}, 404, "photo_not_found"),
        ({"json_body": {"s3": {"bucket": "no-such-bucket", "key": "k"}}}, 404, "photo_not_found"),
        ({"json_body": {"s3": {**GONE, "key": "k" * 1100}}}, 404, "photo_not_found"),
        ({"json_body": {"image": IMAGE, "size": 3}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "model": "huge"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "input_size": 641}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "input_size": [640]}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "landmarks": "maybe"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "mirror": 2}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE, "mirror": 1}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE}, "query": {"input_size": "6_40"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE}, "query": {"input_size": " 640"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE}, "query": {"nms_threshold": "0_1.5"}}, 422, "invalid_option"),
        (
            {
                "body": f'{{"image": "{IMAGE}", "model": "nano", "model": "v1"}}'.encode(),
                "content_type": "application/json",
            },
            400,
            "invalid_request",
        ),
        ({"json_body": {"image": IMAGE}, "query": {"nms_threshold": "a"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE}, "query": {"nms_threshold": "NaN"}}, 422, "invalid_option"),
        ({"json_body": {"image": IMAGE}, "query": {"input_size": "1" * 5000}}, 422, "invalid_option"),
        (
            {"json_body": {"image": IMAGE, "max_detections": 1}, "query": {"max_detections": "1"}},
            422,
            "invalid_option",
        ),
    ],
)
def test_errors_are_problem_details(call: Call, request_: dict[str, Any], status: int, code: str) -> None:
    found, answer = call("POST", "/v1/detect", **request_)
    assert (found, answer["code"]) == (status, code)
    assert answer["status"] == status
    assert answer["type"] == f"urn:featherface:problem:{code}"
    assert set(answer) == {"type", "title", "status", "detail", "code", "request_id"}
    assert "Traceback" not in json.dumps(answer)


def test_a_photo_in_an_archive_is_nothing_to_ask_for_again(
    call: Call, s3: Any, key: str, sample: Callable[[str], bytes]
) -> None:
    s3.put_object(Bucket=GONE["bucket"], Key=key, Body=sample(PHOTO), StorageClass="GLACIER")
    status, answer = call("POST", "/v1/detect", json_body={"s3": {"bucket": GONE["bucket"], "key": key}})
    assert (status, answer["code"]) == (422, "photo_archived")
    assert "restore it" in answer["detail"]


def test_a_photo_that_may_not_be_read_is_no_photo_to_the_caller_and_has_its_reason_in_the_log(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    place = {"s3": GONE}
    with refused("s3", 403, "AccessDenied"):
        status, answer = call("POST", "/v1/detect", json_body=place)
        _, batch = call("POST", "/v1/detect/batch", json_body={"images": [place]})
    assert (status, answer["code"]) == (404, "storage_denied")
    assert "AccessDenied" not in answer["detail"]
    assert batch["results"][0]["error"]["detail"] == answer["detail"]
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert len([reason for reason in reasons if "AccessDenied" in reason]) == 2
    assert GONE["key"] not in "".join(reasons)


def test_a_right_that_the_service_itself_lacks_is_not_a_result_that_is_missing(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    with refused("s3", 403, "AccessDenied"):
        status, answer = call("GET", f"/v1/results/{'0' * 32}")
    assert (status, answer["code"]) == (503, "missing_right")
    assert "photo" not in answer["detail"]
    told = [record for record in caplog.records if "AccessDenied" in getattr(record, "reason", "")]
    assert told
    assert all("reading the result" in record.__dict__["reason"] for record in told)


def test_a_problem_does_not_repeat_all_that_was_sent(call: Call) -> None:
    query = {"input_size": "1" * 5000}
    _, problem = call("POST", "/v1/detect", json_body={"image": IMAGE}, query=query)
    assert len(problem["detail"]) < 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_a_problem_too(
    detect_handler: Callable[..., dict[str, Any]], context: Any, method: str
) -> None:
    answer = detect_handler(rest_event(method, "/v1/nothing"), context)
    assert answer["statusCode"] == 404
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert json.loads(answer["body"])["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/health", "GET"),
        ("GET", "/v1/detect", "POST"),
        ("POST", f"/v1/results/{'0' * 32}", "GET"),
    ],
)
def test_an_unknown_method_is_a_problem_that_names_the_known(
    detect_handler: Callable[..., dict[str, Any]], context: Any, method: str, path: str, allowed: str
) -> None:
    answer = detect_handler(rest_event(method, path), context)
    assert answer["statusCode"] == 405
    assert answer["headers"] == {"Content-Type": "application/problem+json", "Allow": allowed}
    assert json.loads(answer["body"])["code"] == "method_not_allowed"


def test_a_photo_that_the_gateway_passed_as_text_is_refused(
    detect_handler: Callable[..., dict[str, Any]], context: Any
) -> None:
    event = rest_event("POST", "/v1/detect", content_type="image/jpeg")
    answer = detect_handler({**event, "body": "bytes that were"}, context)
    assert answer["statusCode"] == 400
    assert "binary" in json.loads(answer["body"])["detail"]


def test_a_form_gets_the_same_answer(call: Call, reference: Detector, sample: Callable[[str], bytes]) -> None:
    body, content_type = form({"image": sample(PHOTO), "max_detections": b"2"})
    status, answer = call("POST", "/v1/detect", body=body, content_type=content_type)
    assert status == 200
    assert detections(answer) == reference.detect(sample(PHOTO), DetectOptions(max_detections=2)).to_dict()


@pytest.mark.parametrize(
    "parts",
    [{}, {"file": b"x"}, {"image": b""}, {"image": b"x", "size": b"1"}, {"image": b"x", "model": b"?"}],
)
def test_a_form_that_cannot_be_used_is_a_problem(call: Call, parts: dict[str, bytes]) -> None:
    body, content_type = form(parts)
    status, answer = call("POST", "/v1/detect", body=body, content_type=content_type)
    assert status in (400, 422)
    assert answer["code"] in ("invalid_request", "invalid_option")


def test_a_batch_gives_each_photo_its_own_result_or_error(
    call: Call, reference: Detector, sample: Callable[[str], bytes]
) -> None:
    good = base64.b64encode(sample(PHOTO)).decode()
    other = base64.b64encode(sample("coffee.webp")).decode()
    images = [{"image": good}, {"image": IMAGE}, {"s3": GONE}, {"image": other}, {"picture": good}, "text"]
    images.append({"s3": {**GONE, "versionId": ""}})
    # half of a character, which no key can hold
    images.append({"s3": {**GONE, "key": "\ud800"}})
    status, answer = call("POST", "/v1/detect/batch", json_body={"images": images, "max_detections": 4})
    assert status == 200
    results = answer["results"]
    assert [entry["index"] for entry in results] == list(range(8))
    options = DetectOptions(max_detections=4)
    assert detections(results[0]["result"]) == reference.detect(sample(PHOTO), options).to_dict()
    assert detections(results[3]["result"]) == reference.detect(sample("coffee.webp"), options).to_dict()
    codes = ["unsupported_format", "photo_not_found", *["invalid_request"] * 3, "photo_not_found"]
    assert [results[index]["error"]["code"] for index in (1, 2, 4, 5, 6, 7)] == codes


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json_body": {"images": [{"image": "eA=="}] * 9}}, 413, "payload_too_large"),
        ({"json_body": {"images": []}}, 400, "invalid_request"),
        ({"json_body": {"image": "eA=="}}, 400, "invalid_request"),
        ({"json_body": {"images": [{"image": "eA=="}], "size": 1}}, 422, "invalid_option"),
        ({"json_body": {"images": [{"image": "eA=="}], "mirror": "perhaps"}}, 422, "invalid_option"),
        ({"body": b"x", "content_type": "image/png"}, 415, "unsupported_media_type"),
    ],
)
def test_a_batch_that_cannot_be_read_is_a_problem(
    call: Call, request_: dict[str, Any], status: int, code: str
) -> None:
    found, answer = call("POST", "/v1/detect/batch", **request_)
    assert (found, answer["code"]) == (status, code)


def test_models_are_listed_with_what_proves_them(call: Call, reference: Detector) -> None:
    status, answer = call("GET", "/v1/models")
    assert status == 200
    models = {entry["model"]: entry for entry in answer["models"]}
    assert {name: entry["parameters"] for name, entry in models.items()} == {"nano": 344_254, "v1": 487_103}
    default = models[reference.info.model]
    assert default["default"] is True
    assert default["sha256"] == reference.info.sha256


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("input_size", 352),
        ("mirror", True),
        ("confidence_threshold", 0.25),
        ("nms_threshold", 0.3),
        ("max_detections", 7),
    ],
)
def test_defaults_are_those_that_requests_get(option: str, value: Any) -> None:
    settings = Settings(**{option: value})
    told = DetectService(Detectors(settings)).models()["defaults"]
    assert told[option] == value
    assert settings.with_options(DetectOptions(**told)) == settings


def form(parts: dict[str, bytes]) -> tuple[bytes, str]:
    """A form as urllib3, and so as requests and botocore, would write it."""
    fields = {name: ("photo", content) if name == "image" else content for name, content in parts.items()}
    return encode_multipart_formdata(fields)
