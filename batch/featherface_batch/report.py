"""The report: one HTML page that needs nothing else, for people who did not run the job."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from featherface import Detections, FeatherFaceError, ImageLimits
from featherface_batch.errors import PhotoError
from featherface_batch.fetch import fetch
from featherface_batch.pictures import blurred, preview
from featherface_batch.records import Outcome, counted
from featherface_batch.s3 import S3Options
from featherface_batch.statistics import Histogram, Statistics

__all__ = ["Gallery", "render_report"]

_THUMBNAIL_SIDE = 480
_FETCH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Gallery:
    """How the report comes by its pictures.

    Parameters
    ----------
    s3 : S3Options
    limits : ImageLimits
    blur : bool
        Whether faces must not be recognisable.
    """

    s3: S3Options
    limits: ImageLimits
    blur: bool

    def picture(self, outcome: Outcome) -> bytes | None:
        """Return a photo's thumbnail with its faces drawn; None if the photo cannot be had any more."""
        deadline = time.monotonic() + _FETCH_SECONDS
        try:
            data = fetch(outcome.photo, self.s3, max_bytes=self.limits.max_bytes, deadline=deadline)
            detections = Detections.from_dict(outcome.detections or {})
            if self.blur:
                data = blurred(data, detections, self.limits)
            return preview(data, detections, self.limits, _THUMBNAIL_SIDE)
        except (PhotoError, FeatherFaceError, ValueError):
            return None


def render_report(manifest: Mapping[str, Any], statistics: Statistics, gallery: Gallery) -> bytes:
    """Return the page.

    Parameters
    ----------
    manifest : mapping
        The run's manifest.
    statistics : Statistics
    gallery : Gallery
    """
    style = files("featherface_batch").joinpath("report.css").read_text(encoding="utf-8")
    sections = [
        _numbers(manifest, statistics),
        _section("Faces", _charts(statistics)),
        _section("Sample", _gallery(statistics.sample, gallery)),
        _section("Errors", _errors(statistics)),
        _section("Run", _facts(manifest)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Faces in {escape(manifest['source'])}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>Faces in <span>{escape(manifest['source'])}</span></h1>"
        f"{_limited(manifest)}"
        f"<p>FeatherFace {escape(manifest['featherface'])}, finished {escape(manifest['finished_at'])}</p>"
        "</header>\n"
        f"<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    ).encode()


def _section(title: str, content: str) -> str:
    name = title.lower()
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}</section>\n'


def _limited(manifest: Mapping[str, Any]) -> str:
    limit = manifest["limit"]
    return "" if limit is None else f"<p>At most the first {limit:,} photos of it (<code>--limit</code>)</p>"


def _numbers(manifest: Mapping[str, Any], statistics: Statistics) -> str:
    rate, starts = (manifest["throughput"][name] for name in ("photos_per_second", "starts"))
    numbers: Sequence[tuple[str, str]] = [
        ("photos", f"{statistics.tally.photos:,}"),
        ("faces", f"{statistics.tally.faces:,}"),
        ("photos with a face", f"{statistics.with_faces:,}"),
        ("errors", f"{statistics.tally.errors:,}"),
        (
            "photos per second" if starts < 2 else f"photos per second, over {starts:,} starts",
            "–" if rate is None else f"{rate:,.1f}",
        ),
    ]
    cells = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in numbers)
    return f'<dl class="numbers">{cells}</dl>\n'


def _charts(statistics: Statistics) -> str:
    return (
        '<div class="charts">'
        + _chart("Confidence", statistics.confidence, lambda low, high: f"{low:.2f} to {high:.2f}")
        + _chart("Face height in pixels", statistics.face_height, _whole_range)
        + _chart("Faces per photo", statistics.per_photo, _whole_range)
        + "</div>\n"
    )


def _whole_range(low: float, high: float) -> str:
    if high >= 65_536:
        return f"{low:,.0f} and more"
    return f"{low:,.0f}" if high - low == 1 else f"{low:,.0f} to {high - 1:,.0f}"


def _chart(title: str, histogram: Histogram, label: Callable[[float, float], str]) -> str:
    most = max([*histogram.counts, 1])
    used = [index for index, count in enumerate(histogram.counts) if count]
    rows = "".join(
        f'<tr><th scope="row">{label(histogram.edges[index], histogram.edges[index + 1])}</th>'
        f"<td>{_bar(histogram.counts[index] / most)}</td>"
        f"<td>{histogram.counts[index]:,}</td></tr>"
        for index in (range(used[0], used[-1] + 1) if used else ())
    )
    body = rows or '<tr><td colspan="3">nothing to count</td></tr>'
    return f'<table class="bars"><caption>{title}</caption><tbody>{body}</tbody></table>'


def _bar(part: float) -> str:
    # the narrowest bar can be seen, so that there is none for nothing
    return f'<i style="width:{100 * part:.1f}%"></i>' if part else ""


def _gallery(sample: Sequence[Outcome], gallery: Gallery) -> str:
    figures = []
    for outcome in sample:
        picture = gallery.picture(outcome)
        if picture is None or outcome.detections is None:
            continue
        found = counted(len(outcome.detections["faces"]), "face")
        key = escape(outcome.photo.key, quote=True)
        encoded = base64.b64encode(picture).decode()
        figures.append(
            f'<figure><img src="data:image/jpeg;base64,{encoded}" alt="{key} with {found} marked">'
            f"<figcaption>{key}<br>{found}</figcaption></figure>"
        )
    if not figures:
        return "<p>No photo with a face could be shown.</p>\n"
    return f'<div class="gallery">{"".join(figures)}</div>\n'


def _errors(statistics: Statistics) -> str:
    if not statistics.errors:
        return "<p>None: every photo has a result.</p>\n"
    rows = []
    for code, count in statistics.errors.most_common():
        examples = "".join(
            f"<li><b>{escape(outcome.photo.key)}</b> {escape(outcome.message or '')}</li>"
            for outcome in statistics.examples[code]
        )
        rows.append(
            f'<tr><th scope="row"><code>{escape(code)}</code></th><td>{count:,}</td>'
            f"<td><ul>{examples}</ul></td></tr>"
        )
    return (
        '<table class="errors"><caption>Photos without a result, by code; all are in errors.jsonl</caption>'
        '<thead><tr><th scope="col">Code</th><th scope="col">Photos</th>'
        '<th scope="col">Examples</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>\n"
    )


def _facts(manifest: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in _flat("", manifest)
        if value is not None
    )
    return f'<table class="facts"><caption>From manifest.json</caption><tbody>{rows}</tbody></table>\n'


def _flat(prefix: str, content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in content.items():
        label = f"{prefix}{name}".replace("_", " ")
        rows += _flat(f"{label}: ", value) if isinstance(value, Mapping) else [(label, value)]
    return rows
