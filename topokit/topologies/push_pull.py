"""Push-pull trees: values are pulled down from the root, and pushed up to it, over the same edges."""

from __future__ import annotations

import numpy as np

from topokit.kinds import Cyclic
from topokit.matrix import MixingMatrix
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.common import no_tree

__all__ = ["tree_push_pull"]


def _tree_promise(nodes: int, arity: int = 2) -> Promise:
    # Node 1 hears from the root and from its children, the root from its own.
    children = max(0, min(arity, nodes - 1 - arity))
    return Promise(max(min(arity, nodes - 1), 1 + children), 1, None)


@topology(
    "tree-push-pull",
    "static",
    summary="a tree that pulls values down from node 0 and pushes what is to be summed up to it; two states a node",
    source="You, Pu: B-ary tree push-pull",
    obstacle=no_tree,
    weights=None,
    directed=True,
    degree="arity + 1",
    exact="no (push-pull in tree depth)",
    promise=_tree_promise,
)
def tree_push_pull(nodes: int, arity: int = 2) -> Cyclic:
    """Build the round of a push-pull tree, for algorithms that keep two copies a node and mix them apart.

    The root is node 0 and the parent of node i is (i - 1) // arity. Pull copies, R: the root keeps its own, every other
    node takes over its parent's. Push copies, C = R^T: every node sends its own to its parent and keeps nothing, the
    root adds what arrives to what it has. After as many rounds as the tree is deep, about log n to the base arity, all
    pull copies are what the root's was at the start, and the root's push copy is the sum of all.

    An algorithm such as B-ary tree push-pull steps the pull copies along the push copies, which track the sum of the
    gradients. It communicates with arity + 1 peers; nothing here averages by itself.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    arity : int, default 2
        Most children of a node; with 1 the tree is a path.

    Returns
    -------
    Cyclic
        One round with 2 n rows, the pull copies first; `topokit.proofs.push_pull.prove_push_pull` tells after how many
        rounds it is done.

    Raises
    ------
    GraphError
        If there are fewer than 2 nodes.
    InputError
        If the arity is below 1.

    Examples
    --------
    >>> tree_push_pull(3).round(0).to_dense().astype(int)
    array([[1, 0, 0, 0, 0, 0],
           [1, 0, 0, 0, 0, 0],
           [1, 0, 0, 0, 0, 0],
           [0, 0, 0, 1, 1, 1],
           [0, 0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0]])
    """
    TOPOLOGIES["tree-push-pull"].require(nodes, arity=arity)
    own = np.arange(nodes)
    parent = np.maximum(own - 1, 0) // arity
    target, source = np.concatenate((own, parent + nodes)), np.concatenate((parent, own + nodes))
    ones = np.ones(2 * nodes, dtype=np.int64)
    W = MixingMatrix.from_entries(2 * nodes, target, source, ones, numerator=ones, denominator=ones)
    return Cyclic([W], copies=2, mixing="push-pull")
