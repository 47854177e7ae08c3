"""Amazon Rekognition's DetectFaces, as its clients speak it (JSON 1.1 on ``/``).

What this service does not compute (pose, quality, age, emotions and more) is absent from an answer, and the
header ``x-featherface-absent`` names what the caller asked for and did not get.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from detect.options import RequestOptions
from detect.service import DetectService
from featherface import Detections, DetectOptions, Face, FeatherFaceError
from shared.bodies import Body
from shared.errors import FunctionError, RequestError
from shared.observability import LOGGER, record_error
from shared.photos import StoredPhoto
from shared.problems import withheld

__all__ = ["ABSENT_HEADER", "MEDIA_TYPE", "RekognitionAnswer", "answer"]

MEDIA_TYPE: Final = "application/x-amz-json-1.1"
ABSENT_HEADER: Final = "x-featherface-absent"

_TARGET: Final = "RekognitionService.DetectFaces"
_MAX_FACES: Final = 100
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "AGE_RANGE": "AgeRange",
    "BEARD": "Beard",
    "EMOTIONS": "Emotions",
    "EYE_DIRECTION": "EyeDirection",
    "EYEGLASSES": "Eyeglasses",
    "EYES_OPEN": "EyesOpen",
    "FACE_OCCLUDED": "FaceOccluded",
    "GENDER": "Gender",
    "MOUTH_OPEN": "MouthOpen",
    "MUSTACHE": "Mustache",
    "SMILE": "Smile",
    "SUNGLASSES": "Sunglasses",
}
_DEFAULT_ABSENT: Final = ("Pose", "Quality")
_LANDMARKS: Final[Mapping[str, str]] = {
    "left_eye": "eyeLeft",
    "right_eye": "eyeRight",
    "nose": "nose",
    "mouth_left": "mouthLeft",
    "mouth_right": "mouthRight",
}

# Exception and HTTP status by our code; what is not listed is InternalServerError, which clients retry.
_EXCEPTIONS: Final[Mapping[str, tuple[str, int]]] = {
    "unreadable_image": ("InvalidImageFormatException", 400),
    "unsupported_format": ("InvalidImageFormatException", 400),
    "image_too_large": ("ImageTooLargeException", 400),
    "photo_not_found": ("InvalidS3ObjectException", 400),
    "photo_archived": ("InvalidS3ObjectException", 400),
    "photo_encrypted": ("InvalidS3ObjectException", 400),
    "photo_replaced": ("InvalidS3ObjectException", 400),
    "storage_denied": ("InvalidS3ObjectException", 400),
    "storage_unavailable": ("ThrottlingException", 400),
    "invalid_request": ("InvalidParameterException", 400),
    "invalid_option": ("InvalidParameterException", 400),
}


class RekognitionAnswer(NamedTuple):
    """Status, body and headers of an answer in the protocol of JSON 1.1."""

    status: int
    body: str
    headers: dict[str, str]


def answer(service: DetectService, target: str, body: Body, request_id: str) -> RekognitionAnswer:
    """Answer a call of Rekognition; errors are its own classes.

    Parameters
    ----------
    service : DetectService
    target : str
        Header ``X-Amz-Target``.
    body : Body
    request_id : str
    """
    if target != _TARGET:
        message = f"this service knows {_TARGET}; got {target or 'no X-Amz-Target'}"
        return _error("UnknownOperationException", 400, message, request_id)
    try:
        photo, attributes = _read(body.read_any())
        # Threshold and size are the service's own; the answer has room for 100 faces, the largest.
        analysis = service.analyse(photo, RequestOptions(DetectOptions()))
    except (FunctionError, FeatherFaceError) as error:
        record_error(error.code, withheld(error))
        name, status = _EXCEPTIONS.get(error.code, ("InternalServerError", 500))
        if status >= 500:
            LOGGER.error("the call failed", extra={"error_code": error.code, "reason": str(error)})
            return _error(name, status, "the service cannot do this now; try again", request_id)
        if error.code == "storage_denied":
            return _error(name, status, "there is no such object, or it may not be read", request_id)
        return _error(name, status, str(error), request_id)
    headers = {"x-amzn-RequestId": request_id, ABSENT_HEADER: ",".join(_absent(attributes))}
    return RekognitionAnswer(200, json.dumps(_face_details(analysis.detections)), headers)


def _read(body: bytes) -> tuple[bytes | StoredPhoto, list[str]]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not JSON") from error
    image = members.get("Image") if isinstance(members, dict) else None
    if not isinstance(image, dict) or ("Bytes" in image) == ("S3Object" in image):
        raise RequestError("Image must have exactly one of Bytes and S3Object")
    attributes = members.get("Attributes") or []
    known = {"DEFAULT", "ALL", *_ATTRIBUTES}
    if not isinstance(attributes, list) or not all(isinstance(name, str) for name in attributes):
        raise RequestError("Attributes must be a list of texts")
    if unknown := sorted(set(attributes) - known):
        raise RequestError(f"Attributes may be {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return (_bytes(image["Bytes"]) if "Bytes" in image else _stored(image["S3Object"])), attributes


def _bytes(text: object) -> bytes:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else _not_base64()
    except ValueError:
        return _not_base64()


def _not_base64() -> bytes:
    raise RequestError("Image.Bytes must be base64")


def _stored(place: object) -> StoredPhoto:
    members = place if isinstance(place, dict) else {}
    bucket, key, version = members.get("Bucket"), members.get("Name"), members.get("Version")
    named = isinstance(bucket, str) and isinstance(key, str) and bucket and key
    if named and (version is None or isinstance(version, str)):
        return StoredPhoto(str(bucket), str(key), version or None)
    raise RequestError("Image.S3Object must have Bucket and Name, and may have Version")


def _absent(attributes: list[str]) -> list[str]:
    if "ALL" in attributes:
        return [*_DEFAULT_ABSENT, *_ATTRIBUTES.values()]
    return [*_DEFAULT_ABSENT, *(_ATTRIBUTES[name] for name in attributes if name in _ATTRIBUTES)]


def _face_details(detections: Detections) -> dict[str, Any]:
    largest = sorted(detections.faces, key=lambda face: face.box.area, reverse=True)[:_MAX_FACES]
    return {"FaceDetails": [_face_detail(face, detections.width, detections.height) for face in largest]}


def _face_detail(face: Face, width: int, height: int) -> dict[str, Any]:
    box = face.box
    return {
        "BoundingBox": {
            "Left": box.left / width,
            "Top": box.top / height,
            "Width": box.width / width,
            "Height": box.height / height,
        },
        "Confidence": 100 * face.confidence,
        "Landmarks": [
            {"Type": _LANDMARKS[name], "X": point.x / width, "Y": point.y / height}
            for name, point in face.landmarks.items()
        ],
    }


def _error(name: str, status: int, message: str, request_id: str) -> RekognitionAnswer:
    body = json.dumps({"__type": name, "Code": name, "Message": message})
    return RekognitionAnswer(status, body, {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": name})
