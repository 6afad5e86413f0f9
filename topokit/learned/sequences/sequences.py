"""Search over short periodic sequences of rounds in which nodes exchange with few peers: learned, time-varying graphs.

With one peer a round and one copy of the values, base-2 averages exactly in about 2 log2 n rounds where n is no power
of two. Other weights do it in fewer: which ones is a system of polynomial equations for every choice of the pairs, and
the pairs are searched. What it found for small n became a rule for all, `topokit.learned.sequences.euclid`, where it
starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from topokit.adjacency import adjacency_of_edges
from topokit.errors import InputError
from topokit.learned.seconds import linked_pairs
from topokit.learned.sequences.colour_rounds import colour_rounds
from topokit.learned.sequences.host_sequences import HOST_STEPS, STANDSTILL, host_sequence
from topokit.learned.sequences.learned_sequence import LearnedSequence, sequence_seconds
from topokit.learned.sequences.search import STEPS, SequenceSearch
from topokit.network.cost import require_nodes
from topokit.network.model import Network
from topokit.optimal.progress import Tell
from topokit.optimal.threads import few_threads
from topokit.weights.messages import require_connected

__all__ = ["learn_sequence"]


def learn_sequence(
    nodes: int,
    *,
    degree: int = 1,
    period: int | None = None,
    allowed: NDArray[np.bool_] | None = None,
    network: Network | None = None,
    message_bytes: str | float | None = None,
    weights: Literal["free", "equal"] = "free",
    nonnegative: bool = True,
    directed: bool = False,
    seed: int = 0,
    steps: int | None = None,
    deadline: float = np.inf,
    tell: Tell | None = None,
    on_better: Callable[[LearnedSequence], None] | None = None,
) -> LearnedSequence:
    """Search for a short periodic sequence of rounds with few peers a node, exact if possible.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    degree : int, default 1
        Most peers of a node in a round; with one, rounds are matchings.
    period : int, optional
        Number of rounds. By default, as few as average exactly; where none do, those that shrink errors most a round.
    allowed : ndarray of bool, shape (n, n), optional
        Symmetric: which pairs may exchange. By default all.
    network : Network, optional
        Search for the fewest seconds that shrink errors 1000-fold instead: `host_sequence`, and if that is faster, the
        sequence that is shortest without a network.
    message_bytes : str or float, optional
        Size of one vector, with a network.
    weights : {"free", "equal"}
        Whether every edge has a weight of its own, or all 1/(degree + 1): pairs take their mean.
    nonnegative : bool, default True
        Whether weights and self weights are to be at least 0.
    directed : bool, default False
        Whether nodes may hear one peer and tell another, with the same number of messages. Where rounds are too few to
        be exact, that shrinks errors more. Needs a period.
    seed : int, default 0
    steps : int, optional
        Moves of a chain, for each number of rounds that is tried: 1000 by default, and 400 among hosts.
    deadline : float
        A time of `time.monotonic`.
    tell : callable, optional
        Called with progress.
    on_better : callable, optional
        Called with every sequence that is better than those before.

    Returns
    -------
    LearnedSequence
        The rounds are symmetric unless directed ones are asked for. Where neither the pairs nor the period nor the
        weights are limited, never longer than `base_graph` of this degree, or with one peer than `euclid_sequence`.
        Interrupted (``KeyboardInterrupt``), the best so far.

    Raises
    ------
    InputError
        If a number makes no sense, or the mask is not symmetric.
    GraphError
        If the allowed pairs, or those of them that have links both ways, leave the nodes disconnected.

    Notes
    -----
    One period averages exactly, from its start. What is found is not proved to be shortest unless it meets `bound`.

    Examples
    --------
    Base-2 needs four rounds for six nodes:

    >>> found = learn_sequence(6)
    >>> found.sentence()
    '3 rounds, exact (at least 3 are needed); no sequence is shorter'
    """
    mask = _checked(nodes, degree, period, allowed, weights, steps, network)
    if directed and (period is None or network is not None):
        raise InputError("directed rounds are searched for a given period without a network; give a period")
    if network is not None:
        hosted = _on_network(message_bytes, period, weights)
        by_hosts = host_sequence(
            network,
            hosted,
            degree=degree,
            allowed=mask,
            nonnegative=nonnegative,
            seed=seed,
            steps=steps or HOST_STEPS,
            deadline=deadline,
            tell=tell,
            on_better=on_better,
        )
        if by_hosts.stopped in ("time", "interrupt"):
            return by_hosts
    free = weights == "free"
    search = SequenceSearch(
        nodes,
        degree,
        mask,
        free,
        nonnegative,
        seed,
        steps or STEPS,
        deadline,
        tell,
        on_better if network is None else None,
        directed,
    )
    with few_threads(nodes):
        try:
            stopped = search.shortest() if period is None else search.of_period(period)
        except KeyboardInterrupt:
            stopped = "interrupt"
            if search.best is None:
                raise
    assert search.best is not None
    found = replace(search.best, stopped=stopped, evaluations=search.evaluations)
    if not found.exact and found.contraction > 1 - STANDSTILL:
        every = None if directed else colour_rounds(mask, degree, period)
        if every is not None:
            found = LearnedSequence.of(every, found.bound, "edge colouring", stopped=stopped)
        elif stopped in ("time", "interrupt"):
            raise InputError("no sequence whose rounds connect all nodes was found: allow more time, or more rounds")
    if network is None:
        return found
    seconds = sequence_seconds(found.rounds, network, hosted)
    assert by_hosts.seconds is not None
    return replace(found, seconds=seconds) if seconds < by_hosts.seconds else by_hosts


def _on_network(message_bytes: str | float | None, period: int | None, weights: str) -> str | float:
    """Refuse what does not go with a network, and give the size of a message."""
    if message_bytes is None:
        raise InputError("a network needs the size of a message, message_bytes; there is none")
    if period is not None or weights != "free":
        raise InputError("on a network, the search chooses the period and the weights; give neither")
    return message_bytes


def _checked(
    nodes: int,
    degree: int,
    period: int | None,
    allowed: NDArray[np.bool_] | None,
    weights: str,
    steps: int | None,
    network: Network | None,
) -> NDArray[np.bool_]:
    """Refuse numbers that make no sense, and give the mask without its diagonal and pairs that have no links."""
    if nodes < 2:
        raise InputError(f"a sequence needs at least 2 nodes, got {nodes}")
    for name, value in (("degree", degree), ("period", period), ("steps", steps)):
        if value is not None and value < 1:
            raise InputError(f"the {name} must be at least 1, got {value}")
    if weights not in ("free", "equal"):
        raise InputError(f"weights is {weights!r}; expected 'free' or 'equal'")
    mask = np.ones((nodes, nodes), dtype=np.bool_) if allowed is None else np.array(allowed, dtype=np.bool_)
    if mask.shape != (nodes, nodes) or (mask != mask.T).any():
        raise InputError(f"the mask of allowed pairs must be symmetric, of shape ({nodes}, {nodes})")
    np.fill_diagonal(mask, False)
    if network is not None:
        require_nodes(nodes, network)
        mask &= linked_pairs(network)
    require_connected(adjacency_of_edges(nodes, np.argwhere(np.triu(mask))))
    return mask
