from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from featherface import (
    Detections,
    DetectOptions,
    Detector,
    ImageError,
    InputTypeError,
    ModelInfo,
    ProviderError,
    Settings,
    UnreadableImageError,
    UnsupportedFormatError,
)
from featherface.packages import Manifest
from featherface.priors import make_priors
from featherface.resize import Transform
from featherface.runtime import Session

PHOTOS = Path(__file__).parents[3] / "examples/photos"

Encode = Callable[..., bytes]
MakeDetector = Callable[..., Detector]
# Low enough for an untrained network to answer something, so that these tests hold for any weights.
ANY = DetectOptions(confidence_threshold=0.001, max_detections=25)


@pytest.fixture(scope="module")
def photos(scene: Callable[..., Image.Image], encode: Encode) -> list[bytes]:
    return [
        encode(scene(640, 480, 1), "JPEG"),
        encode(scene(480, 640, 2), "PNG", 6),
        encode(scene(100, 333, 3), "WEBP"),
        encode(scene(2000, 900, 4), "JPEG", 3),
        encode(scene(640, 480, 5), "BMP"),
    ]


@pytest.mark.parametrize(
    ("kind", "came", "remedy"),
    [
        ("name", "got str", r"Path\('photo.jpg'\).read_bytes\(\)"),
        ("path", "got PosixPath", r"Path\('photo.jpg'\).read_bytes\(\)"),
        ("file", "got BufferedReader", r"Path\('photo.jpg'\).read_bytes\(\)"),
        ("picture", "got JpegImageFile", r"Path\('photo.jpg'\).read_bytes\(\)"),
        ("nothing", "got NoneType", r"Path\('photo.jpg'\).read_bytes\(\)"),
        ("pixels", r"got ndarray of shape \(30, 40, 3\)", "encode them first"),
        ("floats", r"got ndarray of shape \(30,\)", "encode them first"),
    ],
)
def test_what_is_no_bytes_is_refused_with_what_to_do(
    kind: str, came: str, remedy: str, spot_detector: MakeDetector, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30)).save(path)
    detector = spot_detector()
    with path.open("rb") as file, Image.open(path) as picture:
        pixels = np.asarray(picture)
        things = {"name": str(path), "path": path, "file": file, "picture": picture, "nothing": None}
        things |= {"pixels": pixels, "floats": np.zeros(30)}
        for call in (detector.detect, detector.prepare, lambda given: detector.detect_batch([given])):
            with pytest.raises(InputTypeError, match=f"bytes of its file; {came}.*{remedy}") as caught:
                call(things[kind])
            assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_bytes_are_taken(
    kind: Callable[[bytes], bytes], spot_detector: MakeDetector, photos: list[bytes]
) -> None:
    detector = spot_detector()
    assert detector.detect(kind(photos[0])) == detector.detect(photos[0])


# ---------------------------------------------------------------- the published models


@pytest.mark.parametrize("name", ["nano", "v1"])
def test_int8_neither_lowers_nor_raises_the_confidence_of_faces(name: str, manifest: Manifest) -> None:
    """Clipped activations cost faces first: they excite what little else does."""
    package = manifest.package(name)
    detector = Detector.load(settings=replace(Settings(), model=name), models=manifest.folder)
    sessions = [
        onnxruntime.InferenceSession(package.file(precision).path, providers=["CPUExecutionProvider"])
        for precision in ("fp32", "int8")
    ]
    shifts: list[float] = []
    for photo in ("group.jpg", "astronaut.png", "grace_hopper.jpg", "sideways.jpg"):
        pixels = detector.prepare((PHOTOS / photo).read_bytes()).pixels[None]
        logits = [session.run(None, {"input": pixels})[0][0] for session in sessions]
        full, small = (face - background for background, face in (output.T for output in logits))
        shifts.extend((small - full)[full > 0])
    assert len(shifts) > 300
    assert abs(np.mean(shifts)) < 0.06, "log-odds of anchors on faces, int8 less fp32"
    assert np.std(shifts) < 0.25


def test_against_plain_python(detector: Detector, manifest: Manifest, photos: list[bytes]) -> None:
    """Everything behind the network, once more with loops, by the formulas of the papers."""
    file = manifest.package(detector.info.model).file("fp32").path
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for data in photos[:3]:
        prepared = detector.prepare(data)
        logits, boxes, points = (output[0] for output in session.run(None, {"input": prepared.pixels[None]}))
        scores = [1 / (1 + math.exp(float(background) - float(face))) for background, face in logits]
        # Between two scores, so that rounding cannot decide; low enough for any weights to leave something.
        threshold = sum(sorted(scores)[-201:-199]) / 2
        expected = _slow(scores, boxes.tolist(), points.tolist(), prepared.transform, threshold)[:30]
        found = [
            [face.confidence, face.box.left, face.box.top, face.box.right, face.box.bottom]
            + [value for _, point in face.landmarks.items() for value in (point.x, point.y)]
            for face in detector.infer([prepared], DetectOptions(confidence_threshold=threshold))[0].faces[
                :30
            ]
        ]
        assert found
        np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-3, atol=0.05)


def _slow(
    scores: list[float],
    boxes: list[list[float]],
    points: list[list[float]],
    transform: Transform,
    threshold: float,
) -> list[list[float]]:
    candidates = []
    for index, (px, py, side, _) in enumerate(make_priors(*transform.bucket).tolist()):
        if scores[index] < threshold / 4:
            continue
        x, y, w, h = boxes[index]
        cx, cy = px + 0.1 * x * side, py + 0.1 * y * side
        half_w, half_h = side * math.exp(0.2 * w) / 2, side * math.exp(0.2 * h) / 2
        marks = [0.1 * value * side + (py if k % 2 else px) for k, value in enumerate(points[index])]
        candidates.append((scores[index], (cx - half_w, cy - half_h, cx + half_w, cy + half_h), marks))
    waiting = [(candidate[0], candidate) for candidate in candidates]
    groups: list[tuple[float, list[tuple[float, tuple[float, ...], list[float]]]]] = []
    while waiting and (strongest := max(waiting, key=lambda one: one[0]))[0] >= threshold:
        waiting.remove(strongest)
        left_of_it, best = strongest
        group, others = [best], []
        for left_of_other, other in waiting:
            if (overlap := _overlap(other[1], best[1])) <= 0.6:
                others.append((left_of_other * (1 - overlap if overlap > 0.4 else 1), other))
            elif other[0] > best[0] / 4:
                group.append(other)
        waiting = others
        groups.append((left_of_it, group))
    faces = []
    sx, sy = transform.width / transform.scaled_width, transform.height / transform.scaled_height
    for confidence, group in groups:
        total = sum(score**2 for score, _, _ in group)
        left, top, right, bottom = (
            sum(score**2 * corners[i] for score, corners, _ in group) / total for i in range(4)
        )
        marks = [sum(score**2 * points[i] for score, _, points in group) / total for i in range(10)]
        left, right = (min(max(v * sx, 0), transform.width) for v in (left, right))
        top, bottom = (min(max(v * sy, 0), transform.height) for v in (top, bottom))
        if right - left >= 1 and bottom - top >= 1:
            scaled = [value * (sy if k % 2 else sx) for k, value in enumerate(marks)]
            faces.append([confidence, left, top, right, bottom, *scaled])
    return faces


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def test_a_batch_gives_exactly_what_each_photo_gives(detector: Detector, photos: list[bytes]) -> None:
    assert detector.detect_batch(photos, ANY) == [detector.detect(data, ANY) for data in photos]


def test_infer_gives_exactly_what_detect_gives(detector: Detector, photos: list[bytes]) -> None:
    same = [photos[0], photos[4], photos[0]]
    prepared = [detector.prepare(data, ANY) for data in same]
    assert detector.infer(prepared, ANY) == [detector.detect(data, ANY) for data in same]


def test_threads_share_a_detector(detector: Detector, photos: list[bytes]) -> None:
    expected = [detector.detect(data, ANY) for data in photos]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda data: detector.detect(data, ANY), photos * 4)) == expected * 4


def test_options_hold_for_their_call(detector: Detector, photos: list[bytes]) -> None:
    before = detector.settings
    faces = detector.detect(photos[0], ANY).faces
    assert 0 < len(faces) <= 25
    three = detector.detect(photos[0], replace(ANY, max_detections=3)).faces
    assert three == faces[:3]
    middle = faces[len(faces) // 2].confidence
    above = detector.detect(photos[0], replace(ANY, confidence_threshold=middle)).faces
    assert above == tuple(face for face in faces if face.confidence >= middle)
    assert detector.detect(photos[0], DetectOptions(confidence_threshold=1.0)).faces == ()
    assert detector.settings is before


def test_info(detector: Detector, manifest: Manifest) -> None:
    package = manifest.package(detector.info.model)
    assert detector.info == ModelInfo(
        package.key, package.version, package.parameters, package.file("fp32").sha256, "cpu", "fp32"
    )


def test_warm_up(detector: Detector) -> None:
    detector.warm_up()


def test_load_by_name_wins_over_the_settings() -> None:
    assert Detector.load("v1", settings=Settings(model="nano", device="cpu")).info.model == "v1"


def test_load_from_a_folder(manifest: Manifest) -> None:
    assert Detector.load("nano", models=manifest.folder).info.model == "nano"


# ---------------------------------------------------------------- geometry, by a network of known answers


def _spots(
    width: int, height: int, size: int, cells: list[tuple[int, int]]
) -> tuple[Image.Image, np.ndarray]:
    """Return a photo that is white in some cells of the model's grid, and the boxes that have to come out."""
    scale = max(width, height) / size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    boxes = []
    for column, row in cells:
        left, top, right, bottom = (scale * 8 * v for v in (column, row, column + 1, row + 1))
        picture[round(top) : round(bottom), round(left) : round(right)] = 255
        # The prior is twice as large as its cell, around the same centre.
        boxes.append((left - 4 * scale, top - 4 * scale, right + 4 * scale, bottom + 4 * scale))
    return Image.fromarray(picture), np.array(boxes)


TURNED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["long_side", "square"])
@pytest.mark.parametrize(
    ("size", "photo"),
    [(320, (1283, 961)), (320, (240, 160)), (640, (901, 2560)), (416, (416, 300)), (320, (2600, 700))],
)
def test_spots_are_found_where_they_are(
    size: int, photo: tuple[int, int], fit: str, orientation: int, encode: Encode, spot_detector: MakeDetector
) -> None:
    """Up and down, reduced or whole, padded either way, turned any way: in pixels of the upright original."""
    scale = max(photo) / size
    columns, rows = int(photo[0] / scale / 8), int(photo[1] / scale / 8)
    cells = [(2, 1), (columns - 3, 2), (columns // 2, rows // 2), (3, rows - 3), (columns - 2, rows - 2)]
    upright, expected = _spots(*photo, size, cells)
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](np.asarray(upright))))
    data = encode(stored, "JPEG", orientation, quality=95)
    found = spot_detector(input_size=size, fit=fit).detect(data)
    assert (found.width, found.height) == photo
    boxes = np.array(sorted((f.box.left, f.box.top, f.box.right, f.box.bottom) for f in found.faces))
    limit = np.array([*photo, *photo])
    assert boxes.shape == expected.shape
    # Rounding the scaled size to whole pixels moves a point by half a model pixel at most.
    order = np.lexsort((expected[:, 1], expected[:, 0]))
    np.testing.assert_allclose(boxes, np.clip(expected[order], 0, limit), atol=0.75 * scale)
    for face in found.faces:
        # A network that regresses nothing puts all landmarks on the prior's centre.
        nose = face.landmarks.nose
        assert abs(nose.x - (face.box.left + face.box.right) / 2) <= 4.1 * scale
        assert abs(nose.y - (face.box.top + face.box.bottom) / 2) <= 4.1 * scale


def test_a_photo_without_a_face(encode: Encode, spot_detector: MakeDetector) -> None:
    assert spot_detector().detect(encode(Image.new("RGB", (64, 48)))) == Detections(64, 48)


def test_boxes_are_clipped_and_slivers_dropped(encode: Encode, spot_detector: MakeDetector) -> None:
    """White to the edges: priors at the corners reach out of the photo."""
    found = spot_detector(input_size=320).detect(encode(Image.new("RGB", (320, 160), "white")))
    assert found.faces
    for face in found.faces:
        assert face.box.left >= 0
        assert face.box.top >= 0
        assert face.box.right <= 320
        assert face.box.bottom <= 160
        assert min(face.box.width, face.box.height) >= 1
    assert min(face.box.left for face in found.faces) == 0


def test_the_threshold_is_inclusive(encode: Encode, spot_detector: MakeDetector) -> None:
    data = encode(_spots(320, 320, 320, [(10, 10)])[0])
    (face,) = spot_detector(input_size=320).detect(data).faces
    at = DetectOptions(confidence_threshold=face.confidence)
    above = DetectOptions(confidence_threshold=min(1.0, face.confidence + 1e-9))
    assert len(spot_detector(input_size=320).detect(data, at).faces) == 1
    assert len(spot_detector(input_size=320).detect(data, above).faces) == 0


def test_a_threshold_moves_no_face(detector: Detector) -> None:
    data = (PHOTOS / "group.jpg").read_bytes()
    low = detector.detect(data, DetectOptions(confidence_threshold=0.1)).faces
    high = detector.detect(data, DetectOptions(confidence_threshold=0.7)).faces
    assert high
    assert high == tuple(face for face in low if face.confidence >= 0.7)


# ---------------------------------------------------------------- batches


BROKEN = {
    b"": UnreadableImageError,
    b"GIF89a": UnsupportedFormatError,
    b"\xff\xd8\xff\xe0": UnreadableImageError,
}


def test_a_bad_photo_costs_only_itself(photos: list[bytes], detector: Detector) -> None:
    mixed = [next(iter(BROKEN)), photos[0], b"GIF89a", photos[1], b"\xff\xd8\xff\xe0"]
    results = detector.detect_batch(mixed, ANY)
    assert results[1] == detector.detect(photos[0], ANY)
    assert results[3] == detector.detect(photos[1], ANY)
    for data, result in zip(mixed, results, strict=True):
        if data in BROKEN:
            assert type(result) is BROKEN[data]
            with pytest.raises(ImageError):
                detector.detect(data)


def test_no_photo_gives_no_result(detector: Detector) -> None:
    assert detector.detect_batch([]) == []
    assert detector.infer([]) == []


def test_infer_refuses_what_cannot_share_a_batch(detector: Detector, photos: list[bytes]) -> None:
    wide, tall = detector.prepare(photos[0]), detector.prepare(photos[2])
    with pytest.raises(ValueError, match="up to 8 photos of a bucket; got 2 of"):
        detector.infer([wide, tall])
    with pytest.raises(ValueError, match="got 9 of"):
        detector.infer([wide] * 9)


class TestOnAGpu:
    """The grouping of a GPU, computed by the CPU: order and completeness do not depend on who multiplies."""

    @pytest.fixture
    def grouping(self, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> tuple[Detector, list[int]]:
        session = Session(manifest.package("nano").file("fp32").path.read_bytes(), device="cpu", threads=1)
        session.provider = "cuda"  # type: ignore[misc]
        sizes: list[int] = []
        run = session.run
        monkeypatch.setattr(session, "run", lambda batch: (sizes.append(len(batch)), run(batch))[1])
        info = ModelInfo("nano", "1", 0, "0" * 64, "cuda", "fp32")
        return Detector(session, info, Settings(input_size=320, batch_size=3)), sizes

    def test_photos_of_one_bucket_share_a_run(
        self, grouping: tuple[Detector, list[int]], photos: list[bytes]
    ) -> None:
        gpu, sizes = grouping
        alone = {data: gpu.detect(data, ANY) for data in photos}
        sizes.clear()
        order = [*photos, b"", photos[0], photos[0], photos[1], photos[0], photos[2], photos[4]]
        results = gpu.detect_batch(order, ANY)
        assert max(sizes) == 3
        assert len(sizes) < len(order)
        assert sum(sizes) == len(order) - 1
        assert isinstance(results.pop(5), ImageError)
        order.pop(5)
        for data, result in zip(order, results, strict=True):
            assert isinstance(result, Detections)
            assert (result.width, result.height) == (alone[data].width, alone[data].height)
            for face, other in zip(result.faces, alone[data].faces, strict=True):
                assert face.confidence == pytest.approx(other.confidence, abs=1e-4)

    def test_waiting_photos_are_bounded(
        self, grouping: tuple[Detector, list[int]], encode: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Photos of many shapes: none may wait for company for ever."""
        gpu, sizes = grouping
        waiting = most = 0
        prepare, infer = gpu.prepare, gpu.infer

        def counted(data: bytes, options: DetectOptions | None = None) -> object:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return prepare(data, options)

        def emptied(prepared: list[object], options: DetectOptions | None = None) -> object:
            nonlocal waiting
            waiting -= len(prepared)
            return infer(prepared, options)  # type: ignore[arg-type]

        monkeypatch.setattr(gpu, "prepare", counted)
        monkeypatch.setattr(gpu, "infer", emptied)
        shapes = [encode(Image.new("L", (320, 32 * (i % 10) + 1))) for i in range(40)]
        assert len(gpu.detect_batch(shapes)) == 40
        assert most <= 12
        assert sum(sizes) == 40


def test_a_network_that_computes_nonsense_is_an_error(encode: Encode, spot_detector: MakeDetector) -> None:
    """Not-a-number must not pass for a photo without faces."""
    detector = spot_detector(input_size=320)
    prepared = detector.prepare(encode(Image.new("RGB", (64, 64))))
    prepared.pixels[:, 3, 3] = np.nan
    with pytest.raises(ProviderError, match="not finite"):
        detector.infer([prepared])
