"""A browser of the machine, which looks at pages as people do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Response

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# not for the session: as long as it lives, this thread has a running event loop, which others' tests may want
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium or Chrome; without one, what needs it is skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="`make test` installs what drives a browser")
    found: dict[str, Any] = {"channel": "chrome"}
    for path in filter(None, map(shutil.which, _BROWSERS)):
        found = {"executable_path": path}
        break
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(**found)
        except api.Error as error:
            pytest.skip(f"this needs Chromium or Chrome: {error.message.splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own; whatever it complains of, a refused script or a missing file, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    complaints: list[str] = []

    def note_message(said: ConsoleMessage) -> None:
        # of answers below: a refusal of the API is said there as well
        if said.type in ("error", "warning") and not said.text.startswith("Failed to load resource"):
            complaints.append(said.text)

    def note_answer(answer: Response) -> None:
        if not answer.ok and "/v1/" not in answer.url:
            complaints.append(f"{answer.status} {answer.url}")

    opened = context.new_page()
    opened.on("console", note_message)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("response", note_answer)
    yield opened
    context.close()
    assert complaints == []
