"""A network that takes longer: a TCP proxy that hands on what a client sends only after a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["delayed"]

_CHUNK: Final = 256 * 1024


@contextmanager
def delayed(endpoint: str, seconds: float) -> Iterator[str]:
    """Put a delay before an HTTP server, and give the address of the slower one.

    Every request reaches the server that much later, whatever others are under way, as on a longer wire.

    Parameters
    ----------
    endpoint : str
        ``http://host:port``.
    seconds : float
        What each request takes longer.
    """
    address = urlsplit(endpoint)
    loop = asyncio.new_event_loop()
    started: asyncio.Future[int] = loop.create_future()
    port: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.CancelledError):
                server_reader, server_writer = await asyncio.open_connection(address.hostname, address.port)
                await asyncio.gather(
                    _hand_on(reader, server_writer, seconds), _hand_on(server_reader, writer, 0.0)
                )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await started

    thread = threading.Thread(target=lambda: loop.run_until_complete(_ended(serve())), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(started.cancel)
        thread.join()


async def _ended(serving: object) -> None:
    with suppress(asyncio.CancelledError):
        await serving  # type: ignore[misc]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Copy a stream; what comes while older bytes wait is not held up by them."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    writing = asyncio.ensure_future(write())
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            waiting.put_nowait((loop.time() + seconds, data))
    waiting.put_nowait((loop.time() + seconds, b""))
    with suppress(OSError):
        await writing
