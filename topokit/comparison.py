"""Schedules side by side: the columns of the table that a paper would have, and what each of them means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from topokit.network import Network, Prediction, allreduce_seconds
from topokit.report import Report

__all__ = ["COLUMNS", "Column", "Compared", "all_reduce", "columns_of"]

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Compared:
    """One row: a schedule's report, and what it costs on a network; or the all-reduce that it is held against.

    Attributes
    ----------
    name : str
    report : Report or None
    prediction : Prediction or None
        None where no network was described.
    bytes_per_node : float or None
        Sent in a round; None where the size of a message is not known.
    cells : dict
        Cells by key, for rows without a report.
    """

    name: str
    report: Report | None = None
    prediction: Prediction | None = None
    bytes_per_node: float | None = None
    cells: dict[str, Cell] | None = None


@dataclass(frozen=True)
class Column:
    """One column of the comparison.

    Attributes
    ----------
    key : str
        Its name in CSV and JSON.
    heading, latex : str
        Its name for people, and in LaTeX.
    meaning : str
        What the number is, in one line.
    read : callable
        ``read(report)`` gives the cell; None for columns that are no matter of the report.
    """

    key: str
    heading: str
    latex: str
    meaning: str
    read: Callable[[Report], Any] | None = None

    def cell(self, row: Compared) -> Cell:
        """Give the cell of a row, None where there is nothing to say."""
        if row.cells is not None:
            return row.cells.get(self.key)
        value: Any = None
        if self.read is None:
            value = _FROM_NETWORK[self.key](row)
        elif row.report is not None:
            value = self.read(row.report)
        return None if isinstance(value, float) and not isfinite(value) else value


def _exactness(report: Report) -> str | None:
    if report.push_pull is not None:
        return report.push_pull.status
    if report.exact_averaging is None:
        return None
    if report.exact_averaging.status != "false":
        return report.exact_averaging.status
    return "no" if report.exact_after is None else f"after {report.exact_after}"


def _contraction(report: Report) -> float | None:
    if report.expectation is not None:
        return float(report.expectation.value**0.5)
    return report.contraction


def _gap(report: Report) -> float | None:
    if report.expectation is not None:
        return 1 - float(report.expectation.value**0.5)
    return report.gap_per_round


_FROM_NETWORK: dict[str, Callable[[Compared], Any]] = {
    "name": lambda row: row.name,
    "bytes_per_node": lambda row: row.bytes_per_node,
    "seconds_per_round": lambda row: row.prediction and row.prediction.round.seconds,
    "seconds_to_shrink": lambda row: (
        row.prediction and (row.prediction.consensus.worst_seconds or row.prediction.consensus.simulated_seconds)
    ),
}

COLUMNS = (
    Column("name", "schedule", "topology", "what is compared"),
    Column("max_degree", "degree", "degree", "most peers that a node sends to in a round", lambda r: r.out_degree.max),
    Column("period", "period", r"$\tau$", "rounds of a period; none where rounds are drawn", lambda r: r.period),
    Column(
        "gap_per_round",
        "gap/round",
        "gap",
        "1 - contraction per round: the spectral gap, for one normal matrix; of drawn rounds 1 - the root of the "
        "expected square",
        _gap,
    ),
    Column(
        "contraction",
        "contraction",
        "contraction",
        "factor on the worst consensus error over a period; of drawn rounds, root of the expected square in a round",
        _contraction,
    ),
    Column("exact_averaging", "exact", "exact", "whether a period averages exactly, and how that is known", _exactness),
    Column(
        "effective_neighbours",
        "eff. neighbours",
        r"$n_W(0.99)$",
        "nodes whose noise averages out at a node while it is remembered for 100 rounds",
        lambda r: r.effective_neighbours and r.effective_neighbours.value,
    ),
    Column(
        "worst_case_rounds",
        "1000x, worst",
        "rounds, worst",
        "rounds that shrink every consensus error 1000 times",
        lambda r: r.worst_case_rounds,
    ),
    Column(
        "simulated_rounds",
        "1000x, simulated",
        "rounds, simulated",
        "rounds that shrink the error of a random start 1000 times",
        lambda r: r.simulated_rounds,
    ),
    Column(
        "messages_per_node_and_round",
        "messages/node",
        "messages",
        "messages that a node sends in a round, in the mean",
        lambda r: r.messages_per_node_and_round,
    ),
    Column("bytes_per_node", "bytes/node", "bytes", "bytes that a node sends in a round, in the mean"),
    Column("seconds_per_round", "s/round", "s/round", "predicted seconds of a round on the network given"),
    Column(
        "seconds_to_shrink",
        "1000x in s",
        "s to consensus",
        "predicted seconds in which communication shrinks every error 1000 times; of drawn rounds, a random start's",
    ),
    Column(
        "transient_iid",
        "transient",
        r"$T_\mathrm{iid}$",
        "iterations until the linear speed-up of D-SGD dominates, equal data, all constants 1",
        lambda r: r.transient and r.transient.iid,
    ),
    Column(
        "transient_non_iid",
        "non-i.i.d.",
        r"$T_\mathrm{non-iid}$",
        "the same with unequal data (noise and heterogeneity 1)",
        lambda r: r.transient and r.transient.non_iid,
    ),
    Column("symmetric", "symmetric", "symmetric", "whether every matrix is symmetric", lambda r: r.symmetric),
)


def columns_of(rows: Sequence[Compared]) -> tuple[Column, ...]:
    """Choose the columns in which at least one row has something to say.

    Examples
    --------
    >>> from topokit import analyze, design
    >>> report = analyze(design("ring", 8))
    >>> [column.heading for column in columns_of([Compared("ring", report)])][:4]
    ['schedule', 'degree', 'period', 'gap/round']
    """
    return tuple(column for column in COLUMNS if any(column.cell(row) is not None for row in rows))


def all_reduce(nodes: int, network: Network, message_bytes: float) -> tuple[Compared, Compared]:
    """Give the rows of an all-reduce, over a ring and over a tree, on the same network.

    Examples
    --------
    >>> ring, tree = all_reduce(4, Network.uniform(4, "1GB/s"), 1e9)
    >>> ring.cells["seconds_per_round"], ring.cells["bytes_per_node"]
    (1.5, 1500000000.0)
    """
    share = 2 * (nodes - 1) / nodes

    def row(algorithm: Any, degree: int) -> Compared:
        seconds = allreduce_seconds(network, message_bytes, algorithm)
        return Compared(
            f"all-reduce ({algorithm})",
            cells={
                "name": f"all-reduce ({algorithm})",
                "max_degree": degree,
                "period": 1,
                "gap_per_round": 1.0,
                "contraction": 0.0,
                "exact_averaging": "proved",
                "effective_neighbours": float(nodes),
                "worst_case_rounds": 1,
                "simulated_rounds": 1,
                "messages_per_node_and_round": share,
                "bytes_per_node": share * message_bytes,
                "seconds_per_round": seconds,
                "seconds_to_shrink": seconds,
                "transient_iid": float(nodes) ** 3,
                "transient_non_iid": float(nodes) ** 3,
            },
        )

    return row("ring", 1), row("tree", 3 if nodes > 4 else min(2, nodes - 1))
