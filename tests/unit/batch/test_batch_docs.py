"""What the documents say of the bulk job's codes, and of what a shard asks of a store."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from featherface import Detections, ImageError, ProviderError, Settings
from featherface_batch.errors import PhotoError, StorageError
from featherface_batch.ledger import Ledger
from featherface_batch.pipeline import _ShardActor
from featherface_batch.plan import Shard
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Options
from featherface_batch.storage import LocalStorage
from featherface_batch.worker import WorkerConfig

DOCS = Path(__file__).parents[3] / "docs"


def test_every_code_that_a_photo_can_end_with_is_explained() -> None:
    text = (DOCS / "batch.md").read_text()
    table = text[text.index("| code | meaning |") : text.index("`_SUCCESS` appears when")]
    explained = {code for row in table.split("\n|") for code in re.findall("`([a-z_]+)`", row.split("|")[0])}
    errors = [*PhotoError.__subclasses__(), *ImageError.__subclasses__(), StorageError, ProviderError]
    assert explained == {error.code for error in errors} | {"internal", "out_of_memory"}


class CountingStorage(LocalStorage):
    """Counts what would be requests of S3."""

    requests: ClassVar[Counter[str]] = Counter()

    def write(self, name: str, data: bytes) -> None:
        self.requests["PUT"] += 1
        super().write(name, data)

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        self.requests["PUT"] += len(files)
        super().write_many(files)

    def names(self, folder: str) -> Iterator[str]:
        self.requests["LIST"] += 1
        return iter(list(LocalStorage(self.folder).names(folder)))


class Finder:
    def detect(self, data: bytes) -> Detections:
        return Detections(10, 10)


def test_a_shard_asks_as_much_of_the_store_as_the_plan_for_a_billion_says(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    config = WorkerConfig(Settings(), S3Options(), load=lambda _: Finder())
    storage = CountingStorage(tmp_path / "out")
    actor = _ShardActor(Ledger(storage), config, None, 0)
    actor._annotate(Shard("0", 0, (Photo("a.jpg", str(tmp_path / "a.jpg"), 1),)))
    actor._worker.close()
    assert storage.requests == {"PUT": 2, "LIST": 2}
    assert "2 PUT, 2 LIST per shard" in (DOCS / "scale.md").read_text()
