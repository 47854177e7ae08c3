import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from featherface import Detections, Detector, PreparedImage, ProviderError, Settings, UnreadableImageError
from featherface_batch.batching import BatchingFinder


class RecordingNetwork:
    """The real detector, and a list of the batches that went through it."""

    def __init__(self) -> None:
        self.detector = Detector.load(settings=Settings(input_size=320, confidence_threshold=0.02, threads=1))
        self.batches: list[list[PreparedImage]] = []
        self.fails = False

    def prepare(self, data: bytes) -> PreparedImage:
        return self.detector.prepare(data)

    def infer(self, prepared: list[PreparedImage]) -> list[Detections]:
        self.batches.append(prepared)
        if self.fails:
            raise ProviderError("the device is gone")
        return self.detector.infer(prepared)


def jpeg(seed: int, width: int, height: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


PHOTOS = [jpeg(seed, *((96, 64) if seed % 2 else (64, 96))) for seed in range(30)]


def test_each_thread_gets_its_own_photos_faces() -> None:
    network = RecordingNetwork()
    finder = BatchingFinder(network, 4)
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
        BatchingFinder(RecordingNetwork(), 4).detect(PHOTOS[0][:100])


def test_a_failing_device_fails_every_photo_of_the_batch_and_no_thread_hangs() -> None:
    network = RecordingNetwork()
    network.fails = True
    finder = BatchingFinder(network, 4)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(finder.detect, photo) for photo in PHOTOS[:6]]
        assert all(isinstance(future.exception(timeout=30), ProviderError) for future in futures)
