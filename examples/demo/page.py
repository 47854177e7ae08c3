"""One self-contained HTML page of what the demo found."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["PhotoReport", "write_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #16202a; --paper: #f6f7f9; --card: #fff; --line: #d9dee4;
        --good: #12714a; --bad: #a3291f; --soft: #5b6875; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --paper: #12171c; --card: #1b2229; --line: #323c46; --good: #63d6a0;
          --bad: #ff9b8f; --soft: #9dabb8; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.9rem; margin: 0 0 .25rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem }
p { margin: .4rem 0; max-width: 60rem }
.soft { color: var(--soft) }
.verdict { display: inline-block; margin: .75rem 0; padding: .5rem .9rem; border-radius: .5rem;
           font-weight: 600; border: 1.5px solid currentColor }
.good { color: var(--good) }
.bad { color: var(--bad) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line) }
th, td { text-align: left; padding: .45rem .75rem; border-bottom: 1px solid var(--line);
         vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
.wide { grid-column: 1 / -1 }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
         overflow: hidden }
figure img { display: block; width: 100%; height: auto; max-height: 40rem; object-fit: contain;
             background: #0002 }
figcaption { padding: .7rem .9rem }
figcaption b { overflow-wrap: anywhere }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
      overflow-x: auto; font-size: .85rem }
"""


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """One photo on the page.

    Parameters
    ----------
    key : str
    picture : PIL.Image.Image or None
        With its faces drawn; None if the photo could not be used.
    confidences : tuple of float
    error : str or None
        Stable code.
    milliseconds : mapping of str to float
        By way.
    agree : bool
        Whether all ways gave the same.
    """

    key: str
    picture: Image.Image | None
    confidences: tuple[float, ...]
    error: str | None
    milliseconds: Mapping[str, float]
    agree: bool


def _embedded(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _is_wide(report: PhotoReport) -> bool:
    return report.picture is not None and report.picture.width > 900


def _card(report: PhotoReport) -> str:
    name = html.escape(report.key)
    times = ", ".join(f"{way} {ms:.0f} ms" for way, ms in report.milliseconds.items())
    if report.picture is None:
        return (
            f'<figure><figcaption><b>{name}</b><br><span class="bad">{html.escape(report.error or "")}</span>'
            ": recorded with its code; no neighbour was harmed.</figcaption></figure>"
        )
    count = len(report.confidences)
    found = "no face" if count == 0 else f"{count} face{'s' if count > 1 else ''}"
    numbers = " ".join(f"{c:.2f}" for c in report.confidences)
    wide = ' class="wide"' if _is_wide(report) else ""
    return (
        f'<figure{wide}><img src="{_embedded(report.picture)}" alt="{name} with {found} marked">'
        f"<figcaption><b>{name}</b><br>{found}{': ' + numbers if numbers else ''}<br>"
        f'<span class="soft">{times}</span></figcaption></figure>'
    )


def write_page(
    path: Path,
    reports: Sequence[PhotoReport],
    *,
    facts: Mapping[str, Any],
    steps: Sequence[tuple[str, str, str]],
    log: str,
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    reports : sequence of PhotoReport
    facts : mapping
        What ran: model, versions, machine.
    steps : sequence of tuple
        Way, what happened, how long: the table of timings.
    log : str
        The bulk job's progress.
    """
    agree = all(report.agree for report in reports)
    faces = sum(len(report.confidences) for report in reports)
    failed = sum(report.picture is None for report in reports)
    verdict = (
        "The three ways gave identical faces for every photo."
        if agree
        else "The ways differ for: " + ", ".join(r.key for r in reports if not r.agree)
    )
    rows = "".join(
        f"<tr><td>{html.escape(way)}</td><td>{html.escape(what)}</td>"
        f'<td class="number">{html.escape(time)}</td></tr>'
        for way, what, time in steps
    )
    described = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    # wide pictures last, so that they leave no holes between the others
    cards = "".join(_card(report) for report in sorted(reports, key=_is_wide))
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>FeatherFace demo</title><style>{_STYLE}</style></head><body><main>
<h1>FeatherFace demo</h1>
<p>{len(reports)} photos, {faces} faces, {failed} coded error{"s" if failed != 1 else ""};
an upload, an API call and a bulk job over the same photos.</p>
<p class="verdict {"good" if agree else "bad"}">{html.escape(verdict)}</p>
<h2>What happened</h2>
<div class="scroll" tabindex="0" role="region" aria-label="What happened"><table>
<thead><tr><th scope="col">Way in</th><th scope="col">What ran</th>
<th scope="col" class="number">Time</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<h2>Photos</h2>
<div class="cards">{cards}</div>
<h2>What ran</h2>
<div class="scroll" tabindex="0" role="region" aria-label="What ran">
<table><tbody>{described}</tbody></table></div>
<h2>The bulk job's progress</h2>
<p>The server that held its output is gone; <a href="annotations/report.html">its report</a> was kept.</p>
<pre tabindex="0">{html.escape(log)}</pre>
</main></body></html>
""",
        encoding="utf-8",
    )
