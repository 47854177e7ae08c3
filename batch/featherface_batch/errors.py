"""Every error that the bulk job raises on purpose, as one tree.

::

    BatchError                     batch
    ├── UsageError                 usage               an option or a combination of options is wrong
    ├── SourceError                source              the source cannot be listed
    ├── ClusterError               cluster             Ray cannot be reached, or does not start
    ├── StorageError               storage             the output cannot be read or written
    ├── OutputMismatchError        output_mismatch     the output belongs to a run with other options
    ├── RunInUseError              run_in_use          another command works on the output
    ├── TooManyErrorsError         too_many_errors     more photos failed than --max-errors allows
    ├── ReconciliationError        reconciliation      planned and recorded photos differ
    ├── WorkerError                worker              a worker cannot start, or cannot record what it did
    └── PhotoError                 photo               one photo could not be annotated
        ├── MissingPhotoError      missing             it was listed, but is gone
        ├── DeniedPhotoError       access_denied       the credentials or permissions don't allow to read it
        ├── ArchivedPhotoError     archived            it lies in an archive such as S3 Glacier
        ├── FetchError             fetch_failed        it could not be read for another reason
        ├── TimeoutPhotoError      timeout             it took longer than --timeout
        └── WorkerCrashError       worker_crash        it ended the process that worked on it

The right column of names is each class's ``code``. A `PhotoError` never ends a run: it becomes the photo's
record, as do the image errors of `featherface.errors`, whose codes stand beside these.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ArchivedPhotoError",
    "BatchError",
    "ClusterError",
    "DeniedPhotoError",
    "FetchError",
    "MissingPhotoError",
    "OutputMismatchError",
    "PhotoError",
    "ReconciliationError",
    "RunInUseError",
    "SourceError",
    "StorageError",
    "TimeoutPhotoError",
    "TooManyErrorsError",
    "UsageError",
    "WorkerCrashError",
    "WorkerError",
]


class BatchError(Exception):
    """Base of every error that the bulk job raises on purpose."""

    code: ClassVar[str] = "batch"


class UsageError(BatchError):
    """An option or a combination of options is wrong."""

    code = "usage"


class SourceError(BatchError):
    """The source cannot be listed."""

    code = "source"


class ClusterError(BatchError):
    """Ray cannot be reached, or does not start."""

    code = "cluster"


class StorageError(BatchError):
    """The output cannot be read or written."""

    code = "storage"


class OutputMismatchError(BatchError):
    """The output belongs to a run with another source, model or options."""

    code = "output_mismatch"


class RunInUseError(BatchError):
    """Another command works on the output."""

    code = "run_in_use"


class TooManyErrorsError(BatchError):
    """More photos failed than the run may lose."""

    code = "too_many_errors"


class ReconciliationError(BatchError):
    """The planned photos and the recorded ones are not the same."""

    code = "reconciliation"


class WorkerError(BatchError):
    """A worker cannot start, or cannot record what it did."""

    code = "worker"


class PhotoError(BatchError):
    """One photo could not be annotated."""

    code = "photo"


class MissingPhotoError(PhotoError):
    """The photo was listed, but is gone."""

    code = "missing"


class DeniedPhotoError(PhotoError):
    """The credentials or permissions don't allow to read the photo."""

    code = "access_denied"


class ArchivedPhotoError(PhotoError):
    """The photo lies in an archive and must be restored before it can be read."""

    code = "archived"


class FetchError(PhotoError):
    """The photo could not be read."""

    code = "fetch_failed"


class TimeoutPhotoError(PhotoError):
    """The photo took longer than a photo may."""

    code = "timeout"


class WorkerCrashError(PhotoError):
    """The photo ended the process that worked on it."""

    code = "worker_crash"
