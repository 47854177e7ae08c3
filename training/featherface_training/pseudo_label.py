"""Label photos by detectors that agree: `python -m featherface_training.pseudo_label --help`.

A face is what at least two detectors find with confidence. What only one finds, or what they find with less
confidence, is ignored in training: neither face nor background. Known boxes (Pascal VOC) and known landmarks
(68 points, iBUG 300-W's order) are taken where there are any, and then only what nobody labelled is ignored.
Known animals (AnimalPose) are no faces, however many detectors say so. Known heads (ShanghaiTech) on which no
face was found are ignored: they may have one that is too small for the detectors.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .data.animals import Animals, read_animals
from .data.annotations import write_annotations
from .data.heads import around, heads_file, read_heads
from .data.wider import LabelledPhoto
from .evaluation.boxes import inside, overlaps
from .evaluation.landmarks import five_points, read_keypoints
from .evaluation.peers import Found, Peer

__all__ = ["agree", "main", "read_voc"]

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
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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
    boxes : ndarray, shape (F, 4), float64
        Means over the detectors that agree.
    landmarks : ndarray, shape (F, 5, 2), float64
    ignored : ndarray, shape (G, 4), float64
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
    return (
        np.array(faces).reshape(-1, 4),
        np.array(points).reshape(-1, 5, 2),
        np.array(doubtful).reshape(-1, 4),
    )


def read_voc(path: Path) -> NDArray[np.float64]:
    """Read the boxes of a Pascal VOC file, whatever their names: shape (F, 4)."""
    boxes = [
        [float(box.findtext(side, "nan")) for side in ("xmin", "ymin", "xmax", "ymax")]
        for box in ElementTree.parse(path).getroot().iter("bndbox")
    ]
    found = np.array(boxes, float).reshape(-1, 4)
    return found[((found[:, 2:] - found[:, :2]) >= 1).all(1)]


def _upright(path: Path) -> bool:
    from PIL import Image

    with Image.open(path) as image:
        return image.getexif().get(0x0112, 1) == 1


def _label(
    folder: Path,
    detectors: list[Peer],
    size: int,
    negatives: bool,
    voc: dict[str, Path],
    keypoints: dict[str, NDArray[np.float64]],
    animals: dict[str, Animals],
    accept: float,
    doubt: float,
    heads: bool,
) -> Iterator[LabelledPhoto]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    for path in tqdm(paths, desc="labelling", unit="photo", disable=None):
        if (voc and path.stem not in voc) or (keypoints and path.name not in keypoints):
            continue
        if heads and not heads_file(path).is_file():
            continue
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None or not _upright(path):
            continue
        rgb = np.ascontiguousarray(pixels[..., ::-1])
        boxes, landmarks, ignored = agree(
            [detector(rgb, size) for detector in detectors], accept=accept, doubt=doubt, negatives=negatives
        )
        if voc:
            known = read_voc(voc[path.stem])
            iou = overlaps(known, np.concatenate([boxes, ignored]))
            unlabelled = iou.max(0) < 0.35 if len(known) else np.ones(iou.shape[1], bool)
            ignored = np.concatenate([boxes, ignored])[unlabelled]
            points = np.full((len(known), 5, 2), np.nan)
            for row, face in enumerate(iou[:, : len(boxes)].argmax(1) if len(boxes) else ()):
                if iou[row, face] >= 0.5:
                    points[row] = landmarks[face]
            boxes, landmarks = known, points
        if keypoints:
            truth = keypoints[path.name]
            centre = (truth.min(0) + truth.max(0)) / 2
            its = inside(centre[None], boxes)[0]
            if its.sum() != 1:
                continue
            landmarks[its] = five_points(truth)
        if path.name in animals:
            there = animals[path.name]
            held = there.hold(boxes)
            # a face over an animal's body is anyone's guess: its owner's, or a pattern in its fur
            doubtful = np.concatenate([ignored, boxes[held]])
            ignored = doubtful[~there.show_in(doubtful)]
            boxes, landmarks = boxes[~held], landmarks[~held]
        if heads:
            known = read_heads(heads_file(path))
            told = inside(known, np.concatenate([boxes, ignored])).any(1)
            ignored = np.concatenate([ignored, around(known)[~told]])
        yield LabelledPhoto(
            path.relative_to(folder).as_posix(),
            boxes.astype(np.float32),
            landmarks.astype(np.float32),
            ignored.astype(np.float32),
        )


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
    photos = _label(
        args.photos,
        [Peer(path, threshold=args.doubt, threads=1) for path in args.detector],
        args.size,
        args.negatives,
        {path.stem: path for path in args.voc.rglob("*.xml")} if args.voc else {},
        read_keypoints(args.keypoints) if args.keypoints else {},
        read_animals(args.animals) if args.animals else {},
        args.accept,
        args.doubt,
        args.heads,
    )
    faces = regions = 0

    def counted() -> Iterator[LabelledPhoto]:
        nonlocal faces, regions
        for photo in photos:
            faces += len(photo.boxes)
            regions += len(photo.ignored)
            yield photo

    labelled = write_annotations(args.output, counted())
    print(f"{args.output}: {labelled} photos, {faces} faces, {regions} ignored regions")


if __name__ == "__main__":
    main()
