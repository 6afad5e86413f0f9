"""The connections of this process's group: what ends a wait that PyTorch has no word to end.

A wait for a rank that hangs, or is cut off, lasts until a time-out. Shutting down the sockets on this side ends it at
once: gloo takes the other side to have closed them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK

import torch.distributed as dist

__all__ = ["cut", "is_lost_contact", "tcp_connections"]

OPEN_FILES = Path("/proc/self/fd")


def tcp_connections(besides: Iterable[int] = ()) -> frozenset[int]:
    """Give the file descriptors of this process that are TCP connections; none where the system does not list them.

    Parameters
    ----------
    besides : iterable of int
        Leave out connections with one of these ports at either end.
    """
    ports, found = set(besides), set()
    with suppress(OSError):
        for name in os.listdir(OPEN_FILES):
            with suppress(OSError):
                if S_ISSOCK(os.fstat(int(name)).st_mode) and _is_tcp(int(name), ports):
                    found.add(int(name))
    return frozenset(found)


def _is_tcp(descriptor: int, ports: set[int]) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as one:
        if one.type != socket.SOCK_STREAM or one.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        return one.getpeername()[1] not in ports and one.getsockname()[1] not in ports


def cut(descriptors: Iterable[int]) -> None:
    """Shut connections down; both ends see it, and the descriptors stay with their owner."""
    for descriptor in descriptors:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
            one.shutdown(socket.SHUT_RDWR)


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error is what a rank sees of the death, or the silence, of another one.

    Examples
    --------
    >>> is_lost_contact(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    True
    >>> is_lost_contact(RuntimeError("shapes do not match"))
    False
    """
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
