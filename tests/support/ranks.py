"""Real ranks for tests: forked processes that talk through gloo, started in a tenth of a second."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

__all__ = ["run_ranks"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "torch",
        "torch.distributed",
        "topokit_trainer.loop",
        "topokit_trainer.mixing_kernel",
        "topokit.designer",
        "topokit_trainer.search",
        "warm_ranks",
    ]
)


@lru_cache(maxsize=1)
def _start_server() -> None:
    """Start the process that ranks are forked from; it looks for modules where the environment says, only."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in (str(Path(__file__).parent), before) if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run_ranks(function: Callable[..., Any], size: int, *arguments: Any, timeout: float = 60.0) -> list[Any]:
    """Run a function of an importable module on ``size`` ranks; give their results, or raise the first failure.

    Every rank gets the environment that torchrun would give it. Processes that outlive the time-out are killed.
    """
    from torch.distributed import TCPStore

    _start_server()
    # The store lives here, as it does in torchrun's agent: no port is chosen twice, none is waited for.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    queue = _context.Queue()
    ranks = [
        _context.Process(target=_rank, args=(rank, size, store.port, function, arguments, queue), daemon=True)
        for rank in range(size)
    ]
    for rank in ranks:
        rank.start()
    results: dict[int, Any] = {}
    try:
        while len(results) < size:
            number, failure, value = queue.get(timeout=timeout)
            if failure:
                raise AssertionError(f"rank {number} failed:\n{failure}")
            results[number] = value
    finally:
        for rank in ranks:
            rank.join(timeout=5 if len(results) == size else 0.1)
            if rank.is_alive():
                rank.kill()
                rank.join()
        queue.close()
    return [results[number] for number in range(size)]


def _rank(number: int, size: int, port: int, function: Callable[..., Any], arguments: Any, queue: Any) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(number),
        LOCAL_RANK=str(number),
        WORLD_SIZE=str(size),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE="True",
        GLOO_SOCKET_IFNAME="lo",
    )
    try:
        queue.put((number, None, function(*arguments)))
    except BaseException:
        queue.put((number, traceback.format_exc(), None))
