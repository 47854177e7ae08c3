"""Gather photos of WIDER FACE from other data sets: `python -m featherface_training.data.gather --help`.

Sets of faces with masks or with landmarks took photos of WIDER FACE over, under their names. With WIDER's
own labels they train like the rest of it: `--extra more=label.txt.gz:OUTPUT`. Photos that the labels don't
name, such as those of val, stay where they are, and so do copies that were made larger or smaller, for the
labels are in pixels: unless their folder is given as `--stretched` and `--sizes` tells what they measured.
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from .wider import LabelError, find_image_root, read_labels

__all__ = ["Sizes", "gather", "main"]

# of every photo of WIDER FACE, pixels
WIDTH = 1024
# of the JPEG files of photos that were stretched
QUALITY = 95


class Sizes:
    """What photos measured at first, out of a folder of annotations in PASCAL VOC's XML, `NAME.xml` each.

    Parameters
    ----------
    folder : Path
        Searched to the bottom; a file is read when its photo is asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in folder.rglob("*.xml")}

    def __getitem__(self, name: str) -> tuple[int, int]:
        """Return the width and height of `event/file.jpg`, pixels.

        Raises
        ------
        LabelError
            If no file tells.
        """
        stem = Path(name).stem
        path = self._files.get(stem)
        if path is None:
            raise LabelError(f"expected {stem}.xml among the sizes: nothing else tells what {name} measured")
        try:
            root = ElementTree.parse(path).getroot()
            return int(root.findtext("size/width", "")), int(root.findtext("size/height", ""))
        except (ElementTree.ParseError, ValueError) as error:
            raise LabelError(f"expected <size> with <width> and <height> in {path}: {error}") from error


def _write(path: Path, target: Path, size: tuple[int, int] | None) -> bool:
    """Copy a photo that is as wide as WIDER's, or make it as large as told; returns whether it was taken."""
    try:
        with Image.open(path) as image:
            as_it_was = image.width == WIDTH if size is None else image.size == size
            if size is None and not as_it_was:
                return False
            pixels = None if as_it_was else image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    except OSError:
        # no picture, or half of one
        return False
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # appears whole or not at all
        temporary = target.with_suffix(".tmp")
        if pixels is None:
            shutil.copyfile(path, temporary)
        else:
            pixels.save(temporary, "JPEG", quality=QUALITY)
        temporary.replace(target)
    return True


def gather(
    names: Iterable[str],
    sources: Iterable[Path],
    known: Path,
    output: Path,
    stretched: Iterable[Path] = (),
    sizes: Sizes | None = None,
) -> Iterator[tuple[Path, str, bool]]:
    """Copy photos of these names that `known` lacks, each once, from the first source that has it.

    Parameters
    ----------
    names : iterable of str
        `event/file.jpg`; no two files of WIDER FACE have one name.
    sources : iterable of Path
        Folders, searched to the bottom.
    known, output : Path
        Folders of events. What `output` has is not copied again.
    stretched : iterable of Path
        More sources, asked after the others. Their photos are whole, but of another size or shape.
    sizes : Sizes or None
        What those of `stretched` measured at first, and measure in `output`.

    Yields
    ------
    source, name, taken : Path, str, bool
        Of each photo that was found, where; False if it isn't as wide as WIDER FACE's, or no picture.

    Raises
    ------
    LabelError
        If nothing tells what a stretched photo was.
    """
    events = {Path(name).name: name for name in names if not (known / name).is_file()}
    places = [(source, None) for source in sources] + [(source, sizes) for source in stretched]
    for source, told in places:
        for path in sorted(source.rglob("*.jpg")):
            name = events.get(path.name)
            if name is None:
                continue
            taken = _write(path, output / name, told and told[name])
            if taken:
                del events[path.name]
            yield source, name, taken


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.data.gather", description=__doc__)
    parser.add_argument("source", type=Path, nargs="+", help="folder; the first that has a photo counts")
    parser.add_argument(
        "--stretched",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="one more, whose photos were made another size or shape, uncut: they are made as they were",
    )
    parser.add_argument(
        "--sizes",
        type=Path,
        metavar="FOLDER",
        help="what they measured: PASCAL VOC's XML of WIDER FACE, NAME.xml of each photo",
    )
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whose photos are known")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    try:
        sources = args.source + args.stretched
        missing = [source for source in sources if not source.is_dir()]
        if missing:
            raise LabelError(f"expected folders of photos, {missing[0]} is none")
        if args.stretched and not (args.sizes and args.sizes.is_dir()):
            raise LabelError(f"--stretched needs --sizes, a folder of XML files, got {args.sizes}")
        faces = {photo.name: len(photo.boxes) for photo in read_labels(args.labels)}
        known = find_image_root(args.wider, "train")
        sizes = Sizes(args.sizes) if args.stretched else None
        found = list(gather(faces, args.source, known, args.output, args.stretched, sizes))
    except (OSError, LabelError) as error:
        parser.error(str(error))
    counts = Counter((source, taken) for source, _, taken in found)
    for source in sources:
        left = counts[source, False]
        reason = "no pictures" if source in args.stretched else f"not {WIDTH} pixels wide"
        others = f", {left} more are {reason}" if left else ""
        print(f"{source}: {counts[source, True]} photos{others}")
    names = [name for _, name, taken in found if taken]
    events = {Path(name).parent for name in names}
    print(f"{args.output}: {len(names)} photos of {len(events)} events, {sum(map(faces.get, names))} faces")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
