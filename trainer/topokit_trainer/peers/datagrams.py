"""Small messages between ranks: one UDP datagram each, JSON, with the token of the run.

Sending never blocks and never fails: a datagram that cannot be sent is lost, as it may be on its way. Whoever needs it
to arrive sends it again until it is answered.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import suppress
from typing import Any

__all__ = ["Address", "Wire", "own_host"]

Address = tuple[Any, ...]  # as the socket module gives it: host and port, for IPv6 also flow and scope

LARGEST = 60_000  # bytes: what UDP over IPv4 carries, less some
BUFFER = 1 << 20  # bytes that may wait in the kernel: a rank that is held up must not lose what it is told
SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def own_host() -> str:
    """Give the address under which other ranks reach this one.

    That of the interface in ``GLOO_SOCKET_IFNAME``, otherwise that of the interface that leads to ``MASTER_ADDR``.
    """
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "").split(",")[0]
    if interface:
        with suppress(OSError):
            return _host_of(interface)
    target = os.environ.get("MASTER_ADDR", "127.0.0.1")
    family, _, _, _, address = socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing: it only chooses the way
        return str(probe.getsockname()[0])


def _host_of(interface: str) -> str:
    import fcntl  # not on Windows, where the way to MASTER_ADDR is taken

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
    return socket.inet_ntoa(found[20:24])


class Wire:
    """A socket for datagrams of one run.

    Parameters
    ----------
    host : str
        Address of this rank.
    patience : float
        Seconds that ``receive`` waits at most.

    Attributes
    ----------
    address : tuple
        Where others send to.
    token : str
        Datagrams with another token belong to another run.
    """

    def __init__(self, host: str, patience: float) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        self._in = socket.socket(family, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._in.bind(address)
        self._in.settimeout(patience)
        self.address: Address = self._in.getsockname()
        self.token = ""

    def send(self, address: Address, message: dict[str, Any]) -> None:
        """Send a message, or lose it.

        Raises
        ------
        ValueError
            If it is too long for a datagram.
        """
        data = json.dumps({"token": self.token, **message}, separators=(",", ":")).encode()
        if len(data) > LARGEST:
            raise ValueError(f"a message of {len(data)} bytes is too long for a datagram; at most {LARGEST} fit")
        with suppress(OSError):  # no way there, nobody there, no room: lost
            self._in.sendto(data, socket.MSG_DONTWAIT, address)

    def receive(self) -> tuple[dict[str, Any], Address] | None:
        """Give the next message of this run and where it came from; None if none comes for a while."""
        try:
            data, address = self._in.recvfrom(65536)
        except OSError:  # nothing came, or an earlier datagram found nobody
            return None
        try:
            message = json.loads(data)
        except ValueError:
            return None
        if not isinstance(message, dict) or message.get("token") != self.token:
            return None
        return message, address

    def close(self) -> None:
        """Give the socket back."""
        self._in.close()
