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

    def run(*sources, more=()):
        return main(
            [str(tmp_path / source) for source in sources]
            + [str(tmp_path / part) if "/" in part else part for part in more]
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


def size(folder, name, width, height):
    folder.mkdir(exist_ok=True)
    written = f"<annotation><size><width>{width}</width><height>{height}</height></size></annotation>"
    (folder / f"{name}.xml").write_text(written)


def test_stretched_photos_are_made_as_they_were(command, tmp_path, capsys):
    size(tmp_path / "sizes", "d", 1024, 48)
    size(tmp_path / "sizes", "c", 1024, 8)
    (tmp_path / "stretched").mkdir()
    corner = Image.new("L", (96, 96), 20)
    corner.paste(220, (48, 48, 96, 96))
    corner.save(tmp_path / "stretched" / "d.jpg", quality=95)
    Image.new("L", (96, 96), 90).save(tmp_path / "stretched" / "c.jpg")
    more = ["--stretched", "./stretched", "--sizes", "./sizes"]
    assert command("points", more=more) == 0
    # whoever has it as it was goes first
    assert (tmp_path / "more/9--Press/c.jpg").read_bytes() == C
    with Image.open(tmp_path / "more/9--Press/d.jpg") as image:
        assert image.size == (1024, 48)
        shades = [image.convert("L").getpixel(at) for at in ((256, 12), (768, 12), (256, 36), (768, 36))]
    assert shades == pytest.approx([20, 20, 20, 220], abs=6)
    assert "stretched: 1 photos" in capsys.readouterr().out


def test_a_stretched_photo_of_unknown_size_is_told(command, tmp_path, capsys):
    (tmp_path / "stretched").mkdir()
    (tmp_path / "stretched" / "d.jpg").write_bytes(photo(5, 96))
    (tmp_path / "sizes").mkdir()
    more = ["--stretched", "./stretched"]
    for rest, message in (
        ([], "--stretched needs --sizes"),
        (["--sizes", "./sizes"], "expected d.xml among the sizes"),
    ):
        with pytest.raises(SystemExit):
            command("points", more=more + rest)
        assert message in capsys.readouterr().err
    (tmp_path / "sizes" / "d.xml").write_text("<annotation/>")
    with pytest.raises(SystemExit):
        command("points", more=[*more, "--sizes", "./sizes"])
    assert "expected <size> with <width> and <height>" in capsys.readouterr().err


def test_half_a_stretched_photo_is_left_where_it_is(command, tmp_path, capsys):
    size(tmp_path / "sizes", "d", 1024, 48)
    (tmp_path / "stretched").mkdir()
    (tmp_path / "stretched" / "d.jpg").write_bytes(photo(5, 96)[:200])
    assert command("points", more=["--stretched", "./stretched", "--sizes", "./sizes"]) == 0
    assert "stretched: 0 photos, 1 more are no pictures" in capsys.readouterr().out
    assert not (tmp_path / "more/9--Press/d.jpg").exists()


def test_a_folder_that_is_none_is_named_before_anything_is_copied(command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command("masks", "gone")
    assert "gone is none" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
