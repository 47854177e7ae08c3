"""The page to try the API on, from `web/`, with the sample photos."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from examples.serve.gateway import Page

__all__ = ["site"]

ROOT = Path(__file__).parents[2]


# what a machine's own table calls them differs, and modules must be JavaScript
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".webp": "image/webp",
}


def site() -> dict[str, Page]:
    """Return what a browser may ask for, by path; the page itself is at `/`."""
    files = {path.name: path for path in (ROOT / "web").iterdir()}
    files |= {f"photos/{path.name}": path for path in (ROOT / "examples" / "photos").iterdir()}
    pages = {
        f"/{name}": Page(_MEDIA_TYPES[path.suffix], path.read_bytes())
        for name, path in files.items()
        if path.suffix in _MEDIA_TYPES
    }
    return {**pages, "/": pages["/index.html"]}
