import io

import pytest
from PIL import Image

from featherface_training.data.gather import main

FACE = "1 2 30 40"


def photo(shade, width=1024):
    buffer = io.BytesIO()
    Image.new("L", (width, 8), shade).save(buffer, "JPEG")
    return buffer.getvalue()


B, C = photo(10), photo(20)


@pytest.fixture
def command(tmp_path):
    """WIDER with one of five labelled photos, and two other data sets."""
    names = ["0--Parade/a.jpg", "0--Parade/b.jpg", "9--Press/c.jpg", "9--Press/d.jpg", "9--Press/e.jpg"]
    labels = tmp_path / "label.txt"
    labels.write_text("".join(f"# {name}\n{FACE}\n{FACE}\n" for name in names))
    files = {
        "wider/WIDER_train/images/0--Parade/a.jpg": photo(1),
        "masks/JPEGImages/a.jpg": photo(2),
        "masks/JPEGImages/b.jpg": B,
        "masks/JPEGImages/c.jpg": photo(20, width=640),
        "masks/JPEGImages/e.jpg": b"no picture",
        "masks/JPEGImages/of_val.jpg": photo(3),
        "points/9--Press/c.jpg": C,
        "points/0--Parade/b.jpg": photo(4),
        "points/9--Press/d.png": photo(5),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)

    def run(*sources):
        return main(
            [str(tmp_path / source) for source in sources]
            + ["--wider", str(tmp_path / "wider"), "--labels", str(labels)]
            + ["--output", str(tmp_path / "more")]
        )

    return run


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_photos_are_copied_once_from_the_first_that_has_them_as_they_were(command, tmp_path, capsys):
    expected = {"0--Parade/b.jpg": B, "9--Press/c.jpg": C}
    for _ in range(2):
        assert command("masks", "points") == 0
        printed = capsys.readouterr().out.splitlines()
        assert [line.rpartition("/")[2] for line in printed] == [
            "masks: 1 photos, 2 more are not 1024 pixels wide",
            "points: 1 photos",
            "more: 2 photos of 2 events, 4 faces",
        ]
        assert content(tmp_path / "more") == expected


def test_they_are_read_with_widers_labels(command, tmp_path):
    pytest.importorskip("torch")
    from featherface_training.data.annotations import read_annotations

    command("masks", "points")
    pairs = read_annotations(tmp_path / "label.txt", tmp_path / "more")
    assert [photo.name for _, photo in pairs] == ["0--Parade/b.jpg", "9--Press/c.jpg"]
    assert [path.read_bytes() for path, _ in pairs] == [B, C]
    assert pairs[0][1].boxes.tolist() == [[1, 2, 31, 42]] * 2


def test_a_folder_that_is_none_is_named_before_anything_is_copied(command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command("masks", "gone")
    assert "gone is none" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
