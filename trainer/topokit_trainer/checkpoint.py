"""Checkpoints: per node, atomic, enough to go on along the same trajectory.

A checkpoint is a folder ``step-00000100`` with one file for each rank, which holds the state of that rank's nodes (or
of the tokens that they hold) by number, so that a run can go on with another number of ranks. The folder gets its name
when all files are on disk: what is there is whole.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.files import read_bytes, replacing, write_text
from topokit_trainer.nodes import Counts, Nodes
from topokit_trainer.world import World

__all__ = ["Checkpoints", "Progress", "require_same_settings"]

VERSION = 3


@dataclass
class Progress:
    """How far a run is, besides its nodes.

    Attributes
    ----------
    step : int
        Steps taken.
    seconds : float
        Time spent training, over all starts.
    engine : str
        The gradient engine in use.
    """

    step: int = 0
    seconds: float = 0.0
    engine: str = ""


class Checkpoints:
    """Checkpoints in one folder.

    Parameters
    ----------
    folder : Path
    world : World
    trajectory : dict
        Settings that decide the trajectory, and the schedule's hash; a checkpoint made with others is refused.
    keep : int
        How many of the newest stay.

    Attributes
    ----------
    revived : tuple of int
        Nodes that were lost in the checkpoint that was loaded, and start again.
    """

    def __init__(self, folder: Path, world: World, trajectory: dict[str, Any], keep: int) -> None:
        self.folder, self.world, self.trajectory, self.keep = folder, world, trajectory, keep
        self.revived: tuple[int, ...] = ()

    def open(self) -> None:
        """Make the folder, which tells that a run here can be started again, even before its first checkpoint."""
        if self.world.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)

    def newest(self) -> Path | None:
        """Give the newest complete checkpoint."""
        complete = self._complete()
        return complete[-1] if complete else None

    def save(self, nodes: Nodes, progress: Progress) -> None:
        """Write a checkpoint; all ranks call this together."""
        target = self.folder / f"step-{progress.step:08d}"
        temporary = self.folder / f".{target.name}.tmp"
        places = self.world.gather(list(nodes.keys))
        if self.world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            header = {
                "version": VERSION,
                "trajectory": self.trajectory,
                "progress": vars(progress),
                "lost": list(nodes.lost),
                "places": {_file_name(rank): keys for rank, keys in enumerate(places)},
            }
            write_text(temporary / "run.json", json.dumps(header, indent=1, sort_keys=True) + "\n")
        self.world.barrier()
        total = nodes.losses.total
        content = {
            "bytes_per_node": nodes.bytes_per_node,
            "bytes_sent": nodes.exchange.bytes_sent,
            "counts": vars(nodes.counts),
            "contraction": nodes.contraction,
            "loss_total": None if total is None else total.cpu(),
            "loss_count": nodes.losses.count,
            "nodes": {key: _node_state(nodes, row) for row, key in enumerate(nodes.keys)},
        }
        with replacing(temporary / _file_name(self.world.rank)) as file:
            torch.save(content, file)
        self.world.barrier()
        if self.world.rank == 0:
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            for old in self._complete()[: -self.keep]:
                shutil.rmtree(old)
        self.world.barrier()

    def progress(self) -> Progress | None:
        """Give how far the newest checkpoint is, or None where there is none.

        Raises
        ------
        InputError
            If it was made with other settings, or cannot be read.
        """
        path = self.newest()
        if path is None:
            return None
        header = self._header(path)
        try:
            version, trajectory, progress = header["version"], header["trajectory"], header["progress"]
            if version == VERSION:
                header["places"]
        except KeyError as error:
            raise InputError(f"{path / 'run.json'} is damaged; remove {path} to go on from an older one") from error
        if version != VERSION:
            raise InputError(f"{path} has version {version}, this topokit reads version {VERSION}")
        require_same_settings(self.folder.parent, trajectory, self.trajectory)
        return Progress(**progress)

    def load(self, nodes: Nodes) -> None:
        """Take over the newest checkpoint.

        Nodes that were lost before it was written start again from the mean of the others, which stays as it is.

        Raises
        ------
        InputError
            If a file is unreadable, nodes of this rank are missing, or the model is another one.
        """
        path = self.newest()
        if path is None:
            return
        header = self._header(path)
        places: dict[str, list[int]] = header["places"]
        mine = set(nodes.keys)
        self.revived = tuple(header.get("lost", ()))
        same_ranks = len(places) == self.world.size
        found: dict[int, Any] = {}
        for rank, (name, keys) in enumerate(sorted(places.items())):
            example_needed = not mine and keys and not found
            if mine.isdisjoint(keys) and not example_needed and not (same_ranks and rank == self.world.rank):
                continue
            content = _read(path / name)
            found.update(content["nodes"])
            nodes.bytes_per_node, nodes.contraction = content["bytes_per_node"], content["contraction"]
            if same_ranks and rank == self.world.rank:
                _load_counts(nodes, [content])
        if mine.intersection(self.revived):
            states = [state for name in sorted(places) for state in _read(path / name)["nodes"].values()]
            found |= dict.fromkeys(self.revived, _mean(states))
        if missing := [key for key in nodes.keys if key not in found]:
            raise InputError(f"{path} holds no state of node {missing[0]}; remove it to go on from an older checkpoint")
        _load_node_states(nodes, [found[key] for key in nodes.keys], next(iter(found.values())))
        if not same_ranks and self.world.rank == 0:  # sums over the ranks: whoever has them
            _load_counts(nodes, [_read(path / name) for name in sorted(places)])

    def _header(self, path: Path) -> dict[str, Any]:
        try:
            header = json.loads(read_bytes(path / "run.json"))
        except ValueError as error:
            raise InputError(f"{path / 'run.json'} is damaged; remove {path} to go on from an older one") from error
        if not isinstance(header, dict):
            raise InputError(f"{path / 'run.json'} is damaged; remove {path} to go on from an older one")
        return header

    def _complete(self) -> list[Path]:
        return sorted(p for p in self.folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", p.name))


def require_same_settings(out: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a run that was started with other settings.

    Raises
    ------
    InputError
        It names the first setting that differs.
    """
    for name, value in now.items():
        if then.get(name) != value:
            raise InputError(
                f"{out} holds a run with {name.replace('_', '-')} {then.get(name)!r}, not {value!r}; "
                "give the settings it was started with, another --out, or --overwrite"
            )


def _file_name(rank: int) -> str:
    return f"rank-{rank:05d}.pt"


def _load_counts(nodes: Nodes, contents: list[dict[str, Any]]) -> None:
    nodes.bytes_per_node, nodes.contraction = contents[0]["bytes_per_node"], contents[0]["contraction"]
    nodes.exchange.bytes_sent = sum(content["bytes_sent"] for content in contents)
    nodes.counts = Counts(**{what: sum(c["counts"][what] for c in contents) for what in contents[0]["counts"]})
    nodes.losses.count = sum(content["loss_count"] for content in contents)
    totals = [content["loss_total"] for content in contents if content["loss_total"] is not None]
    nodes.losses.total = sum(totals[1:], totals[0]).to(nodes.world.device) if totals else None


def _mean(values: list[Any]) -> Any:
    """Give the mean of what nodes have, tensor by tensor; of what has none (counters, settings), the first."""
    first = values[0]
    if isinstance(first, Tensor) and first.is_floating_point():
        return torch.stack([value.double() for value in values]).mean(0).to(first.dtype)
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_mean(list(parts)) for parts in zip(*values, strict=True)]
    return first


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{file} cannot be read ({reason}); remove {file.parent} to go on from an older one"
        ) from error
    return content


def _node_state(nodes: Nodes, row: int) -> dict[str, Any]:
    return {
        "parameters": [stack.detach()[row].cpu() for stack in nodes.stacks.stacks],
        "buffers": {name: stack[row].cpu() for name, stack in nodes.stacks.buffers.items()},
        "kind": nodes.optimizer.kind,
        "optimizer": nodes.optimizer.state_of(row),
        "states": {name: [part.cpu() for part in state.of(row)] for name, state in nodes.states.items()},
    }


@torch.no_grad()
def _load_node_states(nodes: Nodes, states: list[dict[str, Any]], example: dict[str, Any]) -> None:
    # The configuration knows nothing of a model and an optimizer given from Python.
    here = [stack.shape[1] for stack in nodes.stacks.stacks], list(nodes.stacks.buffers), nodes.optimizer.kind
    for row, state in enumerate(states):
        if here != ([len(values) for values in state["parameters"]], list(state["buffers"]), state["kind"]):
            raise InputError(
                f"the checkpoint is of another model or optimizer ({state['kind']}, not {here[2]}); give those that "
                "the run was started with, another --out, or --overwrite"
            )
        for stack, values in zip(nodes.stacks.stacks, state["parameters"], strict=True):
            stack[row].copy_(values)
        for name, value in state["buffers"].items():
            nodes.stacks.buffers[name][row].copy_(value)
        for name, kept in nodes.states.items():
            for part, value in zip(kept.of(row), state["states"][name], strict=True):
                part.copy_(value)
    nodes.optimizer.load_states([state["optimizer"] for state in states], example["optimizer"])
