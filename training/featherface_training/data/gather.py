"""Gather photos of WIDER FACE from other data sets: `python -m featherface_training.data.gather --help`.

Sets of faces with masks or with landmarks took photos of WIDER FACE over, under their names. With WIDER's
own labels they train like the rest of it: `--extra more=label.txt.gz:OUTPUT`. Photos that the labels don't
name, such as those of val, stay where they are, and so do copies that were made larger or smaller: the labels
are in pixels.
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .wider import LabelError, find_image_root, read_labels

__all__ = ["gather", "main"]

# of every photo of WIDER FACE, pixels
WIDTH = 1024


def _is_as_wide(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.width == WIDTH
    except UnidentifiedImageError:
        return False


def gather(
    names: Iterable[str], sources: Iterable[Path], known: Path, output: Path
) -> Iterator[tuple[Path, str, bool]]:
    """Copy photos of these names that `known` lacks, each once, from the first source that has it as it was.

    Parameters
    ----------
    names : iterable of str
        `event/file.jpg`; no two files of WIDER FACE have one name.
    sources : iterable of Path
        Folders, searched to the bottom.
    known, output : Path
        Folders of events. What `output` has is not copied again.

    Yields
    ------
    source, name, taken : Path, str, bool
        Of each photo that was found, where; False if it isn't as wide as WIDER FACE's, or no picture.
    """
    events = {Path(name).name: name for name in names if not (known / name).is_file()}
    for source in sources:
        for path in sorted(source.rglob("*.jpg")):
            name = events.get(path.name)
            if name is None:
                continue
            if not _is_as_wide(path):
                yield source, name, False
                continue
            del events[path.name]
            target = output / name
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                # appears whole or not at all
                temporary = target.with_suffix(".tmp")
                shutil.copyfile(path, temporary)
                temporary.replace(target)
            yield source, name, True


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.data.gather", description=__doc__)
    parser.add_argument("source", type=Path, nargs="+", help="folder; the first that has a photo counts")
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whose photos are known")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    try:
        missing = [source for source in args.source if not source.is_dir()]
        if missing:
            raise LabelError(f"expected folders of photos, {missing[0]} is none")
        faces = {photo.name: len(photo.boxes) for photo in read_labels(args.labels)}
        found = list(gather(faces, args.source, find_image_root(args.wider, "train"), args.output))
    except (OSError, LabelError) as error:
        parser.error(str(error))
    counts = Counter((source, taken) for source, _, taken in found)
    for source in args.source:
        left = counts[source, False]
        others = f", {left} more are not {WIDTH} pixels wide" if left else ""
        print(f"{source}: {counts[source, True]} photos{others}")
    names = [name for _, name, taken in found if taken]
    events = {Path(name).parent for name in names}
    print(f"{args.output}: {len(names)} photos of {len(events)} events, {sum(map(faces.get, names))} faces")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
