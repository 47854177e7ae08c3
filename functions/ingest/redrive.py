"""Send the messages of the dead-letter queue back to the queue that they came from.

Run it when what made them fail is repaired::

    python -m ingest.redrive https://sqs.eu-west-1.amazonaws.com/123456789012/uploads-dead

Settling a change is idempotent, so sending one back that has been settled since does no harm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from shared.clients import client
from shared.errors import FunctionError
from shared.storage import translated

__all__ = ["main", "moves", "redrive"]


def redrive(sqs: Any, dead_letter_url: str, source_url: str) -> int:
    """Move all messages from a dead-letter queue to its source; a message is deleted only once it is sent.

    Parameters
    ----------
    sqs : boto3 client
    dead_letter_url, source_url : str

    Returns
    -------
    int
        How many were moved.

    Raises
    ------
    StorageDeniedError, StorageUnavailableError
        A queue cannot be read or written; what was moved until then stays moved.
    """
    return sum(1 for _ in moves(sqs, dead_letter_url, source_url))


def moves(sqs: Any, dead_letter_url: str, source_url: str) -> Iterator[None]:
    """Move messages as `redrive` does, one with each step: whoever counts them can do so up to an error."""
    with translated("moving messages between queues"):
        while messages := sqs.receive_message(
            QueueUrl=dead_letter_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                sqs.send_message(QueueUrl=source_url, MessageBody=message["Body"])
                sqs.delete_message(QueueUrl=dead_letter_url, ReceiptHandle=message["ReceiptHandle"])
                yield


def source_of(sqs: Any, dead_letter_url: str) -> list[str]:
    """Return the URLs of the queues whose redrive policy names a dead-letter queue."""
    with translated("looking for the source queue"):
        answer = sqs.list_dead_letter_source_queues(QueueUrl=dead_letter_url)
    return list(answer["queueUrls"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m ingest.redrive", description="Send dead letters back to the queue they came from."
    )
    parser.add_argument("dead_letter_url", help="URL of the dead-letter queue")
    parser.add_argument(
        "--to", dest="source_url", help="URL of the queue; found by its redrive policy if omitted"
    )
    options = parser.parse_args(arguments)
    sources = [options.source_url] if options.source_url else []
    moved = status = 0
    try:
        with translated("connecting to SQS"):
            sqs = client("sqs")
        sources = sources or source_of(sqs, options.dead_letter_url)
        if len(sources) != 1:
            parser.error(
                f"the dead-letter queue serves {len(sources)} queues ({', '.join(sources)}); "
                "name one with --to"
            )
        for _ in moves(sqs, options.dead_letter_url, sources[0]):
            moved += 1
    except FunctionError as error:
        status = 1
        print(f"ingest.redrive: error: {error} [{error.code}]", file=sys.stderr)
    # what was moved stays moved, whatever came then; the same command goes on
    print(json.dumps({"moved": moved, "to": sources[0] if sources else None}))
    return status


if __name__ == "__main__":
    sys.exit(main())
