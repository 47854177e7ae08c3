"""Pictures of training and accuracy: `python -m featherface_training.figures --help`.

Learning curves from runs' logs; precision over recall of any detectors, and their average precision by event;
a sheet of the worst mistakes.
"""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .data.photos import read_pixels
from .evaluation import DIFFICULTIES, Evaluation, GroundTruth, evaluate, read_ground_truth
from .evaluation.boxes import corners
from .evaluation.cli import parse_size
from .evaluation.detectors import open_detector
from .evaluation.events import by_event, trained_events
from .evaluation.heights import HEIGHTS, compared, confidence, recall_by_height
from .evaluation.run import find_photos, input_scales, predict

__all__ = [
    "draw_events",
    "draw_learning",
    "draw_mistakes",
    "draw_precision_recall",
    "main",
]

_TILE = 150
Boxes = dict[str, NDArray[np.float64]]


def _write(path: Path, save: Callable[[str], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{path.suffix}")
    save(str(temporary))
    os.replace(temporary, path)


def draw_learning(runs: dict[str, Path], output: Path) -> None:
    """Draw each loss over the steps.

    Parameters
    ----------
    runs : dict of str to Path
        Folders of training runs, by the name to show.
    output : Path
        PNG.

    Raises
    ------
    ValueError
        If no run has finished an epoch.
    """
    logs = {
        name: [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for name, folder in runs.items()
    }
    known = {key for log in logs.values() for entry in log for key in entry}
    shown = ("classification", "box", "landmark", "distillation", "answers", "features")
    losses = [key for key in shown if key in known]
    if not losses:
        raise ValueError("no run has logged an epoch yet")
    figure = Figure(figsize=(3.4 * len(losses), 3.4), layout="constrained")
    lines = {}
    for axes, key in zip(np.atleast_1d(figure.subplots(1, len(losses))), losses, strict=True):
        for index, (name, log) in enumerate(logs.items()):
            points = [(entry["step"], entry[key]) for entry in log if key in entry]
            if points:
                # by number: a run that lacks a loss must not shift the others' colours
                lines[name] = axes.plot(*zip(*points, strict=True), color=f"C{index}", marker=".")[0]
        axes.set(title=key, xlabel="step", yscale="log")
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    # one for all panels, below them: in a panel it would hide lines
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=9)
    _write(output, FigureCanvasAgg(figure).print_png)


def draw_precision_recall(evaluations: dict[str, Evaluation], output: Path, subtitle: str) -> None:
    """Draw precision over recall, one panel a difficulty.

    Parameters
    ----------
    evaluations : dict of str to Evaluation
        From `evaluate`, by the name to show.
    output : Path
        PNG.
    subtitle : str
        Data and input size.
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    figure.suptitle(f"WIDER FACE val, {subtitle}", fontsize=10)
    for axes, difficulty in zip(figure.subplots(1, 3), DIFFICULTIES, strict=True):
        for name, curves in evaluations.items():
            curve = curves[difficulty]
            axes.plot(curve.recall, curve.precision, label=f"{name} {curve.average_precision:.3f}")
        axes.set(title=difficulty, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left", title="average precision", title_fontsize=8)
    _write(output, FigureCanvasAgg(figure).print_png)


def draw_events(
    evaluations: dict[str, dict[str, Evaluation]],
    trained: Collection[str],
    output: Path,
    subtitle: str,
    *,
    difficulty: str = "medium",
) -> None:
    """Draw each detector's average precision on each event, the hardest for the first detector on top.

    Parameters
    ----------
    evaluations : dict of str to dict
        From `by_event`, by the name to show.
    trained : collection of str
        Events of training photos: their names are bold.
    output : Path
        PNG.
    subtitle : str
        Data and input size.
    difficulty : str
        Whose faces count; events without such faces are left out.
    """
    first = next(iter(evaluations.values()))
    shown = [event for event, curves in first.items() if curves[difficulty].faces]
    shown.sort(key=lambda event: first[event][difficulty].average_precision)
    figure = Figure(figsize=(8, 1.6 + 0.19 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for (name, events), marker in zip(evaluations.items(), itertools.cycle("os^Dv"), strict=False):
        precisions = [events[event][difficulty].average_precision for event in shown]
        axes.plot(precisions, range(len(shown)), marker, ms=5, alpha=0.8, label=name)
    labels = [f"{event.partition('--')[2]} ({first[event][difficulty].faces})" for event in shown]
    for label, event in zip(axes.set_yticks(range(len(shown)), labels, fontsize=7), shown, strict=True):
        label.label1.set_fontweight("bold" if event in trained else "normal")
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"average precision, {difficulty} faces")
    axes.set_title(f"WIDER FACE val, {subtitle}; in bold events of training photos", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    _write(output, FigureCanvasAgg(figure).print_png)


def _mistakes(found: Boxes, truth: GroundTruth) -> tuple[list[tuple[float, str, NDArray[np.float64]]], ...]:
    """Return misses (how confidently the face was found nevertheless, photo, box) and false alarms."""
    misses, alarms = [], []
    for name, photo, detections, iou in compared(found, truth):
        faces, boxes = corners(photo.boxes), corners(detections)[:, :4]
        for face in np.flatnonzero(photo.counted["easy"]):
            misses.append((confidence(detections, iou[face]), name, faces[face]))
        # away from every face, also those that don't count: a box that is merely imprecise is not meant
        free = (iou < 0.2).all(0) if len(faces) else np.ones(len(boxes), bool)
        alarms += [(float(-detections[i, 4]), name, boxes[i]) for i in np.flatnonzero(free)]
    largest = sorted(misses, key=lambda miss: (miss[0], -(miss[2][2:] - miss[2][:2]).prod()))
    return largest, sorted(alarms, key=lambda alarm: alarm[0])


def _tile(path: Path, box: NDArray[np.float64], text: str, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    pixels = read_pixels(path)
    centre, side = (box[:2] + box[2:]) / 2, max(1.8 * (box[2:] - box[:2]).max(), 24)
    scale = _TILE / side
    move = np.array([[scale, 0, _TILE / 2 - scale * centre[0]], [0, scale, _TILE / 2 - scale * centre[1]]])
    tile = cv2.warpAffine(pixels, move, (_TILE, _TILE), flags=cv2.INTER_AREA)
    low, high = ((box.reshape(2, 2) - centre) * scale + _TILE / 2).astype(int).tolist()
    cv2.rectangle(tile, low, high, colour, 1)
    cv2.rectangle(tile, (0, 0), (_TILE, 16), (0, 0, 0), -1)
    cv2.putText(tile, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def draw_mistakes(
    found: Boxes,
    truth: GroundTruth,
    photos: dict[str, Path],
    output: Path,
    *,
    columns: int = 8,
    rows: int = 3,
) -> None:
    """Draw the worst misses among the easy faces (green), then the most confident false alarms (red).

    Parameters
    ----------
    found : dict of str to ndarray, shape (K, 5)
        left, top, width, height, score, by photo.
    truth : GroundTruth
        From `read_ground_truth`.
    photos : dict of str to Path
        Where they are.
    output : Path
        JPEG. Shows parts of WIDER FACE's photos: for looking at, not for publication.
    columns, rows : int
        Of each half.
    """
    misses, alarms = _mistakes(found, truth)
    lines = []
    for kind, colour in ((misses, (80, 220, 80)), (alarms, (60, 60, 255))):
        tiles = [
            _tile(photos[name], box, f"{abs(score):.2f} {int(max(box[2:] - box[:2]))}px", colour)
            for score, name, box in kind[: columns * rows]
        ]
        tiles += [np.zeros((_TILE, _TILE, 3), np.uint8)] * (columns * rows - len(tiles))
        lines += [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
    _write(output, lambda path: cv2.imwrite(path, np.vstack(lines)))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.figures", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="kind")
    learning = commands.add_parser("learning", help="losses over steps")
    learning.add_argument("runs", nargs="+", metavar="NAME=RUN", help="folder of a run, and its name")
    precision = commands.add_parser("precision", help="precision over recall")
    precision.add_argument("--model", nargs="+", required=True, metavar="NAME=MODEL", help="ours or a peer's")
    events = commands.add_parser("events", help="average precision by event")
    events.add_argument("--model", nargs="+", required=True, metavar="NAME=MODEL", help="ours or a peer's")
    mistakes = commands.add_parser("mistakes", help="a sheet of the worst misses and false alarms")
    mistakes.add_argument("--model", nargs=1, required=True, metavar="NAME=MODEL")
    heights = commands.add_parser("heights", help="which heights of faces are found, as a table")
    heights.add_argument("--model", nargs="+", required=True, metavar="NAME=MODEL", help="ours or a peer's")
    for command in (precision, events, mistakes, heights):
        command.add_argument("--wider", type=Path, required=True)
        command.add_argument("--ground-truth", type=Path, required=True)
        command.add_argument(
            "--size", type=parse_size, default=640, help="long side in pixels, or 'original'"
        )
    for command in (learning, precision, events, mistakes):
        command.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.kind == "learning":
        draw_learning({n: Path(p) for n, _, p in (r.partition("=") for r in args.runs)}, args.output)
        return
    truth = read_ground_truth(args.ground_truth)
    photos = find_photos(args.wider, truth)
    named = {name: model for name, _, model in (m.partition("=") for m in args.model)}
    found = {name: predict(open_detector(model, args.size), photos) for name, model in named.items()}
    if args.kind == "mistakes":
        draw_mistakes(next(iter(found.values())), truth, photos, args.output)
        return
    if args.kind == "heights":
        scales = input_scales(photos, args.size)
        tables = {name: recall_by_height(boxes, truth, scales) for name, boxes in found.items()}
        print("height in pixels | faces | " + " | ".join(tables))
        for (low, high), (faces, _) in next(iter(tables.values())).items():
            if not faces:
                continue
            shares = " | ".join(f"{table[low, high][1]:.2f}" for table in tables.values())
            span = f"{low} and above" if high == HEIGHTS[-1] else f"{low} to {high}"
            print(f"{span} | {faces} | {shares}")
        return
    subtitle = f"{len(photos)} photos, long side {args.size}"
    if args.kind == "events":
        shares = {name: by_event(boxes, truth) for name, boxes in found.items()}
        draw_events(shares, trained_events(args.wider), args.output, subtitle)
        return
    evaluations = {name: evaluate(boxes, truth) for name, boxes in found.items()}
    for name, curves in evaluations.items():
        print(f"{name}: " + " / ".join(f"{curves[d].average_precision:.4f}" for d in DIFFICULTIES))
    draw_precision_recall(evaluations, args.output, subtitle)


if __name__ == "__main__":
    main()
