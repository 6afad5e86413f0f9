"""The best constant weight on all edges, from the ends of the Laplacian's spectrum."""

from __future__ import annotations

import numpy as np

from topokit.adjacency import GraphLike
from topokit.matrix import MixingMatrix
from topokit.registry import weighting
from topokit.spectral import laplacian_extremes
from topokit.weights.messages import messages_of

__all__ = ["laplacian_weights"]


@weighting(
    "laplacian",
    summary="the best constant 2/(mu_2 + mu_n) on every edge; self weights may be negative",
    source="Xiao, Boyd 2004",
    exact=False,
)
def laplacian_weights(graph: GraphLike) -> MixingMatrix:
    """Give every edge the constant 2/(mu_2 + mu_n), for which W = I - alpha L has the smallest SLEM.

    mu_2 and mu_n are the second smallest and the largest eigenvalue of the graph Laplacian L; the SLEM is
    (mu_n - mu_2)/(mu_n + mu_2). Self weights are negative at nodes of degree above 1/alpha.

    Raises
    ------
    GraphError
        If the graph is directed, not connected or not simple.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    >>> import networkx as nx
    >>> laplacian_weights(nx.star_graph(3)).to_dense()[0]
    array([-0.2,  0.4,  0.4,  0.4])
    """
    messages = messages_of(graph, "laplacian")
    if messages.nodes == 1:
        return MixingMatrix.from_entries(1, [0], [0], [1.0])
    alpha = 2 / sum(laplacian_extremes(messages.adjacency()))
    own = np.arange(messages.nodes)
    weight = np.concatenate((np.full(messages.target.size, alpha), 1 - alpha * messages.in_degree))
    # A self weight of 0, as in the complete graph's relatives, comes out of the eigenvalues as a rounding error.
    keep = np.abs(weight) > 1e-14
    target, source = np.concatenate((messages.target, own)), np.concatenate((messages.source, own))
    return MixingMatrix.from_entries(messages.nodes, target[keep], source[keep], weight[keep])
