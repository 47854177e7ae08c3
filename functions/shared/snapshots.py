"""Inits that nobody waits for: those of provisioned concurrency, and those that SnapStart keeps.

Both load what else would wait for a first request. SnapStart takes one snapshot of a published version and
starts every environment from it, so what must not be the same in all of them is made again: connections and
credentials within clients, and the state of random numbers. The session needs nothing: its threads, if it has
any, are part of the snapshot.
"""

from __future__ import annotations

import os

from shared.clients import client, forget_clients

__all__ = ["after_restore", "before_snapshot", "load_ahead", "register_hooks"]


def register_hooks() -> None:
    """Make the most of an init ahead of requests, and tell the runtime what to do around a snapshot."""
    kind = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
    if kind == "provisioned-concurrency":
        load_ahead()
    if kind != "snap-start":
        return
    # the runtime brings it along; nothing else has it
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    register_before_snapshot(before_snapshot)
    register_after_restore(after_restore)


def load_ahead() -> None:
    """Load what the first requests would wait for."""
    from importlib import import_module

    readers = (f"PIL.{name}ImagePlugin" for name in ("Jpeg", "Png", "WebP", "Bmp"))
    for name in ("detect.multipart", "detect.rekognition", "detect.uploads", *readers):
        import_module(name)
    client("s3")


def before_snapshot() -> None:
    """Load ahead, but leave no client in the snapshot."""
    load_ahead()
    forget_clients()


def after_restore() -> None:
    """Make again what every environment must have of its own."""
    # here and not above: other inits have no use for it
    import random

    forget_clients()
    # botocore draws the waits between its retries from it: all environments would come back at once
    random.seed()
