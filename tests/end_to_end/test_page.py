"""The page of `make serve`, used as people use it: by mouse, by keyboard, on a phone, in a hurry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from featherface import Detector, load_settings

from .pages import hold_readers_out, wider_than_a_phone

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"
ENVIRON = {
    "FEATHERFACE_MODEL": "v1",
    "FEATHERFACE_INPUT_SIZE": "800",
    "FEATHERFACE_CONFIDENCE_THRESHOLD": "0.33",
    "FEATHERFACE_MIRROR": "true",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "examples.serve", "--port", "0"]
    environ = {**os.environ, **ENVIRON}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def opened(page: Page, address: str) -> Page:
    page.goto(address)
    page.locator("#model option").first.wait_for(state="attached")
    return page


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(settings=load_settings(environ=ENVIRON))


def show(page: Page, name: str) -> None:
    """Choose a sample photo, and wait for its faces."""
    page.get_by_title(name).click()
    page.locator("#status").filter(has_text="found in").wait_for()


def chosen(page: Page) -> dict[str, Any]:
    return {
        "model": page.locator("#model").input_value(),
        "input_size": page.locator("#size").input_value(),
        "mirror": page.locator("#mirror").is_checked(),
        "confidence": page.locator("#confidence").input_value(),
        "said": page.locator("#least").inner_text(),
    }


def test_it_begins_where_the_service_does(opened: Page) -> None:
    assert chosen(opened) == {
        "model": "v1", "input_size": "800", "mirror": True, "confidence": "0.33", "said": "0.33",
    }  # fmt: skip
    sizes = opened.locator("#size option").evaluate_all("all => all.map(one => Number(one.value))")
    assert sizes == sorted(sizes)


def test_it_shows_what_the_detector_finds(opened: Page, detector: Detector) -> None:
    faces = detector.detect((PHOTOS / "group.jpg").read_bytes()).to_dict()["faces"]
    show(opened, "group.jpg")
    assert opened.locator("#status").inner_text().startswith(f"{len(faces)} faces, found in")
    cells = opened.locator("#faces tbody tr").evaluate_all(
        "all => all.map(row => [...row.cells].map(c => c.innerText))"
    )
    assert [row[0] for row in cells] == [f"{face['confidence']:.3f}" for face in faces]
    assert [[int(side) for side in row[1].split(",")] for row in cells] == [
        [pytest.approx(face["box"]["left"], abs=0.51), pytest.approx(face["box"]["top"], abs=0.51)]
        for face in faces
    ]


def test_a_photo_without_faces_is_said_to_have_none(opened: Page) -> None:
    show(opened, "coffee.webp")
    assert opened.locator("#status").inner_text().startswith("No face, found in")
    assert not opened.locator("#faces").is_visible()
    assert opened.locator("#picture").get_attribute("aria-label") == "coffee.webp: no face"


def test_arrow_keys_go_through_the_faces_and_tab_leaves_them(opened: Page) -> None:
    show(opened, "group.jpg")
    rows = opened.locator("#faces tbody tr")
    last = rows.count() - 1

    def reached() -> int:
        return int(rows.evaluate_all("all => all.indexOf(document.activeElement)"))

    opened.locator("#copy").focus()
    opened.keyboard.press("Tab")
    assert reached() == 0
    places = {"ArrowUp": 0, "ArrowDown": 1, "End": last, "PageDown": last, "Home": 0}
    for key, place in places.items():
        opened.keyboard.press(key)
        assert reached() == place, key
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Tab")
    assert reached() == -1
    opened.keyboard.press("Shift+Tab")
    # where one was
    assert reached() == 1


def test_a_face_that_is_pointed_at_stands_out(opened: Page) -> None:
    show(opened, "astronaut.png")
    before = opened.locator("#picture").evaluate("canvas => canvas.toDataURL()")
    opened.locator("#faces tbody tr").first.hover()
    assert opened.locator("#picture").evaluate("canvas => canvas.toDataURL()") != before
    opened.locator("h1").hover()
    assert opened.locator("#picture").evaluate("canvas => canvas.toDataURL()") == before


def test_a_saved_picture_with_faces_blurred_has_none(
    opened: Page, detector: Detector, tmp_path: Path
) -> None:
    show(opened, "astronaut.png")
    found = {}
    for choice in ("bounding boxes", "faces blurred"):
        opened.get_by_label(choice, exact=True).check()
        with opened.expect_download() as download:
            opened.get_by_role("button", name="Save the picture").click()
        assert download.value.suggested_filename == "astronaut.faces.png"
        download.value.save_as(tmp_path / "saved.png")
        found[choice] = len(detector.detect((tmp_path / "saved.png").read_bytes()).faces)
    assert found == {"bounding boxes": 1, "faces blurred": 0}


def test_what_it_copies_and_what_it_says_for_a_shell_are_the_api_s_answer(
    opened: Page, detector: Detector
) -> None:
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(opened, "sideways.jpg")
    opened.evaluate("navigator.clipboard.writeText('before')")
    opened.get_by_role("button", name="Copy the JSON").click()
    # "Copied" stands on the button for a moment only
    opened.wait_for_function("async () => await navigator.clipboard.readText() !== 'before'")
    copied = json.loads(opened.evaluate("navigator.clipboard.readText()"))
    photo = (PHOTOS / "sideways.jpg").read_bytes()
    faces = detector.detect(photo).to_dict()["faces"]
    assert copied["faces"] == faces
    opened.get_by_text("The same from a shell").click()
    command = opened.locator("#call pre").inner_text()
    assert command.startswith("curl --data-binary '@sideways.jpg' ")
    request = urllib.request.Request(command.split("'")[-2], photo)
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read())["faces"] == faces


def test_another_option_searches_again(opened: Page) -> None:
    show(opened, "group.jpg")
    many = opened.locator("#faces tbody tr").count()
    with opened.expect_response("**/v1/detect?**") as asked:
        opened.locator("#confidence").fill("0.9")
    assert "confidence_threshold=0.9" in asked.value.url
    opened.wait_for_function("many => document.querySelectorAll('#faces tbody tr').length < many", arg=many)
    assert opened.locator("#least").inner_text() == "0.90"


def test_a_photo_that_is_chosen_or_dropped_is_searched(opened: Page) -> None:
    opened.locator("#file").set_input_files(PHOTOS / "grace_hopper.jpg")
    opened.locator("#status").filter(has_text="1 face, found in").wait_for()
    assert opened.locator("#picture").get_attribute("aria-label") == "grace_hopper.jpg: 1 face"
    opened.evaluate(
        """async () => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([await (await fetch("photos/coffee.webp")).blob()], "dropped.webp"));
          const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.body.dispatchEvent(drop);
        }"""
    )
    opened.locator("#status").filter(has_text="No face, found in").wait_for()
    assert opened.locator("#picture").get_attribute("aria-label") == "dropped.webp: no face"


def test_a_refusal_is_told_with_its_code_and_leaves_nothing_to_save(opened: Page, tmp_path: Path) -> None:
    show(opened, "astronaut.png")
    (tmp_path / "notes.jpg").write_text("no photo at all")
    opened.locator("#file").set_input_files(tmp_path / "notes.jpg")
    opened.locator("#status").filter(has_text="(unsupported_format)").wait_for()
    for place in ("#picture", "#faces", "#actions", "#call"):
        assert not opened.locator(place).is_visible(), place
    # and the next photo is as good as the first
    show(opened, "astronaut.png")
    assert opened.locator("#actions").is_visible()


def test_a_server_that_is_gone_is_told_of(opened: Page) -> None:
    opened.route("**/v1/detect?**", lambda route: route.abort())
    opened.get_by_title("astronaut.png").click()
    opened.locator("#status").filter(has_text="the server does not answer: is it still running?").wait_for()


@pytest.mark.parametrize("width", [1280, 360])
def test_the_photo_stays_in_sight_while_one_goes_through_its_faces(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 740})
    opened.locator("#confidence").fill("0.05")
    show(opened, "group.jpg")
    rows = opened.locator("#faces tbody tr")
    assert rows.count() > 25
    rows.first.focus()
    for _ in range(rows.count()):
        opened.keyboard.press("ArrowDown")
    focused = opened.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    photo = opened.locator("#picture").evaluate("canvas => canvas.getBoundingClientRect().toJSON()")
    assert photo["top"] >= 0
    assert photo["bottom"] <= 740
    # but for a part of a pixel
    assert 0 <= focused["top"] < focused["bottom"] < 741
    # where the page has one column, the photo must not hide the face's row
    assert width > 360 or focused["top"] >= photo["bottom"]


def test_everyone_can_read_it_and_a_phone_shows_all_of_it(opened: Page) -> None:
    show(opened, "group.jpg")
    opened.get_by_text("The same from a shell").click()
    assert hold_readers_out(opened) == []
    assert wider_than_a_phone(opened) == 0


def test_of_several_photos_the_last_counts(opened: Page) -> None:
    # its answer is still to come when the second is shown
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    opened.route("**/v1/detect?**", hold, times=1)
    with opened.expect_event("requestfailed") as given_up:
        with opened.expect_request("**/v1/detect?**"):
            opened.get_by_title("group.jpg").click()
        opened.get_by_title("astronaut.png").click()
    assert given_up.value == held[0].request
    opened.locator("#status").filter(has_text="1 face, found in").wait_for()
    assert opened.locator("#picture").get_attribute("aria-label") == "astronaut.png: 1 face"


def test_the_description_shows_every_call_and_makes_one(page: Page, address: str) -> None:
    page.goto(f"{address}/docs")
    page.locator(".opblock").first.wait_for()
    with urllib.request.urlopen(f"{address}/openapi.json") as answer:
        paths = json.loads(answer.read())["paths"]
    calls = {(method, path) for path, item in paths.items() for method in item}
    shown = page.locator(".opblock-summary").evaluate_all(
        """all => all.map(one => ['.opblock-summary-method', '.opblock-summary-path']
             .map(part => one.querySelector(part).textContent.replaceAll('\\u200b', '').trim()))"""
    )
    assert {(method.lower(), path) for method, path in shown} == calls
    call = page.locator(".opblock", has=page.locator('[data-path="/v1/models"]'))
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/v1/models") as asked:
        call.get_by_role("button", name="Execute").click()
    assert asked.value.ok
    call.locator(".live-responses-table").filter(has_text="FeatherFace").wait_for()
