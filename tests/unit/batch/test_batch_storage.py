"""What a disk refuses is told as an error of the storage, with its reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from featherface.cli import main
from featherface_batch.errors import SourceError, StorageError, UsageError
from featherface_batch.s3 import S3Options
from featherface_batch.sources import open_source
from featherface_batch.storage import LocalStorage, open_storage

LONG = "n" * 300


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/dev/null/out", "Not a directory"),
        (f"/tmp/{LONG}", "File name too long"),
        ("~nobody.here/x", "home"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    place: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=f"cannot be one: .*{reason}"):
        open_storage(place, S3Options())
    with pytest.raises(SourceError, match=f"cannot be opened: .*{reason}"):
        open_source(place, S3Options())
    assert main(["annotate", str(tmp_path), "--output", place]) == 2
    assert "[usage]" in capsys.readouterr().err
    assert main(["annotate", place, "--output", str(tmp_path / "out")]) == 2
    assert "[source]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda storage: storage.read("file/a"), "read: Not a directory"),
        (lambda storage: storage.write("file/a", b"x"), "a folder: File exists"),
        (lambda storage: storage.create("file/a", b"x"), "a folder: File exists"),
        (lambda storage: storage.delete("file/a"), "deleted: Not a directory"),
        (lambda storage: list(storage.names("file")), "listed: Not a directory"),
    ],
    ids=["read", "write", "create", "delete", "list"],
)
def test_a_file_in_the_place_of_a_folder_is_the_reason(
    act: Callable[[LocalStorage], object], reason: str, tmp_path: Path
) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("file", b"x")
    with pytest.raises(StorageError, match=rf"/file.* cannot be {reason}"):
        act(storage)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_not_there_is_no_error_of_the_disk(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        storage.read("a/b")
    assert list(storage.names("a")) == []
    storage.delete("a/b")
    storage.sweep()


def test_a_piece_that_cannot_be_read_is_the_one_that_is_named(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    with pytest.raises(StorageError, match=r"/pieces/1 cannot be read: No such file"):
        storage.concatenate("whole", ["pieces/1"])
    assert list(storage.names("")) == []


def test_a_failing_file_is_named_and_not_the_one_that_is_open_beside_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("labels/a.txt", b"x")
    with pytest.raises(StorageError, match=r"labels/a\.txt cannot be a folder"), storage.writer("lines"):
        storage.write_many([("labels/a.txt/b.txt", b"x")])
