"""Every error that the functions raise on purpose; those of the inference package keep their own tree.

::

    FunctionError                    function
    ├── RequestError                 invalid_request         the caller must change the request
    │   ├── InvalidOptionError       invalid_option          an option is unknown, mistyped or out of range
    │   ├── MediaTypeError           unsupported_media_type  the body's Content-Type is none that is read
    │   ├── OutputTakenError         output_taken            a job's output is another caller's
    │   ├── PayloadTooLargeError     payload_too_large       more bytes or photos than one call may carry
    │   └── AnswerTooLargeError      answer_too_large        more faces than one answer may carry
    ├── PhotoError                   photo                   the stored photo is at fault; don't retry
    │   ├── PhotoNotFoundError       photo_not_found         it does not exist
    │   ├── PhotoArchivedError       photo_archived          it must be restored from an archive first
    │   ├── PhotoEncryptedError      photo_encrypted         its key is its owner's alone, or is deleted
    │   ├── PhotoReplacedError       photo_replaced          other bytes are stored by now than were announced
    │   └── PhotoKeyError            photo_key_too_long      its result's name would be longer than S3 allows
    ├── ResultNotFoundError          result_not_found        there is no result by that name, or not yet
    ├── JobNotFoundError             job_not_found           the caller has no job by that id
    ├── JobConflictError             job_conflict            an idempotency key stands for another request
    ├── UnderWayError                under_way               another invocation is at this very change
    ├── InvalidEventError            invalid_event           a message is no event that this function knows
    ├── StorageDeniedError           storage_denied          this function may not read the photo
    │   └── MissingRightError        missing_right           it lacks a right that it needs whatever the photo
    ├── StorageUnavailableError      storage_unavailable     storage is throttling, timing out or down: retry
    └── SetupError                   setup                   an environment variable is missing

The right column of names is each class's ``code``: stable, for records, metrics and API answers. A message
says what was expected, what came and what to do; it may reach the caller, so it never holds another's data.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AnswerTooLargeError",
    "FunctionError",
    "InvalidEventError",
    "InvalidOptionError",
    "JobConflictError",
    "JobNotFoundError",
    "MediaTypeError",
    "MissingRightError",
    "OutputTakenError",
    "PayloadTooLargeError",
    "PhotoArchivedError",
    "PhotoEncryptedError",
    "PhotoError",
    "PhotoKeyError",
    "PhotoNotFoundError",
    "PhotoReplacedError",
    "RequestError",
    "ResultNotFoundError",
    "SetupError",
    "StorageDeniedError",
    "StorageUnavailableError",
    "UnderWayError",
]


class FunctionError(Exception):
    """Base of every error that the functions raise on purpose."""

    code: ClassVar[str] = "function"


class RequestError(FunctionError):
    """The request cannot be understood; the caller must change it."""

    code = "invalid_request"


class InvalidOptionError(RequestError):
    """An option is unknown, has the wrong type or is out of range."""

    code = "invalid_option"


class MediaTypeError(RequestError):
    """The body's Content-Type is none that the API reads."""

    code = "unsupported_media_type"


class OutputTakenError(RequestError):
    """A job's output lies in a folder that is another caller's."""

    code = "output_taken"


class PayloadTooLargeError(RequestError):
    """The call carries more bytes or photos than one call may."""

    code = "payload_too_large"


class AnswerTooLargeError(RequestError):
    """There are more faces than one answer may carry."""

    code = "answer_too_large"


class PhotoError(FunctionError):
    """The stored photo is at fault; the same event will fail again."""

    code = "photo"


class PhotoNotFoundError(PhotoError):
    """There is no such photo in the bucket."""

    code = "photo_not_found"


class PhotoArchivedError(PhotoError):
    """The photo lies in an archive such as S3 Glacier and must be restored before it can be read."""

    code = "photo_archived"


class PhotoEncryptedError(PhotoError):
    """Only whoever stored the photo has its key (SSE-C), or KMS has none any more."""

    code = "photo_encrypted"


class PhotoReplacedError(PhotoError):
    """The bucket holds other bytes than those that were announced."""

    code = "photo_replaced"


class PhotoKeyError(PhotoError):
    """The photo's key is too long for a result of that name."""

    code = "photo_key_too_long"


class ResultNotFoundError(FunctionError):
    """There is no result by that name, or not yet."""

    code = "result_not_found"


class JobNotFoundError(FunctionError):
    """The caller has no job by that id."""

    code = "job_not_found"


class JobConflictError(FunctionError):
    """An idempotency key stands for another request already."""

    code = "job_conflict"


class UnderWayError(FunctionError):
    """Another invocation works on the same change at the moment."""

    code = "under_way"


class InvalidEventError(FunctionError):
    """A message is none of the events that the function knows."""

    code = "invalid_event"


class StorageDeniedError(FunctionError):
    """The function's role may not read the photo; whether it is there, is nothing for who asks."""

    code = "storage_denied"


class MissingRightError(StorageDeniedError):
    """The function lacks a right that it needs whatever photo comes, which is the operator's to give."""

    code = "missing_right"


class StorageUnavailableError(FunctionError):
    """Storage is throttling, timing out or down; the same call may succeed later."""

    code = "storage_unavailable"


class SetupError(FunctionError):
    """The function's environment lacks what it needs."""

    code = "setup"
