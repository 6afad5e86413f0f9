"""EquiStatic: static circulant graphs from a few random shifts, whose averaging speed does not depend on n.

The basis matrix A(u) gives the node u places ahead the weight (n - 1)/n and the own value 1/n. These odd-looking
weights make the mean of A(1), ..., A(n - 1) exactly J, so that the mean of a few of them, drawn at random, is near J.
"""

from __future__ import annotations

from functools import reduce
from math import floor, gcd, log

import numpy as np

from topokit.draws import Words, check_seed
from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.registry import TOPOLOGIES, Promise, topology

__all__ = ["d_equistatic", "equistatic_shifts", "u_equistatic"]

ROUNDING = 1e-9  # norms closer than this are taken as equal: noise of the transform must not decide which set is kept


def equistatic_shifts(nodes: int, epsilon: float, failure: float) -> int:
    """Give a number of shifts that makes ||W - J||_2 < epsilon likely: M = floor(8 ln(2n/P) / (3 epsilon^2)).

    It is a bound for one draw, and far from tight: d-equistatic of 300 nodes has a norm of 0.44 on average with 28
    shifts, where this rule asks for 92 to be below 0.5.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    epsilon : float
        Norm wanted, more than 0 and less than 1.
    failure : float
        Probability P that a draw misses it, more than 0 and less than 1.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    .. [1] Z. Song, W. Li, K. Jin, L. Shi, M. Yan, W. Yin, K. Yuan, "Communication-Efficient Topologies for
       Decentralized Learning with O(1) Consensus Rate", NeurIPS 2022.

    Examples
    --------
    >>> equistatic_shifts(300, epsilon=0.5, failure=0.1)
    92
    """
    if nodes < 2:
        raise InputError(f"EquiStatic needs at least 2 nodes, got {nodes}")
    for name, value in (("epsilon", epsilon), ("failure", failure)):
        if not 0 < value < 1:
            raise InputError(f"{name} must be more than 0 and less than 1, got {value}")
    return floor(8 * log(2 * nodes / failure) / (3 * epsilon**2))


def _number_of_shifts(nodes: int, shifts: int | None) -> int:
    return (nodes - 1).bit_length() if shifts is None else shifts


def _no_equistatic(nodes: int, shifts: int | None = None, tries: int = 20, seed: int = 0) -> str | None:
    check_seed(seed)
    for name, value in (("shifts", shifts), ("tries", tries)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    return None if nodes >= 2 else "needs at least 2 nodes"


def _equistatic_promise(nodes: int, shifts: int | None, neighbours_per_shift: int) -> Promise:
    """W is J only if every peer is hit equally often: always, never, or by luck."""
    hits = neighbours_per_shift * _number_of_shifts(nodes, shifts)
    always = nodes - 1 <= neighbours_per_shift
    by_luck = hits % (nodes - 1) == 0
    return Promise(degree=min(hits, nodes - 1), exact=True if always else None if by_luck else False)


def _d_promise(nodes: int, shifts: int | None = None, tries: int = 20, seed: int = 0) -> Promise:
    del tries, seed
    return _equistatic_promise(nodes, shifts, 1)


def _u_promise(nodes: int, shifts: int | None = None, tries: int = 20, seed: int = 0) -> Promise:
    del tries, seed
    return _equistatic_promise(nodes, shifts, 2)


@topology(
    "d-equistatic",
    "static",
    summary="node i receives from i + u (mod n) for a few shifts u drawn at random, the best of 20 sets",
    source="Song, Li, Jin, Shi, Yan, Yin, Yuan 2022 (arXiv 2210.07881)",
    obstacle=_no_equistatic,
    weights=None,
    directed=True,
    degree="<= shifts (ceil(log2 n))",
    exact="n = 2, else by luck",
    promise=_d_promise,
)
def d_equistatic(nodes: int, shifts: int | None = None, tries: int = 20, seed: int = 0) -> MixingMatrix:
    """Build W = (1/M) (A(u_1) + ... + A(u_M)), the directed EquiStatic graph of M random shifts.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    shifts : int, optional
        Number M of shifts, drawn from 1 ... n - 1 with replacement. Default: ceil(log2 n), the degree of the static
        exponential graph. `equistatic_shifts` gives the size rule of the paper.
    tries : int, default 20
        Sets of shifts that are drawn; the one with the smallest ||W - J||_2 is kept. 1 is the construction of the
        paper.
    seed : int, default 0
        Set t is drawn from round t of this seed, see `topokit.draws.Words`: its word number m (after rejections) is
        shift m, less one.

    Returns
    -------
    MixingMatrix
        Circulant, with exact weights: row i has (n - 1)/(n M) at column i + u (mod n) for each time that u was drawn.

    Raises
    ------
    InputError
        If `shifts`, `tries` or `seed` is out of range.
    GraphError
        If there are fewer than 2 nodes, or no set of shifts connects them.

    Notes
    -----
    A single set of few shifts has a heavy tail, to the point of not being connected when all shifts have a divisor in
    common with n; that is why several are tried. docs/topologies.md holds the distribution.

    References
    ----------
    .. [1] Z. Song, W. Li, K. Jin, L. Shi, M. Yan, W. Yin, K. Yuan, "Communication-Efficient Topologies for
       Decentralized Learning with O(1) Consensus Rate", NeurIPS 2022.

    Examples
    --------
    >>> W = d_equistatic(5, shifts=2)
    >>> print(*W.fractions()[:3])
    1/5 2/5 2/5
    """
    TOPOLOGIES["d-equistatic"].require(nodes, shifts=shifts, tries=tries, seed=seed)
    return _best_of(nodes, _number_of_shifts(nodes, shifts), tries, seed, mirrored=False)


@topology(
    "u-equistatic",
    "static",
    summary="node i exchanges with i + u and i - u (mod n) for a few shifts u drawn at random, the best of 20 sets",
    source="Song, Li, Jin, Shi, Yan, Yin, Yuan 2022 (arXiv 2210.07881)",
    obstacle=_no_equistatic,
    weights=None,
    degree="<= 2 shifts (ceil(log2 n))",
    exact="n <= 3, else by luck",
    promise=_u_promise,
)
def u_equistatic(nodes: int, shifts: int | None = None, tries: int = 20, seed: int = 0) -> MixingMatrix:
    """Build W = (1/2M) (A(u_1) + A(u_1)^T + ... + A(u_M) + A(u_M)^T), the undirected EquiStatic graph.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    shifts : int, optional
        Number M of shifts, drawn from 1 ... n - 1 with replacement; each brings up to two neighbours. Default:
        ceil(log2 n).
    tries : int, default 20
        Sets of shifts that are drawn; the one with the smallest ||W - J||_2 is kept. 1 is the construction of the
        paper.
    seed : int, default 0
        Sets are drawn as those of `d_equistatic`, whose notes tell how much they differ.

    Returns
    -------
    MixingMatrix
        Circulant and symmetric, with exact weights.

    Raises
    ------
    InputError
        If `shifts`, `tries` or `seed` is out of range.
    GraphError
        If there are fewer than 2 nodes, or no set of shifts connects them.

    References
    ----------
    .. [1] Z. Song, W. Li, K. Jin, L. Shi, M. Yan, W. Yin, K. Yuan, "Communication-Efficient Topologies for
       Decentralized Learning with O(1) Consensus Rate", NeurIPS 2022.

    Examples
    --------
    >>> W = u_equistatic(5, shifts=1).to_dense()
    >>> bool((W == W.T).all()), W[0].round(3).tolist()
    (True, [0.2, 0.4, 0.0, 0.0, 0.4])
    """
    TOPOLOGIES["u-equistatic"].require(nodes, shifts=shifts, tries=tries, seed=seed)
    return _best_of(nodes, _number_of_shifts(nodes, shifts), tries, seed, mirrored=True)


def _best_of(nodes: int, shifts: int, tries: int, seed: int, *, mirrored: bool) -> MixingMatrix:
    best, least = None, np.inf
    for attempt in range(tries):
        words = Words(seed, attempt)
        hits = np.zeros(nodes, dtype=np.int64)
        for _ in range(shifts):
            hits[1 + words.below(nodes - 1)] += 1
        if mirrored:
            hits += np.roll(hits[::-1], 1)
        # Self weights are positive, so that a circulant graph is aperiodic; it is connected if nothing divides all.
        if reduce(gcd, np.flatnonzero(hits).tolist(), nodes) > 1:
            continue
        norm = _norm(hits)
        if norm < least - ROUNDING:
            best, least = hits, norm
    if best is None:
        raise GraphError(
            f"none of {tries} sets of {shifts} shifts connects {nodes} nodes: take more shifts, more tries, or another "
            "seed"
        )
    return _mean_of_basis(best)


def _norm(hits: IntArray) -> float:
    """||W - J||_2 of the circulant matrix in which the peer at distance u was hit ``hits[u]`` times."""
    nodes = hits.size
    row: FloatArray = hits * ((nodes - 1) / (nodes * hits.sum()))
    row[0] = 1 / nodes
    return float(np.abs(np.fft.rfft(row)[1:]).max())


def _mean_of_basis(hits: IntArray) -> MixingMatrix:
    nodes, total = hits.size, int(hits.sum())
    distance = np.concatenate(([0], np.flatnonzero(hits)))
    numerator = np.concatenate(([total], hits[hits > 0] * (nodes - 1)))
    common = np.gcd(numerator, nodes * total)
    own = np.arange(nodes).repeat(distance.size)
    weight, top, bottom = (
        np.tile(values, nodes) for values in (numerator / (nodes * total), numerator // common, nodes * total // common)
    )
    return MixingMatrix.from_entries(
        nodes, own, (own + np.tile(distance, nodes)) % nodes, weight, numerator=top, denominator=bottom
    )
