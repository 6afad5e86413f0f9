"""Push-pull pairs: after how many rounds the pull copies agree and the push copies are summed up, proved.

Each node keeps two copies that do not mix. Pull rounds R have rows that sum to 1, push rounds C columns that do. The
pull copies agree for every start once the product of the R has equal rows, 1 u^T; the push copies depend on nothing but
the sum of all starts once the product of the C has equal columns, v 1^T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from topokit.errors import InputError
from topokit.faults import mixing_fault
from topokit.matrix import MixingMatrix
from topokit.proofs.rank_one import Equal, Number, Unequal, equal_after
from topokit.proofs.residues import exact_rounds
from topokit.words import count

__all__ = ["PushPullProof", "StillApart", "prove_push_pull"]

Part = Literal["pull", "push"]

LIMIT = 1 << 14  # rounds that are tried at most, unless the caller asks for more


@dataclass(frozen=True)
class StillApart:
    """Two nodes that show that a product of rounds has not the wanted form.

    Attributes
    ----------
    part : {"pull", "push"}
    first, second : int
        Pull: two nodes whose rows of the product differ, so that they may hold different values. Push: two nodes whose
        columns of the product differ, so that what starts at one ends up differently from what starts at the other.
    """

    part: Part
    first: int
    second: int


@dataclass(frozen=True)
class PushPullProof:
    """What is known about the products of the pull and of the push rounds.

    Attributes
    ----------
    status : {"proved", "numerical", "false"}
        Whether both products take their final form: proved in exact arithmetic; true up to rounding, where weights are
        known as floating-point numbers only; or false.
    nodes, period : int
        Number of nodes, and of rounds in the period.
    searched : int
        Number of rounds after which the search gives up.
    pull_rounds, push_rounds : int or None
        Smallest number of rounds, from round 0 on, after which the pull copies agree, R...R = 1 u^T, and after which
        the push copies depend on their sum only, C...C = v 1^T. None where not found.
    pull_weights : mapping from int to Fraction or float, or None
        u: the weight of each node's start in what all pull copies then are. Nodes without weight are left out.
    push_shares : mapping from int to Fraction or float, or None
        v: the share of the sum of all starts that each node's push copy then is. Nodes without a share are left out.
    apart : StillApart or None
        Where the status is false, two nodes that show it, after `searched` rounds.
    never : bool
        Where the status is false: whether exact arithmetic shows that no larger number of rounds would do either.
    """

    status: Literal["proved", "numerical", "false"]
    nodes: int
    period: int
    searched: int
    pull_rounds: int | None
    push_rounds: int | None
    pull_weights: Mapping[int, Number] | None
    push_shares: Mapping[int, Number] | None
    apart: StillApart | None = None
    never: bool = False

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> from topokit.topologies.push_pull import tree_push_pull
        >>> prove_push_pull(tree_push_pull(7).rounds).sentence()
        'pull copies: all that of node 0 after 2 rounds; push copies: summed up at node 0 after 2 rounds; proved'
        """
        if self.apart is not None:
            pair = f"nodes {self.apart.first} and {self.apart.second}"
            what = (
                f"the pull copies of {pair} may still differ"
                if self.apart.part == "pull"
                else f"what {pair} push still ends up in different places"
            )
            return f"{what} after {count(self.searched, 'round')}" + (
                ", and after any other number of them" * self.never
            )
        assert self.pull_weights is not None
        assert self.push_shares is not None
        pull = f"all that of node {min(self.pull_weights)}"
        if len(self.pull_weights) > 1:
            pull = f"all the same mixture of {len(self.pull_weights)} nodes"
        push = f"summed up at node {min(self.push_shares)}"
        if len(self.push_shares) > 1:
            push = f"summed up and shared out to {len(self.push_shares)} nodes"
        how = "proved" if self.status == "proved" else "up to rounding (numerical: the weights are not fractions)"
        return (
            f"pull copies: {pull} after {count(self.pull_rounds or 0, 'round')}; "
            f"push copies: {push} after {count(self.push_rounds or 0, 'round')}; {how}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the proof as JSON values: the attributes under their names, exact weights as text, and the sentence.

        Examples
        --------
        >>> from topokit.topologies.push_pull import tree_push_pull
        >>> prove_push_pull(tree_push_pull(3).rounds).to_dict()["push_shares"]
        {'0': '1'}
        """
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("status", "nodes", "period", "searched", "pull_rounds", "push_rounds", "never")
        }
        for name in ("pull_weights", "push_shares"):
            weights: Mapping[int, Number] | None = getattr(self, name)
            values[name] = None if weights is None else {str(i): _plain(w) for i, w in weights.items()}
        values["apart"] = None if self.apart is None else vars(self.apart)
        return {**values, "sentence": self.sentence()}


def prove_push_pull(rounds: Sequence[MixingMatrix], *, limit: int | None = None) -> PushPullProof:
    """Find after how many rounds the pull copies agree and the push copies are summed up, whatever the start.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period of push-pull rounds, used again and again, round 0 first. Each has 2 n rows: n of the pull copies,
        then n of the push copies.
    limit : int, optional
        Number of rounds to search. Default: the period times n - 1, at most 2^14. A product that does not have its
        final form after the period times n - 1 rounds never gets it.

    Raises
    ------
    InputError
        If there are no rounds, they differ in size, or one is no push-pull round; or if the limit is below 1.

    Notes
    -----
    Weights are exact where the matrices carry fractions, and where floats are multiples of 2^-20. On the n - 1
    dimensions in which the pull copies can differ (in which the sum of the push copies is 0) the period acts as a
    matrix, some power of which has to be 0; the power n - 1 then is. Time: O(limit nnz) for the search, and the time to
    multiply sparse matrices, once; O(n) a round for trees.

    Examples
    --------
    >>> from topokit.topologies.push_pull import tree_push_pull
    >>> proof = prove_push_pull(tree_push_pull(10).rounds)
    >>> proof.status, proof.pull_rounds, proof.pull_weights
    ('proved', 3, {0: Fraction(1, 1)})
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 round, got {limit}")
    nodes = _require_push_pull(rounds)
    period, enough = len(rounds), max(1, len(rounds) * (nodes - 1))
    searched = min(enough, LIMIT) if limit is None else limit
    pull = equal_after([_block(W, "pull", nodes) for W in rounds], "rows", searched)
    push = equal_after([_block(W, "push", nodes) for W in rounds], "columns", searched)
    apart = None
    if isinstance(pull, Unequal):
        apart = StillApart("pull", pull.first, pull.second)
    elif isinstance(push, Unequal):
        apart = StillApart("push", push.first, push.second)
    holds: Literal["proved", "numerical"] = "numerical" if exact_rounds(rounds) is None else "proved"
    return PushPullProof(
        holds if apart is None else "false",
        nodes,
        period,
        searched,
        pull_rounds=pull.rounds if isinstance(pull, Equal) else None,
        push_rounds=push.rounds if isinstance(push, Equal) else None,
        pull_weights=pull.line if isinstance(pull, Equal) else None,
        push_shares=push.line if isinstance(push, Equal) else None,
        apart=apart,
        never=apart is not None and holds == "proved" and searched >= enough,
    )


def _require_push_pull(rounds: Sequence[MixingMatrix]) -> int:
    """Check the rounds and give the number of nodes."""
    if not rounds:
        raise InputError("a push-pull proof needs at least one round")
    rows = rounds[0].nodes
    for t, W in enumerate(rounds):
        if W.nodes != rows:
            raise InputError(f"round {t} has {W.nodes} rows, round 0 has {rows}")
        fault = "it has an odd number of rows" if rows % 2 else mixing_fault(W, "push-pull", copies=2)
        if fault is not None:
            raise InputError(f"round {t} is no push-pull round of two copies: {fault}")
    return rows // 2


def _block(W: MixingMatrix, part: Part, nodes: int) -> MixingMatrix:
    """Cut out what a round does to one of the two copies."""
    chosen = (W.target < nodes) == (part == "pull")
    return MixingMatrix.from_entries(
        nodes,
        W.target[chosen] % nodes,
        W.source[chosen] % nodes,
        W.weight[chosen],
        numerator=None if W.numerator is None else W.numerator[chosen],
        denominator=None if W.denominator is None else W.denominator[chosen],
    )


def _plain(weight: Number) -> str | float:
    return str(weight) if isinstance(weight, Fraction) else weight
