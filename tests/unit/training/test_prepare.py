import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

cv2 = pytest.importorskip("cv2")
np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("onnx")

from featherface.packages import find_models_folder  # noqa: E402
from featherface_training.data.annotations import read_annotations, split_source  # noqa: E402
from featherface_training.data.repositories import Taken, extract  # noqa: E402
from featherface_training.data.wider import LabelError  # noqa: E402
from featherface_training.model_card import NAMES  # noqa: E402
from featherface_training.prepare import main, read_collection  # noqa: E402
from featherface_training.reproduce import main as reproduce  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="photos come out of git repositories")

ROOT = Path(__file__).parents[3]
LIST = r"""
[folders]
wider = [{ repository = "a/wider", take = '^WIDER_train/' }]
people = [
    { repository = "a/people", take = '^photos/.*\.png$', strip = '^photos/' },
    { repository = "b/people", take = '\.png$' },
]
masks = [{ repository = "b/masks", take = '\.jpg$' }]
gone = [{ repository = "b/nowhere", take = '.' }]
measured = [{ repository = "a/people", take = '^held/' }]
sizes = [{ repository = "a/wider", take = '\.xml$' }]
[labels]
people = { photos = "people", detectors = ["tiny", "yunet"], size = 64, accept = 0.5, negatives = true }
gone = { photos = "gone", detectors = ["tiny", "yunet"] }
[gathered]
more = { known = "wider", folders = ["masks"], stretched = [], sizes = "sizes" }
"""


def png(shade: int, width: int = 64) -> bytes:
    return cv2.imencode(".png", np.full((64, width, 3), shade, np.uint8))[1].tobytes()


def git(place: Path, *arguments: str) -> None:
    # nobody's own settings
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(
        ["git", "-C", place, *author, *arguments], check=True, env=environment, capture_output=True
    )


def commit(place: Path, files: dict[str, bytes | None]) -> None:
    """Make a commit of these files; None deletes one."""
    if not place.exists():
        place.mkdir(parents=True)
        git(place, "init")
    for name, content in files.items():
        path = place / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    git(place, "add", "--all")
    git(place, "commit", "--message", "a step")


@pytest.fixture
def prepare(tmp_path, peers):
    jpeg = cv2.imencode(".jpg", np.zeros((8, 1024, 3), np.uint8))[1].tobytes()
    origin = tmp_path / "origin"
    commit(origin / "a/wider", {"WIDER_train/images/0--P/a.jpg": jpeg, "xml/b.xml": b"<a/>"})
    commit(
        origin / "a/people", {"photos/deep/é 1.png": png(3), "held/2.png": png(4), "photos/no.txt": b"text"}
    )
    commit(origin / "b/people", {"3.png": png(5)})
    commit(origin / "b/masks", {"JPEGImages/b.jpg": jpeg})
    labels = tmp_path / "label.txt"
    labels.write_text("# 0--P/a.jpg\n1 2 3 4\n# 9--Q/b.jpg\n1 2 30 40\n")
    told = tmp_path / "list.toml"
    told.write_text(LIST)
    detectors = {"tiny": peers.make("retinaface"), "yunet": peers.make("yunet")}

    def run(*more, files=detectors):
        arguments = ["--output", str(tmp_path / "out"), "--labels", str(labels), "--list", str(told)]
        arguments += ["--clones", str(tmp_path / "clones"), "--origin", f"file://{origin}"]
        for name, file in files.items():
            arguments += ["--file", f"{name}={file}"]
        main([*arguments, *more])

    return run


def test_photos_are_taken_labelled_and_gathered_and_what_is_there_stays(prepare, tmp_path, capsys):
    prepare("--without", "gone")
    out = tmp_path / "out"
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert there == {
        *("people/deep/é 1.png", "people/3.png", "people.jsonl", "measured/held/2.png", "extras.txt"),
        *("wider/WIDER_train/images/0--P/a.jpg", "masks/JPEGImages/b.jpg", "more/9--Q/b.jpg"),
        "sizes/xml/b.xml",
    }
    extras = [line.removeprefix("--extra=") for line in (out / "extras.txt").read_text().splitlines()]
    read = {name: read_annotations(labels, photos) for name, labels, photos in map(split_source, extras)}
    assert [photo.name for _, photo in read["people"]] == ["3.png", "deep/é 1.png"]
    assert [photo.boxes.tolist() for _, photo in read["more"]] == [[[1, 2, 31, 42]]]
    assert set(read) == {"people", "more"}

    before = {name: (out / name).stat().st_mtime_ns for name in there - {"extras.txt"}}
    (tmp_path / "origin").rename(tmp_path / "elsewhere")
    prepare("--without", "gone")
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    # the list of data sets is what `reproduce` takes
    capsys.readouterr()
    reproduce(["v1", "--plan", f"@{out / 'extras.txt'}"])
    assert "v1-1" in capsys.readouterr().out


def test_one_data_set_needs_what_it_is_made_of_and_no_more(prepare, tmp_path):
    prepare("--only", "more", files={})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("wider", "masks", "sizes", "more", "extras.txt")
    }


@pytest.mark.parametrize(
    ("arguments", "files", "said"),
    [
        (["--only", "gone"], {}, "expected --file tiny=ONNX, got none"),
        (["--only", "cats"], {}, "there is no 'cats': expected one of people, gone, more, wider"),
        (["--without", "cats"], {}, "there is no 'cats'"),
        (["--only", "more", "--file", "tiny"], {}, "--file: expected NAME=VALUE, got 'tiny'"),
        (["--only", "more", "--labels", "nowhere.txt"], {}, "train labels at nowhere.txt, found none"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_cloned(prepare, tmp_path, capsys, arguments, files, said):
    with pytest.raises(SystemExit):
        prepare(*arguments, files=files)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "clones").exists()


def test_a_repository_that_is_not_there_is_told_with_what_to_do(prepare, tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepare("--only", "gone")
    said = capsys.readouterr().err
    assert "git could not clone file://" in said
    assert "--without" in said
    assert not list((tmp_path / "clones").rglob("*.git"))
    assert not (tmp_path / "out/gone").exists()


def test_the_history_gives_of_each_path_the_newest_version(tmp_path):
    place = tmp_path / "repository"
    commit(place, {"a.png": b"first", "b.png": b"deleted later", "c.txt": b"text"})
    commit(place, {"a.png": b"second", "b.png": None})
    (place / "link.png").symlink_to("a.png")
    commit(place, {"d.png": b"new"})
    written = {"HEAD": {"a.png": b"second", "d.png": b"new"}}
    written["all"] = {**written["HEAD"], "b.png": b"deleted later"}
    written["HEAD~2"] = {"a.png": b"first", "b.png": b"deleted later"}
    for revision, files in written.items():
        folder = tmp_path / revision
        taken = Taken("a/b", r"^(?!link).*\.png$", revision=revision)
        assert extract(place / ".git", taken, folder) == (len(files), 0)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert extract(place / ".git", Taken("a/b", "png$"), tmp_path / "links") == (2, 0)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (Taken("a/b", r"\.gif$"), r"expected files like \\.gif\$ in .* at HEAD, found 0"),
        (Taken("a/b", ".", revision="nothing"), "git could not read .*nothing"),
    ],
)
def test_a_repository_without_what_is_wanted_is_an_error(tmp_path, taken, said):
    commit(tmp_path / "repository", {"a.png": b"a"})
    with pytest.raises(LabelError, match=said):
        extract(tmp_path / "repository/.git", taken, tmp_path / "out")


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("strip = '^photos/'", "cut = 1", "people has 'cut'; expected"),
        ("negatives = true", "negative = true", "people has 'negative'; expected"),
        ('sizes = "sizes" }', 'sizes = "sizes", size = 1 }', "more has 'size'; expected"),
        ("stretched = [], ", "", "more has no 'stretched'"),
        ("take = '^held/'", "strip = '^held/'", "measured has no 'take'"),
        ("'^WIDER_train/'", "'('", "wider: take: missing"),
        ('photos = "people"', 'photos = "persons/a"', "people needs 'persons', which is no folder there"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path, was, becomes, said):
    path = tmp_path / "list.toml"
    path.write_text(LIST.replace(was, becomes))
    with pytest.raises(LabelError, match=said.replace("(", r"\(")):
        read_collection(path)


def test_the_published_list_is_what_the_docs_tell_and_the_published_models_saw():
    collection = read_collection()
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    for folder, parts in collection.folders.items():
        for part in parts:
            assert part.repository in text, folder
    needed = {
        folder for name in (*collection.labels, *collection.gathered) for folder in collection.needs(name)
    }
    assert set(collection.folders) - needed == {"animals_held"}
    saw = set()
    for _, folder, *_ in NAMES.values():
        told = json.loads((find_models_folder() / folder / "deployment_config.json").read_text())["training"]
        for stage in (*told["history"], told):
            saw |= set(stage["settings"].get("shares", ()))
    assert saw <= {*collection.labels, *collection.gathered}
