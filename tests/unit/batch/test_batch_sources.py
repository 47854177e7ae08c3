import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import orc, parquet

from featherface import ImageTooLargeError, UnsupportedFormatError
from featherface_batch.errors import SourceError, UsageError
from featherface_batch.fetch import fetch
from featherface_batch.local import local_path
from featherface_batch.plan import plan_photos, read_part
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Address, S3Options
from featherface_batch.sources import FolderSource, LimitedSource, PrefixSource, open_source, prefix
from featherface_batch.sources.reading import columnar_rows
from featherface_batch.storage import LocalStorage

JPEG = b"\xff\xd8\xff"


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return folder


def test_a_folder_lists_photos_in_a_fixed_order_with_their_sizes(tmp_path: Path) -> None:
    make(
        tmp_path,
        "b.JPG",
        "a/2.png",
        "a/1.webp",
        "a/deep/er.jpeg",
        "notes.txt",
        ".hidden.jpg",
        ".cache/x.jpg",
        "raw",
    )
    photos = list(open_source(str(tmp_path), S3Options()).photos(""))
    assert [photo.key for photo in photos] == ["a/1.webp", "a/2.png", "a/deep/er.jpeg", "b.JPG", "raw"]
    assert [photo.size for photo in photos] == [len(photo.key) for photo in photos]
    assert all(Path(photo.location).read_bytes() == photo.key.encode() for photo in photos)


def test_no_two_photos_of_a_folder_have_one_key(tmp_path: Path) -> None:
    for name in (b"a\xff.jpg", b"a%FF.jpg", b"b\xff.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    photos = {photo.key: photo for photo in FolderSource(tmp_path).photos("")}
    uri = f"{tmp_path.as_uri()}/a%FF.jpg"
    assert set(photos) == {"a%FF.jpg", uri, "b%FF.jpg"}
    assert photos["a%FF.jpg"].location == str(tmp_path / "a%FF.jpg")
    assert photos[uri].location == uri
    assert local_path(photos[uri].location).read_bytes() == b"a\xff.jpg"


def test_no_two_photos_of_a_manifest_have_one_key(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\nphotos/a.jpg\ns3://photos/a.jpg\nphotos/a.jpg\nphotos/b.jpg\n")
    photos = list(open_source(str(manifest), S3Options()).photos(""))
    assert [photo.key for photo in photos] == ["photos/a.jpg", "s3://photos/a.jpg", "photos/b.jpg"]
    assert len({photo.location for photo in photos}) == 3


def test_a_link_to_a_folder_is_no_photo_and_a_link_to_nowhere_is(tmp_path: Path) -> None:
    make(tmp_path, "folder/a.jpg", "b.jpg")
    (tmp_path / "like.jpg").symlink_to(tmp_path / "folder")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "b.jpg")
    sizes = {photo.key: photo.size for photo in FolderSource(tmp_path).photos("")}
    assert sizes == {"b.jpg": 5, "folder/a.jpg": 12, "gone.jpg": None, "link.jpg": 5}


def test_formats_that_the_detector_does_not_read_are_listed_so_that_they_get_a_record(tmp_path: Path) -> None:
    make(tmp_path, "a.gif", "b.heic", "c.tiff")
    assert len(list(FolderSource(tmp_path).photos(""))) == 3


def test_what_cameras_write_is_a_photo_and_has_a_record(tmp_path: Path) -> None:
    names = ["a.CR2", "a.dng", "b.NEF", "c.raw", "d.raf"]
    make(tmp_path, *names, "a.xmp", "b.mp4")
    photos = list(FolderSource(tmp_path).photos(""))
    assert [photo.key for photo in photos] == names


@pytest.mark.parametrize("name", ["a.dng", "a.tif"])
def test_a_large_photo_of_a_format_that_is_not_read_is_told_as_that(tmp_path: Path, name: str) -> None:
    for content, error in (
        (b"II*\0" + bytes(99), UnsupportedFormatError),
        (JPEG + bytes(99), ImageTooLargeError),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error):
            fetch(Photo(name, str(tmp_path / name)), S3Options(), max_bytes=50, deadline=0)
    (tmp_path / "a.jpg").write_bytes(b"II*\0" + bytes(99))
    with pytest.raises(ImageTooLargeError, match="has 103 bytes; the limit is 50"):
        fetch(Photo("a.jpg", str(tmp_path / "a.jpg")), S3Options(), max_bytes=50, deadline=0)


def test_links_to_photos_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "circle").symlink_to(tmp_path)
    assert [(photo.key, photo.size) for photo in FolderSource(tmp_path).photos("")] == [
        ("a.jpg", 5),
        ("gone.jpg", None),
        ("link.jpg", 5),
    ]


def test_a_name_of_another_code_page_costs_nobody_anything(tmp_path: Path) -> None:
    folder = make(tmp_path / "photos", "ok é%.jpg")
    strange = os.fsdecode(b"caf\xe9 %.jpg")
    make(folder / os.fsdecode(b"\xfcber"), strange)
    storage = LocalStorage(tmp_path / "out")
    (part,) = plan_photos(FolderSource(folder).photos(""), 0, storage)
    (shard,) = read_part(part.name, storage)
    assert {photo.key for photo in shard.photos} == {"ok é%.jpg", "%FCber/caf%E9%20%25.jpg"}
    fetched = {fetch(photo, S3Options(), max_bytes=99, deadline=0) for photo in shard.photos}
    assert fetched == {"ok é%.jpg".encode(), os.fsencode(strange)}


def test_a_manifest_may_name_photos_as_outputs_do(tmp_path: Path) -> None:
    folder = make(tmp_path / "photos", "a b.jpg", os.fsdecode(b"caf\xe9.jpg"))
    photos = list(FolderSource(folder).photos(""))
    places = [*(photo.location for photo in photos), f"file://localhost{folder}/a%20b.jpg"]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"location": place}) + "\n" for place in places))
    named = list(open_source(str(tmp_path / "list.jsonl"), S3Options()).photos(""))
    assert [photo.location for photo in named] == [photo.location for photo in photos], "none twice"
    assert {photo.key for photo in named} == {f"{folder}/a b.jpg", f"{folder}/caf%E9.jpg"}
    for photo in named:
        fetch(photo, S3Options(), max_bytes=99, deadline=0)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("latin.csv", "path\ncafé.jpg\n".encode("latin-1"), "must be text in UTF-8"),
        ("cut.csv.gz", gzip.compress(b"path\n" + b"a.jpg\n" * 999)[:-9], "cannot be read to its end"),
        ("cut.jsonl.gz", gzip.compress(b'{"path": "a.jpg"}\n' * 999)[:-9], "cannot be read to its end"),
        ("spoilt.csv.gz", gzip.compress(b"path\na.jpg\n")[:-8] + bytes(8), "cannot be read to its end"),
        ("half.jsonl", b'{"path": "\\ud800.jpg"}\n', "row 1 of .* holds half a character"),
        ("deep.jsonl", b"[" * 100_000, "line 1 of .* is not JSON"),
    ],
    # gzip's bytes hold the time, and names of tests must not
    ids=["latin", "cut csv", "cut json", "spoilt", "half", "deep"],
)
def test_a_manifest_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    source = open_source(str(tmp_path / name), S3Options())
    with pytest.raises(SourceError, match=reason):
        list(source.photos(""))


@pytest.mark.parametrize(("kind", "write"), [("parquet", parquet.write_table), ("orc", orc.write_table)])
def test_damage_anywhere_in_a_columnar_listing_is_told_with_its_name(
    kind: str, write: Callable[[pa.Table, io.BytesIO], None]
) -> None:
    places = [f"s3://bucket/é/{number:06d}.jpg" for number in range(2000)]
    whole = io.BytesIO()
    write(pa.table({"location": places}), whole)
    said = []
    for position in [*range(4, 2000, 97), *range(len(whole.getvalue()) - 400, len(whole.getvalue()))]:
        damaged = bytearray(whole.getvalue())
        damaged[position] ^= 0xA5
        try:
            list(columnar_rows(io.BytesIO(damaged), f"list.{kind}", kind, frozenset({"location"})))
        except SourceError as error:
            said.append(str(error))
    assert len(said) > 50
    assert all(f"list.{kind}" in message for message in said)


@pytest.mark.parametrize("place", ["https://example.com/photos", "gs://bucket/photos"])
def test_an_address_that_is_not_s3_s_is_refused_with_what_is_read(place: str) -> None:
    with pytest.raises(SourceError, match=f"a folder, s3://bucket/prefix, or a manifest .*; got {place}"):
        open_source(place, S3Options())


@pytest.mark.parametrize("size", ["9" * 20, "9" * 4000, "-1", '"many"', "null", "1.5"])
def test_a_size_that_is_none_costs_nobody_the_listing(tmp_path: Path, size: str) -> None:
    rows = f'{{"path": "a.jpg", "size": {size}}}\n', '{"path": "b.jpg", "size": 7}\n'
    (tmp_path / "list.jsonl").write_text("".join(rows))
    source = open_source(str(tmp_path / "list.jsonl"), S3Options())
    storage = LocalStorage(tmp_path / "out")
    (part,) = plan_photos(source.photos(""), 0, storage)
    (shard,) = read_part(part.name, storage)
    assert [photo.size for photo in shard.photos] == [None, 7]


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no"):
        open_source(str(tmp_path / "nowhere"), S3Options())


def test_one_photo_is_not_a_source(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match="featherface detect"):
        open_source(str(tmp_path / "a.jpg"), S3Options())


@dataclass
class Days:
    """A source of three partitions of three photos, which notes what was asked for."""

    asked: list[str] = field(default_factory=list)
    name = "s3://days/"

    def partitions(self) -> list[str]:
        return ["mon", "tue", "wed"]

    def photos(self, partition: str) -> Iterator[Photo]:
        for number in range(3):
            self.asked.append(f"{partition}/{number}")
            yield Photo(self.asked[-1], f"s3://days/{self.asked[-1]}")

    def in_order(self) -> Iterator[Photo]:
        return (photo for partition in self.partitions() for photo in self.photos(partition))


@pytest.mark.parametrize("limit", [1, 3, 4, 9, 100])
def test_a_limited_source_is_the_beginning_of_a_whole_one_and_asks_for_no_more(limit: int) -> None:
    days = Days()
    source = LimitedSource(days, limit)
    (partition,) = source.partitions()
    photos = list(source.photos(partition))
    whole = [photo for day in days.partitions() for photo in Days().photos(day)]
    assert photos == whole[:limit]
    assert days.asked == [photo.key for photo in photos]
    assert source.name == days.name


class Pages:
    """Answers listings as S3 does, ten entries a page, and counts the pages."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        self.asked = 0

    def __call__(self, source: PrefixSource, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        entries: dict[str, bool] = {}
        for key in self.keys:
            head, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            if key.startswith(prefix):
                entries[prefix + head + cut if cut else key] = bool(cut)
        names = list(entries)
        for start in range(0, max(len(names), 1), 10):
            self.asked += 1
            page = names[start : start + 10]
            yield {
                "Contents": [{"Key": name, "Size": 1} for name in page if not entries[name]],
                "CommonPrefixes": [{"Prefix": name} for name in page if entries[name]],
            }


PARTS = st.sampled_from(["a", "b", "c", *(str(number) for number in range(30))])
KEYS = st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: f"{'/'.join(parts)}.jpg")


@given(st.lists(KEYS, unique=True, max_size=200))
def test_partitions_hold_every_key_of_a_bucket_once(keys: list[str]) -> None:
    source = PrefixSource.parse("s3://bucket", S3Options())
    with pytest.MonkeyPatch.context() as patch:
        pages = Pages(keys)
        patch.setattr(PrefixSource, "_pages", lambda *asked: pages(*asked))
        patch.setattr(prefix, "_FLAT_PAGES", 2)
        found = [photo.key for partition in source.partitions() for photo in source.photos(partition)]
        assert sorted(found) == sorted(keys)
        assert sorted(photo.key for photo in source.in_order()) == sorted(keys)


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_a_flat_bucket_is_not_listed_twice(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages([f"{folder}{number:05d}.jpg" for number in range(2000)])
    monkeypatch.setattr(PrefixSource, "_pages", lambda *asked: pages(*asked))
    source = PrefixSource.parse("s3://bucket", S3Options())
    assert source.partitions() == [""]
    # fifty pages and the one after them, and one that shows the folder
    assert pages.asked <= 52


def test_a_few_photos_of_a_flat_bucket_are_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages([f"{number:05d}.jpg" for number in range(2000)])
    monkeypatch.setattr(PrefixSource, "_pages", lambda *asked: pages(*asked))
    source = LimitedSource(PrefixSource.parse("s3://bucket", S3Options()), 7)
    assert len([photo for partition in source.partitions() for photo in source.photos(partition)]) == 7
    assert pages.asked == 1


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "bucket/key"])
def test_an_address_needs_a_bucket(text: str) -> None:
    with pytest.raises(UsageError, match="s3://bucket/prefix"):
        S3Address.parse(text)


def test_an_address_has_children() -> None:
    assert str(S3Address.parse("s3://bucket/a").child("b/c")) == "s3://bucket/a/b/c"
    assert str(S3Address.parse("s3://bucket/a/").child("b")) == "s3://bucket/a/b"
    assert str(S3Address.parse("s3://bucket").child("b")) == "s3://bucket/b"
