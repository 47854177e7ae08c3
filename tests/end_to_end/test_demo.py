"""`make demo` is the promise of the README: run as a user would, it must end well."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from .pages import hold_readers_out, wider_than_a_phone

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.pictures, self.text, self.links = 0, [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "img":
            assert values["alt"]
            self.pictures += values["src"].startswith("data:image/jpeg;base64,")
        self.links += [values[name] for name in ("src", "href") if values.get(name)]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "examples.demo", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "coded error" not in done.stderr
    return output, done.stdout


def test_the_three_ways_agree_on_every_photo(demo):
    _, printed = demo
    assert "the three ways gave identical faces" in printed
    assert printed.count("same in all three ways") == 9


def test_what_goes_wrong_on_purpose_is_told_as_that_and_logged(demo):
    output, printed = demo
    assert printed.count("1 of 9 ended with unreadable_image, as intended (a photo cut short)") == 2
    logged = [json.loads(line) for line in (output / "handlers.log").open()]
    errors = [line for line in logged if line.get("message") == "ended with a coded error"]
    assert [line["error_code"] for line in errors] == ["unreadable_image"] * 2


def test_portraits_have_their_face_and_the_sideways_one_too(demo):
    output, _ = demo
    rows = [json.loads(line) for line in (output / "annotations" / "annotations.jsonl").open()]
    faces = {row["key"]: row["faces"] for row in rows}
    assert len(faces["astronaut.png"]) >= 1
    assert len(faces["group.jpg"]) >= 15
    assert faces["group.jpg"] == faces["holiday 2026/team+guests (1).jpg"]
    upright, sideways = faces["grace_hopper.jpg"][0]["box"], faces["sideways.jpg"][0]["box"]
    for side in ("left", "top", "width", "height"):
        assert upright[side] == pytest.approx(sideways[side], abs=15)


def test_the_broken_photo_is_on_record_and_the_rest_unharmed(demo):
    output, _ = demo
    errors = [json.loads(line) for line in (output / "annotations" / "errors.jsonl").open()]
    assert [row["key"] for row in errors] == ["cut short.jpg"]
    coco = json.loads((output / "annotations" / "coco.json").read_text())
    assert len(coco["images"]) == 8


def test_the_jobs_own_report_is_kept_and_linked(demo):
    output, _ = demo
    assert 'href="annotations/report.html"' in (output / "index.html").read_text()
    assert "astronaut.png" in (output / "annotations" / "report.html").read_text()
    assert json.loads((output / "annotations" / "manifest.json").read_text())["counts"]["photos"] == 9


def test_the_page_stands_alone_and_shows_every_picture(demo):
    output, _ = demo
    page = Page()
    page.feed((output / "index.html").read_text())
    assert page.pictures == 8
    links = [link for link in page.links if not link.startswith("data:")]
    assert links == ["annotations/report.html"]
    assert any("identical faces" in text for text in page.text)
    pictures = sorted((output / "pictures").iterdir())
    assert len(pictures) == 8
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"


def test_logs_carry_no_photo_and_no_key(demo):
    log = (demo[0] / "handlers.log").read_text()
    assert log
    assert "team+guests" not in log
    assert "astronaut" not in log


@pytest.mark.parametrize("name", ["index.html", "annotations/report.html"])
def test_everyone_can_read_its_pages_and_a_phone_shows_all_of_them(demo, page, name):
    page.goto((demo[0] / name).as_uri())
    pictures = page.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert pictures
    assert all(pictures)
    assert hold_readers_out(page) == []
    assert wider_than_a_phone(page) == 0
