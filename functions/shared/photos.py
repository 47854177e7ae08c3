"""Photos in S3."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from featherface import ImageTooLargeError
from shared.errors import (
    PhotoArchivedError,
    PhotoEncryptedError,
    PhotoNotFoundError,
    PhotoReplacedError,
    StorageDeniedError,
)
from shared.storage import error_code, translated

__all__ = ["UPLOADS", "FetchedPhoto", "StoredPhoto", "fetch"]

UPLOADS: Final = "uploads/"
"""Where the API's callers put photos in the photos bucket, each by an id that only they know."""

# Names that S3 cannot have given, delete markers, and what is really missing.
_MISSING = frozenset(
    {
        "404",
        "405",
        "InvalidBucketName",
        "InvalidURI",
        "KeyTooLongError",
        "MethodNotAllowed",
        "NoSuchBucket",
        "NoSuchKey",
        "NoSuchVersion",
        "NotFound",
    }
)
_INVALID_VERSION = frozenset({"InvalidArgument", "400", "BadRequest"})
_ARCHIVED = "InvalidObjectState"
# What S3 says of a photo whose key only its owner has (SSE-C), and of one whose key KMS has no more: unlike
# one that is disabled, a key that is deleted never comes back.
_ENCRYPTED = frozenset({"InvalidRequest", "KMS.NotFoundException"})
_REPLACED = frozenset({"PreconditionFailed", "412"})


class StoredPhoto(NamedTuple):
    """Which photo, and which state of it.

    Parameters
    ----------
    bucket, key : str
        The key as it is, not URL-encoded.
    version_id : str, optional
        Of a versioned bucket; the current version if omitted.
    etag : str, optional
        Without quotes. When no version is given, the photo must still have it.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None

    @classmethod
    def named(cls, bucket: str, key: str, version_id: str | None, etag: str | None) -> StoredPhoto:
        """Make one of what S3 says, in an event or in an answer.

        The only version in a bucket without versioning is called null, or not named: it tells no state, for
        it can be replaced at any time. ETags come with quotes or without.
        """
        version_id = None if version_id in ("", "null") else version_id
        return cls(bucket, key, version_id, etag.strip('"') if etag else None)

    def to_dict(self) -> dict[str, str]:
        """Return the members that are known, as results name the photo they belong to."""
        members = {"bucket": self.bucket, "key": self.key, "version_id": self.version_id, "etag": self.etag}
        return {name: value for name, value in members.items() if value is not None}


class FetchedPhoto(NamedTuple):
    """A photo's bytes, and which state of it they are.

    Parameters
    ----------
    photo : StoredPhoto
        With the version and the ETag that S3 answered with, whichever was asked for.
    data : bytes
    """

    photo: StoredPhoto
    data: bytes


def fetch(s3: Any, photo: StoredPhoto, max_bytes: int) -> FetchedPhoto:
    """Download a photo.

    Parameters
    ----------
    s3 : boto3 client
    photo : StoredPhoto
    max_bytes : int
        A larger photo is refused by the size that S3 states, before its bytes are read.

    Raises
    ------
    PhotoNotFoundError
        There is no such photo or version.
    PhotoArchivedError
        It must be restored from its archive first.
    PhotoEncryptedError
        Nobody can read it for us: the key that it is encrypted with is its owner's, or deleted.
    PhotoReplacedError
        Its ETag is another by now.
    ImageTooLargeError
        It has more bytes than allowed.
    StorageDeniedError, StorageUnavailableError
        S3 could not be read.
    """
    from botocore.exceptions import ClientError, ParamValidationError

    which: dict[str, str] = {}
    if photo.version_id:
        which["VersionId"] = photo.version_id
    elif photo.etag:
        which["IfMatch"] = f'"{photo.etag}"'
    missing = "there is no such photo in the bucket; check the bucket, the key and the version"
    with translated("reading the photo", denied=StorageDeniedError):
        try:
            answer = s3.get_object(Bucket=photo.bucket, Key=photo.key, **which)
        except (ParamValidationError, UnicodeEncodeError) as error:
            # S3 has no such name: it is too long, or holds half of a character
            raise PhotoNotFoundError(missing) from error
        except ClientError as error:
            code = error_code(error)
            if code in _MISSING or (photo.version_id and code in _INVALID_VERSION):
                raise PhotoNotFoundError(missing) from error
            if code == _ARCHIVED:
                raise PhotoArchivedError(
                    "the photo lies in an archive; restore it in S3, then ask again"
                ) from error
            if code in _ENCRYPTED:
                raise PhotoEncryptedError(
                    f"the photo is encrypted with a key that S3 does not have ({code}); store it anew, "
                    "with S3's own key or one that KMS has"
                ) from error
            if code in _REPLACED:
                raise PhotoReplacedError(
                    "the photo has been replaced since it was announced; the event of its new content decides"
                ) from error
            raise
        with answer["Body"] as body:
            size = int(answer["ContentLength"])
            if size > max_bytes:
                raise ImageTooLargeError(f"the photo has {size:,} bytes; at most {max_bytes:,} are accepted")
            found = StoredPhoto.named(photo.bucket, photo.key, answer.get("VersionId"), answer["ETag"])
            return FetchedPhoto(found, bytes(body.read()))
