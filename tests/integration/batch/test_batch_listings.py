"""Sources that are read over HTTP, from a real S3 server."""

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import orc, parquet

from featherface import UnsupportedFormatError
from featherface_batch.errors import SourceError
from featherface_batch.fetch import fetch
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Options
from featherface_batch.sources import Source, open_source


@pytest.fixture
def options(s3_endpoint: str) -> S3Options:
    return S3Options(endpoint_url=s3_endpoint)


@pytest.fixture
def bucket(s3: Any) -> Any:
    s3.create_bucket(Bucket="photos")
    return lambda key, body=b"x": s3.put_object(Bucket="photos", Key=key, Body=body)


def listed(source: Source) -> list[Photo]:
    return [photo for partition in source.partitions() for photo in source.photos(partition)]


def keys(source: Source) -> list[str]:
    return [photo.key for photo in listed(source)]


def test_a_prefix_is_cut_into_partitions_that_lose_and_repeat_nothing(
    bucket: Any, options: S3Options
) -> None:
    wanted = [
        f"set/{year}/{month:02d}/{n}.jpg" for year in (2024, 2025) for month in range(1, 13) for n in (1, 2)
    ]
    wanted += ["set/loose.jpg", "set/2024/loose.jpg", "set/a+b c%20é/ü.jpg"]
    for key in [*wanted, "set/notes.txt", "set/2024/", "settled/other.jpg"]:
        bucket(key)
    source = open_source("s3://photos/set", options)
    assert len(source.partitions()) > 20
    assert sorted(keys(source)) == sorted(key.removeprefix("set/") for key in wanted)
    assert {photo.location for photo in listed(source)} == {f"s3://photos/{key}" for key in wanted}


@pytest.mark.parametrize("flat", [["1.jpg", "2.jpg"], ["deep/er/1.jpg"], []])
def test_a_prefix_without_branches_is_one_partition(bucket: Any, options: S3Options, flat: list[str]) -> None:
    for key in flat:
        bucket(key)
    source = open_source("s3://photos", options)
    assert keys(source) == flat
    assert len(source.partitions()) == 1


HIDDEN = [".a.jpg", ".bin/a.jpg", "x/.cache/a.jpg", "x/.cache/deep/a.jpg", "x/.a.jpg", ".bin/.a.jpg"]
SHOWN = ["b.jpg", "x/a.b/c.jpg", "x/c.v2.jpg", "x/y/z.dng"]


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
def test_what_is_hidden_is_hidden_in_folders_buckets_and_inventories(
    tmp_path: Path, bucket: Any, options: S3Options, make_inventory: Any, many: bool
) -> None:
    shown = [*SHOWN, *(f"z{number}/1.jpg" for number in range(20 if many else 0))]
    for key in (*HIDDEN, *shown):
        path = tmp_path / ".own" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        bucket(f".own/{key}")
    prefix = open_source("s3://photos/.own", options)
    assert sorted(keys(open_source(str(tmp_path / ".own"), options))) == sorted(shown)
    assert sorted(keys(prefix)) == sorted(photo.key for photo in prefix.in_order()) == sorted(shown)
    assert not [name for name in prefix.partitions() if ".bin" in name]
    rows = [{**INVENTORY[0], "key": key} for key in (*HIDDEN, *shown)]
    data = inventory("Parquet", rows)
    bucket("inventory/data/all", data)
    place = make_inventory("Parquet", files=[{"key": "inventory/data/all"}])
    assert keys(open_source(place, options)) == shown


def test_keys_that_hold_dots_for_folders_are_not_hidden(bucket: Any, options: S3Options) -> None:
    for key in ("./a.jpg", "x/../b.jpg"):
        bucket(key)
    assert sorted(keys(open_source("s3://photos", options))) == ["./a.jpg", "x/../b.jpg"]


def test_a_large_photo_of_a_camera_is_of_another_format(bucket: Any, options: S3Options) -> None:
    bucket("a.nef", b"MM\0*" + bytes(99))
    (photo,) = listed(open_source("s3://photos", options))
    with pytest.raises(UnsupportedFormatError, match="this is TIFF"):
        fetch(photo, options, max_bytes=50, deadline=float("inf"))


def test_more_keys_than_a_page_holds(bucket: Any, options: S3Options) -> None:
    for number in range(1005):
        bucket(f"{number:05d}.jpg", b"")
    assert len(keys(open_source("s3://photos", options))) == 1005


ROWS = [{"location": "s3://a/1.jpg", "size": 7}, {"location": "s3://b/2 é.jpg", "size": 8}]


def csv_text(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{','.join(map(str, row))}\n" for row in [list(rows[0]), *(row.values() for row in rows)])


def as_bytes(suffix: str, rows: list[dict[str, Any]]) -> bytes:
    if suffix == ".parquet":
        buffer = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()
    text = csv_text(rows) if suffix == ".csv" else "".join(f"{json.dumps(row)}\n" for row in rows)
    return text.encode()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_manifest_of_any_kind_names_the_same_photos(
    tmp_path: Path, bucket: Any, options: S3Options, suffix: str, packed: bool, remote: bool
) -> None:
    data, name = as_bytes(suffix, ROWS), f"list{suffix}"
    if packed and suffix != ".parquet":
        data, name = gzip.compress(data), f"{name}.gz"
    bucket(f"lists/{name}", data)
    (tmp_path / name).write_bytes(data)
    source = open_source(f"s3://photos/lists/{name}" if remote else str(tmp_path / name), options)
    assert listed(source) == [Photo("a/1.jpg", "s3://a/1.jpg", 7), Photo("b/2 é.jpg", "s3://b/2 é.jpg", 8)]


def test_a_manifest_in_a_bucket_names_no_files_of_the_machine(bucket: Any, options: S3Options) -> None:
    bucket("list.csv", b"path\nfile:///etc/passwd\n")
    with pytest.raises(SourceError, match=r"row 1 of .* must be a path or s3://bucket/key; got file:///"):
        keys(open_source("s3://photos/list.csv", options))


def test_rekognitions_manifest(tmp_path: Path) -> None:
    row = {
        "source-ref": "s3://bucket/photo.jpg",
        "bounding-box": {"image_size": []},
        "metadata": {"job": "x"},
    }
    (tmp_path / "output.manifest").write_text(json.dumps(row) + "\n\n")
    assert listed(open_source(str(tmp_path / "output.manifest"), S3Options())) == [
        Photo("bucket/photo.jpg", "s3://bucket/photo.jpg")
    ]


@pytest.mark.parametrize(
    ("text", "photo"),
    [
        ("bucket,a/b c.jpg\n", Photo("bucket/a/b c.jpg", "s3://bucket/a/b c.jpg")),
        ("s3://bucket/a.jpg\n", Photo("bucket/a.jpg", "s3://bucket/a.jpg")),
        ("\ufeffpath,note\nsub/a.jpg,hello\n", Photo("sub/a.jpg", "HERE/sub/a.jpg")),
        ('Key,Bucket\n"a,b.jpg",bucket\n', Photo("bucket/a,b.jpg", "s3://bucket/a,b.jpg")),
        ("file_name\n/somewhere/a.jpg\n", Photo("/somewhere/a.jpg", "/somewhere/a.jpg")),
        ("\n\na.jpg\n", Photo("a.jpg", "HERE/a.jpg")),
        ("0001\n", Photo("0001", "HERE/0001")),
        ("my.bucket-1,0001\n", Photo("my.bucket-1/0001", "s3://my.bucket-1/0001")),
    ],
)
def test_a_csv_file_with_and_without_heading(tmp_path: Path, text: str, photo: Photo) -> None:
    (tmp_path / "list.csv").write_text(text)
    (found,) = listed(open_source(str(tmp_path / "list.csv"), S3Options()))
    assert found == Photo(photo.key, photo.location.replace("HERE", str(tmp_path)))


@pytest.mark.parametrize(
    "first",
    [
        "id,image_path\n1,a/rocket.jpg",
        "name,image_path\ncat,a/rocket.jpg",
        "path;label\na/rocket.jpg;cat",
        "path\tlabel\na/rocket.jpg\tcat",
        "image_path\na/rocket.jpg",
        "1,a/rocket.jpg",
        "Cats,a/rocket.jpg",
        "bucket,a/rocket.jpg,17",
        "bucket,object\nphotos,a/rocket.jpg",
    ],
)
def test_a_csv_file_whose_columns_nobody_knows_is_refused(tmp_path: Path, first: str) -> None:
    (tmp_path / "list.csv").write_text(f"{first}\n")
    named = ", ".join(first.splitlines()[0].split(","))
    with pytest.raises(SourceError, match=rf"first row of .*list\.csv must be a heading .*; got {named}$"):
        listed(open_source(str(tmp_path / "list.csv"), S3Options()))


def test_a_photo_that_is_named_twice_is_annotated_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\na.jpg\nb.jpg\na.jpg\n")
    assert keys(open_source(str(tmp_path / "list.csv"), S3Options())) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "list.jsonl",
            b'{"path": "a.jpg"}\n{"colour": "red"}\n',
            "row 2 of .* names no photo.*it has colour",
        ),
        ("list.jsonl", b"{oops\n", "line 1 of .* is not JSON"),
        ("list.jsonl", b"[1]\n", "line 1 of .* must be a JSON object, got list"),
        ("list.parquet", b"PAR?", "is not a parquet file"),
        ("list.csv", b"url\nftp://host/a.jpg\n", "must be a path, file:///path or s3://bucket/key; got ftp"),
        ("list.csv", b"url\nfile://host/a.jpg\n", "must be a path, file:///path or .*; got file://host"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_where(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        listed(open_source(str(tmp_path / name), S3Options()))


def test_a_manifest_that_is_not_there_is_named(options: S3Options, bucket: Any) -> None:
    with pytest.raises(SourceError, match=r"s3://photos/none\.csv cannot be read"):
        listed(open_source("s3://photos/none.csv", options))


INVENTORY = [
    {"bucket": "photos", "key": "a/1 ü+.jpg", "size": 5, "is_latest": True, "is_delete_marker": False},
    {"bucket": "photos", "key": "a/1 ü+.jpg", "size": 4, "is_latest": False, "is_delete_marker": False},
    {"bucket": "photos", "key": "a/gone.jpg", "size": None, "is_latest": True, "is_delete_marker": True},
    {"bucket": "photos", "key": "a/notes.txt", "size": 9, "is_latest": True, "is_delete_marker": False},
    {"bucket": "photos", "key": "a/", "size": 0, "is_latest": True, "is_delete_marker": False},
    {"bucket": "photos", "key": "b/2.png", "size": 6, "is_latest": True, "is_delete_marker": False},
]


def inventory(kind: str, rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    if kind == "Parquet":
        parquet.write_table(pa.Table.from_pylist(rows), buffer)
    elif kind == "ORC":
        orc.write_table(pa.Table.from_pylist(rows), buffer)
    else:
        encoded = [
            {**row, "key": row["key"].replace("+", "%2B").replace("ü", "%C3%BC").replace(" ", "+")}
            for row in rows
        ]
        lines = (
            ",".join(
                '"' + ("" if v is None else str(v).lower() if isinstance(v, bool) else str(v)) + '"'
                for v in row.values()
            )
            for row in encoded
        )
        return gzip.compress("\n".join(lines).encode())
    return buffer.getvalue()


@pytest.fixture
def make_inventory(bucket: Any) -> Any:
    def make(kind: str, **changes: Any) -> str:
        files = []
        for number, rows in enumerate((INVENTORY[:3], INVENTORY[3:])):
            data = inventory(kind, rows)
            key = f"inventory/data/{number}"
            bucket(key, data)
            files.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
        manifest = {
            "sourceBucket": "photos",
            "destinationBucket": "arn:aws:s3:::photos",
            "fileFormat": kind,
            "fileSchema": "Bucket, Key, Size, IsLatest, IsDeleteMarker",
            "files": files,
            **changes,
        }
        bucket("inventory/manifest.json", json.dumps(manifest).encode())
        return "s3://photos/inventory/manifest.json"

    return make


@pytest.mark.parametrize("kind", ["CSV", "ORC", "Parquet"])
def test_an_inventory_lists_what_exists(make_inventory: Any, options: S3Options, kind: str) -> None:
    source = open_source(make_inventory(kind), options)
    assert source.partitions() == ["inventory/data/0", "inventory/data/1"]
    assert listed(source) == [
        Photo("a/1 ü+.jpg", "s3://photos/a/1 ü+.jpg", 5),
        Photo("b/2.png", "s3://photos/b/2.png", 6),
    ]


def test_a_data_file_that_changed_is_refused(make_inventory: Any, options: S3Options, bucket: Any) -> None:
    place = make_inventory("CSV")
    bucket("inventory/data/1", b"other bytes")
    with pytest.raises(SourceError, match="should have the MD5"):
        listed(open_source(place, options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fileFormat": "XML"}, "format CSV, ORC or Parquet; got xml"),
        ({"fileSchema": "Bucket, Size"}, "needs a column Key"),
    ],
)
def test_another_inventory_is_refused(
    make_inventory: Any, options: S3Options, changes: Any, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        listed(open_source(make_inventory("CSV", **changes), options))


def test_any_other_json_is_no_inventory(bucket: Any, options: S3Options) -> None:
    bucket("x/manifest.json", b'{"name": "web app"}')
    with pytest.raises(SourceError, match="not an S3 Inventory's manifest: it lacks destinationBucket"):
        listed(open_source("s3://photos/x/manifest.json", options))
