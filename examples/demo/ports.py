"""Ports for servers that cannot take any free one and say which."""

from __future__ import annotations

import socket

__all__ = ["reserved_port"]


def reserved_port(port: int = 0) -> int:
    """Return a port of loopback that nobody else is given before a server has it.

    A port that was bound and given back may be another program's before the server has started. One on which
    a connection has just been closed rests for a minute: the system gives it to nobody, and servers, which
    set ``SO_REUSEADDR``, may have it by its number.

    Parameters
    ----------
    port : int
        0 takes any that is free.

    Raises
    ------
    OSError
        That port is not free.
    """
    if port:
        # one that rests for somebody else is refused without the option alone
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
    with socket.socket() as listener:
        # or the server may not have it while it rests
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()) as client:
            # whoever closes first is the one whose port rests
            listener.accept()[0].close()
            client.recv(1)
        return int(listener.getsockname()[1])
