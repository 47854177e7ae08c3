"""Files out of bare git repositories: many data sets lie in one, some in its history alone."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .wider import LabelError

__all__ = ["Taken", "extract", "obtain"]

HISTORY = "all"


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken out of a repository.

    Attributes
    ----------
    repository : str
        "OWNER/NAME".
    take : str
        Regular expression that is searched in paths.
    strip : str
        Regular expression of what is cut out of a path, once; empty for nothing.
    revision : str
        A commit; "all" for the whole history, of each path the newest version that is there.
    """

    repository: str
    take: str
    strip: str = ""
    revision: str = "HEAD"


def obtain(repository: str, folder: Path, origin: str) -> Path:
    """Return the bare repository `folder/OWNER/NAME.git`, cloned from `origin/OWNER/NAME` if it is not there.

    Raises
    ------
    LabelError
        If it can't be cloned.
    """
    place = folder / f"{repository}.git"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        # appears whole or not at all
        partial = place.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        address = f"{origin}/{repository}"
        done = subprocess.run(["git", "clone", "--quiet", "--bare", address, partial], check=False)
        if done.returncode:
            raise LabelError(
                f"git could not clone {address}, which goes to {place}. Clone it there by hand, or leave "
                "what needs it out by --without"
            )
        partial.rename(place)
    return place


def extract(place: Path, taken: Taken, folder: Path) -> tuple[int, int]:
    """Write what is taken out of a repository to a folder.

    Parameters
    ----------
    place : Path
        The bare repository.
    taken : Taken
    folder : Path
        Files keep their paths under it, less what is stripped.

    Returns
    -------
    written, missing : int
        Missing are files that the repository names and does not have, as a partial clone.

    Raises
    ------
    LabelError
        If nothing can be taken.
    """
    objects: dict[str, list[str]] = {}
    for name, path in _blobs(place, taken):
        if re.search(taken.take, path) and ".." not in PurePosixPath(path).parts:
            objects.setdefault(re.sub(taken.strip, "", path, count=1) if taken.strip else path, []).append(
                name
            )
    written = 0
    with _Contents(place) as contents:
        for path, names in sorted(objects.items()):
            data = next((data for name in names if (data := contents.read(name)) is not None), None)
            if data is not None:
                target = folder / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                written += 1
    if not written:
        raise LabelError(
            f"expected files like {taken.take} in {place} at {taken.revision}, found {len(objects)} and "
            "could read none: the repository has changed, or its copy is incomplete"
        )
    return written, len(objects) - written


def _blobs(place: Path, taken: Taken) -> Iterator[tuple[str, str]]:
    """Yield names and paths of objects, newest first."""
    if taken.revision == HISTORY:
        for line in _git(place, "rev-list", "--objects", "--all", "--missing=allow-any").split(b"\n"):
            name, _, path = line.partition(b" ")
            if path:
                yield name.decode(), os.fsdecode(path)
        return
    for line in _git(place, "ls-tree", "-r", "-z", taken.revision).split(b"\0"):
        about, _, path = line.partition(b"\t")
        # no links, no submodules
        if about.startswith(b"100"):
            yield about.split()[2].decode(), os.fsdecode(path)


def _git(place: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "--git-dir", place, *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise LabelError(f"git could not read {place}: {said}")
    return done.stdout


class _Contents:
    """Objects of a repository, read by one process of git."""

    def __init__(self, place: Path) -> None:
        command = ["git", "--git-dir", str(place), "cat-file", "--batch"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "_Contents":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes; None if it is no file, or not there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name.encode() + b"\n")
        self._process.stdin.flush()
        header = self._process.stdout.readline().split()
        if len(header) != 3:
            return None
        data = self._process.stdout.read(int(header[2]))
        self._process.stdout.read(1)
        return data if header[1] == b"blob" else None
