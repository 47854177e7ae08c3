"""From a change of a photo to its result.

The index says which change of a photo is the newest; the results bucket is made to agree with it. Events may
come twice, out of order and side by side, and a function may die at any line: whoever wrote a result settles
the row on condition that its change still is the newest, and starts over with the newest if not. So the last
writer always leaves the newest photo's result, and an event that comes late or again finds out whether the
object and the row agree.
"""

from __future__ import annotations

from typing import Any, Final

from featherface import ImageError
from ingest.events import Change
from ingest.index import Index, Outcome, Row
from shared.analysis import Analysis, analyse
from shared.detectors import Detectors
from shared.errors import PhotoError, PhotoKeyError, PhotoNotFoundError, StorageUnavailableError
from shared.observability import record_analysis, record_error
from shared.photos import StoredPhoto, fetch
from shared.results import ResultStore, result_key

__all__ = ["IngestService"]

# Each round is lost only to a newer change of the same photo, so more than a few mean that it changes faster
# than it can be analysed: the queue brings the event back later.
_ROUNDS: Final = 5
_ORDER: Final = "change-order"


class IngestService:
    """Settles changes of photos.

    Parameters
    ----------
    detectors : Detectors
    s3 : boto3 client
        Reads photos.
    results : ResultStore
    index : Index
    """

    def __init__(self, detectors: Detectors, s3: Any, results: ResultStore, index: Index) -> None:
        self._detectors = detectors
        self._s3 = s3
        self._results = results
        self._index = index

    def settle(self, change: Change) -> str:
        """Bring the results bucket and the index up to the newest known change of a photo.

        Parameters
        ----------
        change : Change
            Newest or not.

        Returns
        -------
        str
            The photo's state: ``done``, ``failed``, ``removed``, or ``ignored`` for a result of our own.

        Raises
        ------
        StorageDeniedError, StorageUnavailableError, ModelIntegrityError, ProviderError
            Not the photo's fault: the event must come back.
        """
        if change.bucket == self._results.bucket:
            # a trigger on the results bucket would otherwise feed on what it writes
            return "ignored"
        self._index.claim(change)
        for _ in range(_ROUNDS):
            row = self._index.read(change.bucket, change.key)
            if self._agrees(row):
                return row.state
            outcome = self._carry_out(row.change)
            if self._index.settle(row.change, outcome):
                return outcome.state
        raise StorageUnavailableError(f"the photo changed {_ROUNDS} times while it was analysed; try again")

    def _agrees(self, row: Row) -> bool:
        """Whether a row is settled and the results bucket holds just what it says."""
        if row.state == "pending":
            return False
        try:
            stored = self._results.metadata(result_key(row.change.key))
        except PhotoKeyError:
            return True
        if row.state == "removed":
            return stored is None
        return stored is not None and stored.get(_ORDER) == row.change.order

    def _carry_out(self, change: Change) -> Outcome:
        try:
            key = result_key(change.key)
        except PhotoKeyError as error:
            # no result can have such a name, so the index alone remembers the photo
            record_error(error.code)
            return Outcome("failed", error_code=error.code)
        if change.kind == "removed":
            self._results.remove(key)
            return Outcome("removed")
        # With a version gone, whatever is the newest now decides: an older version, a newer one, or none.
        photo = change.photo if change.kind == "created" else StoredPhoto(change.bucket, change.key)
        try:
            photo, data = fetch(self._s3, photo, self._detectors.settings.max_image_bytes)
            analysis = analyse(self._detectors.get(), data)
        except PhotoNotFoundError as error:
            if change.kind == "version_removed":
                self._results.remove(key)
                return Outcome("removed")
            return self._write_error(key, change, photo, error)
        except (ImageError, PhotoError) as error:
            return self._write_error(key, change, photo, error)
        return self._write_result(key, change, photo, analysis)

    def _write_result(self, key: str, change: Change, photo: StoredPhoto, analysis: Analysis) -> Outcome:
        record_analysis(analysis)
        model = analysis.model
        metadata = {
            _ORDER: change.order,
            "model": model.model,
            "model-version": model.version,
            "model-sha256": model.sha256,
        }
        self._results.write(key, analysis.to_dict(photo=photo), metadata)
        return Outcome("done", result_key=key, faces=len(analysis.detections.faces), photo=photo)

    def _write_error(
        self, key: str, change: Change, photo: StoredPhoto, error: ImageError | PhotoError
    ) -> Outcome:
        record_error(error.code)
        document = {"error": {"code": error.code, "message": str(error)}, "photo": photo.to_dict()}
        self._results.write(key, document, {_ORDER: change.order, "error-code": error.code})
        return Outcome("failed", result_key=key, error_code=error.code, photo=photo)
