"""SnapStart: what goes into the snapshot of an init, and what must not outlive it.

Lambda takes the snapshot once for a published version and starts every environment from it, so what must not
be the same in all of them is made again: connections and credentials within clients, and the state of random
numbers. The session needs nothing: its threads, if it has any, are part of the snapshot.
"""

from __future__ import annotations

import os

from shared.clients import client, forget_clients

__all__ = ["after_restore", "before_snapshot", "register_hooks"]


def register_hooks() -> None:
    """Tell the runtime what to do around a snapshot, if there will be one."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    # the runtime brings it along; nothing else has it
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    register_before_snapshot(before_snapshot)
    register_after_restore(after_restore)


def before_snapshot() -> None:
    """Load what the first requests would wait for: it costs no start from a snapshot anything."""
    from importlib import import_module

    for name in ("detect.multipart", "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "PIL.BmpImagePlugin"):
        import_module(name)
    client("s3")
    forget_clients()


def after_restore() -> None:
    """Make again what every environment must have of its own."""
    # here and not above: other inits have no use for it
    import random

    forget_clients()
    # botocore draws the waits between its retries from it: all environments would come back at once
    random.seed()
