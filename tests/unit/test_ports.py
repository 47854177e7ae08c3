"""A port that is reserved waits for its server."""

from __future__ import annotations

import socket

import pytest
from examples.demo.ports import reserved_port


def test_a_reserved_port_is_for_the_server_that_knows_its_number() -> None:
    port = reserved_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        # as whoever asks for any port is asked whether this one may be it
        other.bind(("127.0.0.1", port))
    with pytest.raises(OSError, match="in use"):
        reserved_port(port)
    for host in ("127.0.0.1", ""):
        with socket.socket() as server:
            # as asyncio, gRPC and Go do before they listen
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((host, port))
            server.listen()


def test_a_port_that_a_server_has_is_not_reserved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="in use"):
        reserved_port(server.getsockname()[1])
