"""Optimal weights as rules of the registry: the smallest SLEM that the edges allow, with the proof that it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from topokit.adjacency import GraphLike
from topokit.errors import ConvergenceError, GraphError
from topokit.matrix import MixingMatrix
from topokit.registry import Optimised, weighting

if TYPE_CHECKING:
    from topokit.optimal import NetworkWeights

__all__ = ["auto_weights", "fdla_weights", "fmmc_weights"]

WORTH = 1.01  # times the rounds of negative weights, that nonnegative ones may need


def _fdla(graph: GraphLike, **options: Any) -> Optimised:
    from topokit.optimal import optimal_weights

    return _on_network(graph, "fdla", options) if "network" in options else optimal_weights(graph, "fdla", **options)


def _fmmc(graph: GraphLike, **options: Any) -> Optimised:
    from topokit.optimal import optimal_weights

    return _on_network(graph, "fmmc", options) if "network" in options else optimal_weights(graph, "fmmc", **options)


def _on_network(graph: GraphLike, objective: Literal["fdla", "fmmc"], options: dict[str, Any]) -> NetworkWeights:
    from topokit.optimal import network_weights
    from topokit.optimal.options import foreign_options
    from topokit.optimal.progress import in_words

    known = {"network", "message_bytes", "time_limit", "progress"}
    foreign_options(options, known, "the fewest seconds on a network")
    return network_weights(
        graph,
        options["network"],
        options["message_bytes"],
        objective=objective,
        time_limit=options.get("time_limit"),
        progress=in_words(options.get("progress"), "{:.4g} s until errors have shrunk 1000 times"),
    )


def _auto_on_network(graph: GraphLike, time_limit: float | None, options: dict[str, Any]) -> NetworkWeights:
    half = {**options, "time_limit": None if time_limit is None else time_limit / 2}
    nonnegative = _on_network(graph, "fmmc", half)
    if nonnegative.stopped == "interrupt":
        return nonnegative
    free = _on_network(graph, "fdla", half)
    if nonnegative.seconds > WORTH * free.seconds:
        return free
    return replace(nonnegative, stopped="interrupt") if free.stopped == "interrupt" else nonnegative


def _auto(graph: GraphLike, time_limit: float | None = None, **options: Any) -> Optimised:
    from math import log

    from topokit.optimal import optimal_weights

    if "network" in options:
        return _auto_on_network(graph, time_limit, options)
    half = None if time_limit is None else time_limit / 2
    free = optimal_weights(graph, "fdla", time_limit=half, **options)
    if free.stopped == "interrupt" or free.slem < 1e-12:
        return free
    try:
        nonnegative = optimal_weights(graph, "fmmc", time_limit=half, **options)
    except KeyboardInterrupt:
        return replace(free, stopped="interrupt")
    except (ConvergenceError, GraphError):  # what weights of any sign can do, these need not
        return free
    rounds = log(free.slem) / log(nonnegative.slem)  # of nonnegative weights, for each of free ones
    if rounds <= WORTH:
        return nonnegative
    return replace(free, stopped="interrupt") if nonnegative.stopped == "interrupt" else free


@weighting(
    "fdla",
    summary="the smallest SLEM of all symmetric weights, with a certificate; weights may be negative",
    source="Xiao, Boyd 2004",
    exact=False,
    optimise=_fdla,
)
def fdla_weights(graph: GraphLike) -> MixingMatrix:
    """Give the symmetric weights with the smallest SLEM (fastest distributed linear averaging).

    `topokit.optimal.optimal_weights` gives the proof besides, and takes limits and a time limit.

    Raises
    ------
    GraphError
        If the graph is not connected or not simple, or directed and not circulant.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    >>> import networkx as nx
    >>> fdla_weights(nx.path_graph(3)).to_dense().round(6) + 0
    array([[0.5, 0.5, 0. ],
           [0.5, 0. , 0.5],
           [0. , 0.5, 0.5]])
    """
    return _fdla(graph).matrix


@weighting(
    "fmmc",
    summary="the smallest SLEM of nonnegative symmetric weights, with a certificate",
    source="Boyd, Diaconis, Xiao 2004",
    exact=False,
    optimise=_fmmc,
)
def fmmc_weights(graph: GraphLike) -> MixingMatrix:
    """Give the nonnegative symmetric weights with the smallest SLEM (fastest mixing Markov chain).

    Self weights are not negative either. `topokit.optimal.optimal_weights` gives the proof besides.

    Raises
    ------
    GraphError
        If the graph is not connected or not simple, or directed and not circulant.

    References
    ----------
    .. [1] S. Boyd, P. Diaconis, L. Xiao, "Fastest mixing Markov chain on a graph", SIAM Review 46(4), 2004.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.spectral import slem
    >>> round(slem(fmmc_weights(nx.star_graph(4))), 6)
    0.75
    """
    return _fmmc(graph).matrix


@weighting(
    "auto",
    summary="fmmc where it needs at most 1 % more rounds than fdla, else fdla",
    source="Xiao, Boyd 2004; Boyd, Diaconis, Xiao 2004",
    exact=False,
    optimise=_auto,
)
def auto_weights(graph: GraphLike) -> MixingMatrix:
    """Give optimal weights, nonnegative ones where these cost next to nothing.

    Nonnegative weights keep every value within the range of its neighbours', also when messages are late or lost.

    Raises
    ------
    GraphError
        If the graph is not connected or not simple, or directed and not circulant.

    Examples
    --------
    >>> import networkx as nx
    >>> auto_weights(nx.cycle_graph(4)).to_dense()[0].round(6).tolist()
    [0.333333, 0.333333, 0.0, 0.333333]
    """
    return _auto(graph).matrix
