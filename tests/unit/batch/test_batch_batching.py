import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from featherface import Detections, Detector, PreparedImage, ProviderError, Settings, UnreadableImageError
from featherface_batch.batching import BatchingFinder
from featherface_batch.finders import load_detector


class RecordingNetwork:
    """The real detector, and a list of the batches that went through it."""

    def __init__(self) -> None:
        self.detector = Detector.load(settings=Settings(input_size=320, confidence_threshold=0.02, threads=1))
        self.batches: list[list[PreparedImage]] = []
        # with more photos at once than that
        self.most = 8

    def prepare(self, data: bytes) -> PreparedImage:
        return self.detector.prepare(data)

    def infer(self, prepared: list[PreparedImage]) -> list[Detections]:
        self.batches.append(prepared)
        if len(prepared) > self.most:
            raise ProviderError("the device has too little memory")
        return self.detector.infer(prepared)


def jpeg(seed: int, width: int, height: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


class NoSpare:
    """What a device that works has no need of."""

    def prepare(self, data: bytes) -> PreparedImage:
        raise AssertionError

    def infer(self, prepared: list[PreparedImage]) -> list[Detections]:
        raise ProviderError("there is no memory either")


PHOTOS = [jpeg(seed, *((96, 64) if seed % 2 else (64, 96))) for seed in range(30)]


def test_each_thread_gets_its_own_photos_faces() -> None:
    network = RecordingNetwork()
    finder = BatchingFinder(network, 4, NoSpare)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(finder.detect, PHOTOS))
    assert found == [network.detector.detect(photo) for photo in PHOTOS]
    assert sum(map(len, network.batches)) == len(PHOTOS)
    for batch in network.batches:
        assert 1 <= len(batch) <= 4
        assert len({image.bucket for image in batch}) == 1
    # While one batch is computed, others come: not every photo goes alone.
    assert len(network.batches) < len(PHOTOS)


def test_a_bad_photo_fails_in_its_own_thread() -> None:
    with pytest.raises(UnreadableImageError):
        BatchingFinder(RecordingNetwork(), 4, NoSpare).detect(PHOTOS[0][:100])


def test_photos_that_fail_together_are_searched_one_by_one() -> None:
    network = RecordingNetwork()
    network.most = 1
    finder = BatchingFinder(network, 4, NoSpare)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(finder.detect, PHOTOS))
    assert found == [network.detector.detect(photo) for photo in PHOTOS]
    assert max(map(len, network.batches)) > 1


def test_what_the_device_fails_on_the_spare_one_finds_and_a_broken_device_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, spare, made = RecordingNetwork(), RecordingNetwork(), []

    def make() -> RecordingNetwork:
        made.append(True)
        return spare

    broken.most = 0
    finder = BatchingFinder(broken, 4, make)
    found = [finder.detect(photo) for photo in PHOTOS[:2]]
    assert len(broken.batches) == 2
    broken.most = 8
    found.append(finder.detect(PHOTOS[2]))
    broken.most = 0
    found += [finder.detect(photo) for photo in PHOTOS[3:9]]
    assert found == [spare.detector.detect(photo) for photo in PHOTOS[:9]]
    # it worked in between, so three failures in a row come later
    assert len(broken.batches) == 3 + 3
    assert made == [True]
    told = [record.message for record in caplog.records]
    assert [message.rpartition("takes over ")[2] for message in told] == ["for this photo"] * 4 + [
        "from now on"
    ]


class OnGpu(RecordingNetwork):
    """A detector that says what it runs on."""

    loaded: ClassVar[list[str]] = []

    @classmethod
    def load(cls, *, settings: Settings) -> "OnGpu":
        cls.loaded.append(settings.device)
        made = cls()
        made.most = 8 if settings.device == "cpu" else 0
        return made

    @property
    def info(self) -> SimpleNamespace:
        return SimpleNamespace(provider="cpu" if self.most else "cuda")


def test_the_spare_of_a_gpu_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherface_batch.finders.Detector", OnGpu)
    monkeypatch.setattr(OnGpu, "loaded", [])
    finder = load_detector(Settings(device="cuda"))
    assert isinstance(finder, BatchingFinder)
    assert OnGpu.loaded == ["cuda"]
    assert finder.detect(PHOTOS[0]) == RecordingNetwork().detector.detect(PHOTOS[0])
    assert OnGpu.loaded == ["cuda", "cpu"]


def test_where_nothing_works_every_photo_fails_and_no_thread_hangs() -> None:
    network = RecordingNetwork()
    network.most = 0
    finder = BatchingFinder(network, 4, NoSpare)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(finder.detect, photo) for photo in PHOTOS[:6]]
        assert all(isinstance(future.exception(timeout=30), ProviderError) for future in futures)
