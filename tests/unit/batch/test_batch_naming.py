"""Pictures of different photos never have the same name."""

import string
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_batch.naming import picture_name

SUFFIXES = st.sampled_from(["", ".jpg", ".JPG", ".jpeg", ".png", ".webp", ".v2"])
STEMS = st.text(alphabet="ab", min_size=1, max_size=2)
FOLDERS = st.sampled_from(["", "a/", "a.jpg/", "../", "a//", "./"])
KEYS = st.builds("{}{}{}{}".format, FOLDERS, STEMS, SUFFIXES, SUFFIXES)


@given(st.lists(KEYS, unique=True, max_size=40))
def test_no_two_photos_have_pictures_of_one_name(keys: list[str]) -> None:
    names = [picture_name(key) for key in keys]
    assert len(set(names)) == len(names)
    for name in names:
        path = PurePosixPath(name)
        assert path.suffix.lower() in {".jpg", ".jpeg"}
        assert not path.is_absolute()
        assert ".." not in path.parts


@pytest.mark.parametrize(
    ("key", "name"),
    [("a/b.jpg", "a/b.jpg"), ("a/b.JPEG", "a/b.JPEG"), ("a/b.png", "a/b.png.jpg"), ("c.v2.jpg", "c.v2.jpg")],
)
def test_usual_photos_have_plain_names(key: str, name: str) -> None:
    assert picture_name(key) == name


@pytest.mark.parametrize("key", ["raw", "b.png.jpg", "../b.jpg", "a//b.jpg"])
def test_others_have_a_hash_in_theirs(key: str) -> None:
    start, digest, suffix = picture_name(key).rsplit(".", 2)
    assert PurePosixPath(start).name == PurePosixPath(key).name
    assert len(digest) == 12
    assert set(digest) <= set(string.hexdigits)
    assert suffix == "jpg"
