"""The command ``featherface detect``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from featherface.blurring import blur
from featherface.config import PROFILES, load_settings
from featherface.detector import Detector
from featherface.drawing import draw
from featherface.encoding import to_jpeg
from featherface.errors import ConfigurationError, ImageError

__all__ = ["STOPPED", "add_detect"]

STOPPED: Final = 130
"""Exit code after Ctrl-C, as shells count: 128 and the signal."""

_STDIN: Final = "-"


def add_detect(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "detect",
        help="find the faces of photos and print them as JSON",
        description="Find the faces of photos and print one JSON document. A photo that cannot be used gets "
        "an error in its place; the exit code is then 1. After Ctrl-C it is 130, and the photos so far are "
        "printed.",
    )
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="JPEG, PNG, BMP or WebP; - reads standard input"
    )
    parser.add_argument("--profile", help=f"settings: {', '.join(PROFILES)} or a YAML file")
    parser.add_argument("--model", help="nano or v1")
    parser.add_argument("--precision", help="fp32 or int8")
    parser.add_argument("--device", help="auto, cpu, cuda or tensorrt")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="320 to 1024 in steps of 32")
    parser.add_argument("--fit", help="long_side or square")
    parser.add_argument(
        "--mirror",
        action="store_true",
        default=None,
        help="look at each photo in the mirror, too: more faces, twice the time",
    )
    parser.add_argument("--confidence", type=float, metavar="P", help="drop faces below it, 0 to 1")
    parser.add_argument("--max-detections", type=int, metavar="N", help="at most so many faces per photo")
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="DIR",
        help="write annotated pictures there: NAME.faces.png, or NAME.faces-2.png where that exists",
    )
    parser.add_argument(
        "--blur",
        type=Path,
        metavar="DIR",
        help="write copies without recognisable faces there: NAME.blurred.jpg, NAME.blurred-2.jpg, ...",
    )
    parser.set_defaults(func=_detect)


def _detect(arguments: argparse.Namespace) -> int:
    settings = load_settings(
        arguments.profile,
        overrides={
            "model": arguments.model,
            "precision": arguments.precision,
            "device": arguments.device,
            "input_size": arguments.input_size,
            "fit": arguments.fit,
            "mirror": arguments.mirror,
            "confidence_threshold": arguments.confidence,
            "max_detections": arguments.max_detections,
        },
    )
    for option, folder in (("--draw", arguments.draw), ("--blur", arguments.blur)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ConfigurationError(f"{option} needs a folder to write to; {folder} is a file")
    detector = Detector.load(settings=settings)
    info = detector.info
    answers: list[dict[str, Any]] = []
    stopped = False
    try:
        for path in arguments.photos:
            answers.append(_detect_one(detector, path, arguments.draw, arguments.blur))
    except KeyboardInterrupt:
        # what is known by now took time, and is whole
        stopped = True
    model = {
        "model": info.model,
        "precision": info.precision,
        "version": info.version,
        "sha256": info.sha256,
        "provider": info.provider,
    }
    json.dump({"model": model, "photos": answers}, sys.stdout, indent=2)
    print()
    if stopped:
        print(f"featherface: stopped after {len(answers)} of {len(arguments.photos)} photos", file=sys.stderr)
        return STOPPED
    return 1 if any("error" in answer for answer in answers) else 0


def _detect_one(detector: Detector, photo: str, pictures: Path | None, copies: Path | None) -> dict[str, Any]:
    path = Path(photo)
    if "://" in photo and not path.exists():
        return {"path": photo, "error": {"code": "file", "message": _no_file(photo)}}
    answer: dict[str, Any] = {"path": str(path)}
    limits = detector.settings.image_limits
    name = "stdin" if photo == _STDIN else path.stem
    try:
        data = _read(path, limits.max_bytes)
        detections = detector.detect(data)
        answer["detections"] = detections.to_dict()
        if pictures is not None:
            target = _free_name(pictures, f"{name}.faces", ".png")
            draw(data, detections, limits=limits).save(target)
            answer["picture"] = str(target)
        if copies is not None:
            target = _free_name(copies, f"{name}.blurred", ".jpg")
            target.write_bytes(to_jpeg(blur(data, detections, limits=limits)))
            answer["blurred"] = str(target)
    except ImageError as error:
        answer["error"] = {"code": error.code, "message": str(error)}
    except IsADirectoryError:
        message = f"{path} is a folder: name its photos, or give it to `featherface annotate`"
        answer["error"] = {"code": "file", "message": message}
    except OSError as error:
        answer["error"] = {"code": "file", "message": f"{error.strerror or error}: {error.filename or path}"}
    return answer


def _no_file(address: str) -> str:
    other = ", or use `featherface annotate`, which reads buckets" if address.startswith("s3://") else ""
    return f"{address} is an address, and detect reads files: download it first{other}"


def _read(path: Path, max_bytes: int) -> bytes:
    # No more than shows that it is too much.
    if str(path) == _STDIN:
        return sys.stdin.buffer.read(max_bytes + 1)
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _free_name(folder: Path, stem: str, suffix: str) -> Path:
    """Return a name that no earlier picture has, in a folder that exists: photos may share their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{stem}{number}{suffix}" for number in ("", *(f"-{count}" for count in range(2, 1_000_000))))
    return next(folder / name for name in names if not (folder / name).exists())
