"""What any page owes its readers."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PHONE, _DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def hold_readers_out(page: Page) -> list[str]:
    """Return what keeps people from reading a page, in light and dark, by axe-core's rules (WCAG)."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for scheme, size in product(("light", "dark"), (_DESK, _PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        for violation in Axe().run(page).response["violations"]:
            places = [node["html"] for node in violation["nodes"]]
            where = f"{scheme}, {size['width']} px"
            found.append(f"{where}: {violation['id']}: {violation['help']}: {places[:3]}")
    return found


def wider_than_a_phone(page: Page) -> int:
    """Return by how many pixels a page is wider than a phone, 360 px."""
    page.set_viewport_size(_PHONE)
    wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.set_viewport_size(_DESK)
    return int(wider)
