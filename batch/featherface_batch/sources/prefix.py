"""A prefix of a bucket as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from featherface_batch.errors import SourceError
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Address, S3Options, s3_client, s3_reason
from featherface_batch.sources.naming import is_hidden, looks_like_photo

__all__ = ["PrefixSource"]

_LOOSE: Final = "*"
_ENOUGH: Final = 16
_TOO_MANY: Final = 5000
# Where so many pages hold keys and no sub-prefix, to look further would be to list twice.
_FLAT_PAGES: Final = 50


@dataclass(frozen=True, slots=True)
class PrefixSource:
    """All photos below a prefix, in the order of the bucket's listing; hidden ones are left out.

    Parameters
    ----------
    address : S3Address
        Its key is empty or ends with a slash.
    options : S3Options
    """

    address: S3Address
    options: S3Options

    @classmethod
    def parse(cls, text: str, options: S3Options) -> PrefixSource:
        """Read ``s3://bucket/prefix``; the prefix means a folder, with or without its last slash."""
        address = S3Address.parse(text)
        key = address.key
        return cls(S3Address(address.bucket, f"{key}/" if key and not key.endswith("/") else key), options)

    @property
    def name(self) -> str:
        """The address, ``s3://bucket/prefix/``."""
        return str(self.address)

    def partitions(self) -> list[str]:
        """Return the sub-prefixes that can be listed side by side, and one for the keys beside them.

        One level is looked at, or more while a level holds nothing but a few sub-prefixes. What begins with
        very many keys and no sub-prefix is one partition with all below it.
        """
        level, loose, flat = [""], [], []
        while len(level) < _ENOUGH:
            deeper: list[str] = []
            for prefix in level:
                found = self._look(prefix)
                if found is None:
                    flat.append(prefix)
                    continue
                below, has_keys = found
                deeper += below
                if has_keys:
                    loose.append(_LOOSE + prefix)
            if not deeper:
                level = []
                break
            if len(deeper) > _TOO_MANY:
                return [""]
            level = deeper
        names = sorted(loose + flat + level, key=lambda name: name.removeprefix(_LOOSE))
        return names if len(names) > 1 else [""]

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the photos of a partition."""
        prefix = partition.removeprefix(_LOOSE)
        skip = len(self.address.key)
        for page in self._pages(prefix, "/" if partition.startswith(_LOOSE) else ""):
            for entry in page.get("Contents", ()):
                key = entry["Key"]
                if not key.endswith("/") and looks_like_photo(key[skip:]):
                    yield Photo(key[skip:], f"s3://{self.address.bucket}/{key}", int(entry["Size"]))

    def in_order(self) -> Iterator[Photo]:
        """Yield all photos in the order of the bucket's listing."""
        return self.photos("")

    def _look(self, prefix: str) -> tuple[list[str], bool] | None:
        """Return the sub-prefixes and whether there are keys beside them; None where keys are nearly all."""
        below: list[str] = []
        has_keys = False
        for number, page in enumerate(self._pages(prefix, "/")):
            if number == _FLAT_PAGES and not below:
                return None
            found = (entry["Prefix"][len(self.address.key) :] for entry in page.get("CommonPrefixes", ()))
            below += [name for name in found if not is_hidden(name)]
            has_keys = has_keys or bool(page.get("Contents"))
            if len(below) > _TOO_MANY:
                break
        return below, has_keys

    def _pages(self, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        paginator = s3_client(self.options).get_paginator("list_objects_v2")
        full = self.address.key + prefix
        try:
            yield from paginator.paginate(Bucket=self.address.bucket, Prefix=full, Delimiter=delimiter)
        except Exception as error:
            place = S3Address(self.address.bucket, full)
            raise SourceError(f"{place} cannot be listed: {s3_reason(error).text}") from error
