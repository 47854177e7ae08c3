"""What a failed call to S3 or DynamoDB means to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import MissingRightError, SetupError, StorageDeniedError, StorageUnavailableError
from shared.tracing import traced

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["error_code", "translated"]

# A key of KMS that is disabled, or about to be deleted, is its owner's to enable, as a right is to give: no
# try helps until then. S3 says it of photos and of results alike.
_DENIED = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "Forbidden",
        "KMS.AccessDeniedException",
        "KMS.DisabledException",
        "KMS.KMSInvalidStateException",
        "KMS.NotFoundException",
    }
)


def error_code(error: ClientError) -> str:
    """Return the service's code of an error; of a HEAD request, which has no body, the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated(doing: str, denied: type[StorageDeniedError] = MissingRightError) -> Iterator[None]:
    """Turn botocore's errors into ours.

    Parameters
    ----------
    doing : str
        What was tried, for the message; without names that only the owner may know.
    denied : type
        What it means if the role may not do it: a photo that a caller named is another matter than what the
        function cannot do without.

    Raises
    ------
    StorageDeniedError
        The role may not do it, or the key of KMS cannot be used; of the type that was given.
    SetupError
        There are no credentials, or no region.
    StorageUnavailableError
        Anything else: retries are over, or the service cannot be reached.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
    )

    try:
        with traced(doing):
            yield
    except ClientError as error:
        code = error_code(error)
        if code in _DENIED:
            raise denied(f"{doing}: the function may not do this ({code})") from error
        raise StorageUnavailableError(f"{doing}: storage answered {code or 'nothing'}; try again") from error
    except (NoCredentialsError, NoRegionError, PartialCredentialsError) as error:
        raise SetupError(f"{doing}: {error}; Lambda's role or the environment gives them") from error
    except BotoCoreError as error:
        raise StorageUnavailableError(f"{doing}: {type(error).__name__}; try again") from error
