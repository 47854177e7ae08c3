"""Label photos by detectors that agree: `python -m featherface_training.pseudo_label --help`.

A face is what at least two detectors find with confidence. What only one finds, or what they find with less
confidence, is ignored in training: neither face nor background. Known boxes (Pascal VOC) and known landmarks
(68 points, iBUG 300-W's order) are taken where there are any, and then only what nobody labelled is ignored.
Known animals (AnimalPose) are no faces, however many detectors say so. Known heads (ShanghaiTech) on which no
face was found are ignored: they may have one that is too small for the detectors. So are the known heads of
people at sport (Leeds Sports Pose Extended), for detectors miss many a face upside down. Photos that look
like one of those that measure a model are left out.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .data.annotations import write_annotations
from .data.resemblance import Gallery
from .data.wider import LabelError, LabelledPhoto
from .evaluation.boxes import overlaps
from .evaluation.peers import Found, Peer
from .known import Findings, Knowledge, KnownAnimals, KnownBoxes, KnownHeads, KnownPoints, KnownPoses

__all__ = ["agree", "main"]

# scores of a face and of what is ignored at least
ACCEPT, DOUBT = 0.6, 0.3
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def agree(
    findings: list[Found],
    *,
    accept: float = ACCEPT,
    doubt: float = DOUBT,
    iou: float = 0.5,
    negatives: bool = False,
) -> Findings:
    """Reconcile what several detectors found in one photo.

    Parameters
    ----------
    findings : list of Found
        One for each detector.
    accept, doubt : float
        A face needs two detectors at `accept`; other findings from `doubt` on are ignored regions.
    iou : float
        Least overlap of two findings that mean the same face.
    negatives : bool
        The photos are known to have hardly any face: what one detector finds alone is background.

    Returns
    -------
    Findings
        Boxes and landmarks are means over the detectors that agree.
    """
    boxes = np.concatenate([f.boxes for f in findings])
    scores = np.concatenate([f.scores for f in findings])
    landmarks = np.concatenate([f.landmarks for f in findings])
    owner = np.concatenate([np.full(len(f.scores), i) for i, f in enumerate(findings)])
    kept = scores >= doubt
    boxes, scores, landmarks, owner = boxes[kept], scores[kept], landmarks[kept], owner[kept]
    same = overlaps(boxes, boxes) >= iou
    used = np.zeros(len(boxes), bool)
    faces, points, doubtful = [], [], []
    for best in np.argsort(-scores):
        if used[best]:
            continue
        group = np.flatnonzero(same[best] & ~used)
        used[group] = True
        sure = group[scores[group] >= accept]
        if len(set(owner[sure].tolist())) >= 2:
            faces.append(boxes[sure].mean(0))
            points.append(landmarks[sure].mean(0))
        elif not negatives or len(set(owner[group].tolist())) >= 2:
            doubtful.append(boxes[best])
    return Findings(
        np.array(faces).reshape(-1, 4),
        np.array(points).reshape(-1, 5, 2),
        np.array(doubtful).reshape(-1, 4),
    )


def _upright(path: Path) -> bool:
    from PIL import Image

    with Image.open(path) as image:
        return image.getexif().get(0x0112, 1) == 1


def _photos(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise LabelError(f"{folder}: expected photos ({', '.join(sorted(SUFFIXES))}), found none")
    return paths


def _candidates(folder: Path, knowledge: Sequence[Knowledge]) -> list[Path]:
    paths = _photos(folder)
    covered = [path for path in paths if all(known.covers(path) for known in knowledge)]
    if not covered:
        kinds = " and ".join(known.name for known in knowledge)
        raise LabelError(
            f"{folder}: expected photos of which {kinds} are known, got {len(paths)} others: "
            "check that photos and labels belong together"
        )
    return covered


def _label(
    paths: Sequence[Path],
    find: Callable[[NDArray[np.uint8]], Findings],
    knowledge: Sequence[Knowledge],
    unlike: Gallery | None,
) -> Iterator[tuple[Path, Findings]]:
    for path in tqdm(paths, desc="labelling", unit="photo", disable=None):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None or not _upright(path):
            continue
        if unlike is not None and unlike.resembles(pixels):
            continue
        labels: Findings | None = find(np.ascontiguousarray(pixels[..., ::-1]))
        for known in knowledge:
            if labels is not None:
                labels = known.correct(path, labels)
        if labels is not None:
            yield path, labels


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.pseudo_label", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder, searched to the bottom")
    parser.add_argument("--detector", type=Path, action="append", required=True, help="ONNX; at least twice")
    parser.add_argument("--output", type=Path, required=True, help="JSON Lines file")
    parser.add_argument(
        "--size", type=int, default=640, help="long side of the detectors' input (default 640)"
    )
    parser.add_argument(
        "--negatives", action="store_true", help="hardly any photo has a face: a lone finding is background"
    )
    parser.add_argument("--voc", type=Path, help="folder of Pascal VOC files: their boxes are the faces")
    parser.add_argument(
        "--keypoints", type=Path, help="table of 68 points a photo: landmarks of its one face"
    )
    parser.add_argument(
        "--animals", type=Path, help="AnimalPose's keypoints.json: what is found on their heads is background"
    )
    parser.add_argument(
        "--heads",
        action="store_true",
        help="photos of ShanghaiTech, with its ground-truth folders: heads without a face are ignored",
    )
    parser.add_argument(
        "--poses",
        type=Path,
        help="joints.mat of Leeds Sports Pose Extended: a head without a face is ignored",
    )
    parser.add_argument(
        "--unlike",
        type=Path,
        help="folder of photos that measure, searched to the bottom: what looks like one of them is left out",
    )
    parser.add_argument(
        "--accept",
        type=float,
        default=ACCEPT,
        help=f"score that each of two needs for a face (default {ACCEPT})",
    )
    parser.add_argument(
        "--doubt",
        type=float,
        default=DOUBT,
        help=f"score from which on a finding is at least ignored (default {DOUBT})",
    )
    args = parser.parse_args(arguments)
    if len(args.detector) < 2:
        parser.error("one detector cannot agree with itself: name at least two")
    knowledge: list[Knowledge] = []
    try:
        if args.voc:
            knowledge.append(KnownBoxes(args.voc))
        if args.keypoints:
            knowledge.append(KnownPoints(args.keypoints))
        if args.animals:
            knowledge.append(KnownAnimals(args.animals))
        if args.heads:
            knowledge.append(KnownHeads())
        if args.poses:
            knowledge.append(KnownPoses(args.poses))
        paths = _candidates(args.photos, knowledge)
        unlike = Gallery(_photos(args.unlike)) if args.unlike else None
    except LabelError as error:
        parser.error(str(error))
    detectors = [Peer(path, threshold=args.doubt, threads=1) for path in args.detector]

    def find(rgb: NDArray[np.uint8]) -> Findings:
        found = [detector(rgb, args.size) for detector in detectors]
        return agree(found, accept=args.accept, doubt=args.doubt, negatives=args.negatives)

    faces = regions = 0

    def counted() -> Iterator[LabelledPhoto]:
        nonlocal faces, regions
        for path, labels in _label(paths, find, knowledge, unlike):
            faces += len(labels.boxes)
            regions += len(labels.ignored)
            yield LabelledPhoto(
                path.relative_to(args.photos).as_posix(),
                labels.boxes.astype(np.float32),
                labels.landmarks.astype(np.float32),
                labels.ignored.astype(np.float32),
            )

    labelled = write_annotations(args.output, counted())
    print(f"{args.output}: {labelled} photos, {faces} faces, {regions} ignored regions")


if __name__ == "__main__":
    main()
