"""What the numbers of a report mean, for readers of the page."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["definition", "definitions"]

# By the beginning of the label in `Report.lines`; a label that is not here simply has no entry.
DEFINITIONS = {
    "nodes": "Number n of workers that mix their parameters.",
    "period": "Number τ of rounds after which the schedule begins again.",
    "rounds to shrink": "Rounds after which the distance of the nodes from their average is 1000 times smaller: "
    "whatever the values are (at worst), and from one random start (simulated).",
    "rounds": "Which rounds come is drawn at random, the same on all nodes from a common seed.",
    "copies": "Number of states that every node keeps and mixes; the first is the result.",
    "weights": "W[i, j] is the weight of what node i receives from node j. Doubly stochastic: all rows and columns of "
    "W sum to one, so that the average of the nodes never changes. Symmetric: W[i, j] = W[j, i].",
    "exact averaging": "Whether the product of the rounds of one period is J, the matrix of all 1/n: then every node "
    "holds the exact average after each period. Proved means in exact arithmetic; a refutation names an entry.",
    "started elsewhere": "What as many rounds as a period do if they begin at another round than the first.",
    "push-pull": "For methods that send parameters down a tree (pull) and gradients up (push): after how many rounds "
    "each part is exact.",
    "push-sum weights": "Rows of W that do not sum to one give nodes different weights, which push-sum divides by; "
    "this is their range in the end.",
    "contraction": "Factor by which the worst disagreement shrinks: the norm ||W(τ-1) ... W(0) - J|| of a period, and "
    "its τ-th root per round. 0 is the exact average, 1 no progress.",
    "expected contraction": "Factor by which a round drawn at random shrinks the expected squared disagreement, at "
    "least: the largest eigenvalue of E[WᵀW] - J.",
    "bounds": "Between which a value lies that was found by iteration.",
    "effective neighbours": "How many nodes' gradient noise averages out at a node, older noise counting less: from 1, "
    "a node alone, to n, exact averaging in every round.",
    "effective mixing time": "Rounds divided by one minus the factor by which they shrink squared disagreement, τ/p: "
    "the figure by which bounds of convergence judge a schedule.",
    "transient iterations": "Iterations of decentralized SGD after which the topology no longer slows it down, by the "
    "bound for given constants: a figure to compare by, not a forecast.",
    "resistance": "Effective resistance between the two ends of an edge where each edge is a resistor: 1 where "
    "there is no other way round.",
    "A2CiD2": "Constants of the asynchronous method A²CiD² on this graph: chi1 and chi2 of the graph, and the "
    "parameters eta, alpha and alpha~ that follow from them.",
    "spectral gap": "1 - SLEM. The SLEM is the second largest eigenvalue modulus of W, the factor per round after many "
    "rounds; beta = ||W - J|| is the factor on the worst disagreement in one round. They are equal for normal W.",
    "beta": "||W - J||, the factor on the worst disagreement in one round.",
    "Fiedler value": "Second smallest eigenvalue of the Laplacian of the graph of all rounds together: the larger, the "
    "better it is connected.",
    "peers of a node": "Number of others that a node receives from and sends to in a round, at most.",
    "messages": "Parameter vectors sent from one node to another.",
    "SLEM": "Second largest eigenvalue modulus of the W of a round; none where W is not normal, because its "
    "eigenvalues cannot be computed reliably.",
    "consensus distance": "Root mean square distance of the nodes' values from their average.",
}


def definition(label: str) -> str | None:
    """Give the term that explains a label of a report, if there is one.

    Examples
    --------
    >>> definition("rounds to shrink 1000x"), definition("beta of the rounds"), definition("colour")
    ('rounds to shrink', 'beta', None)
    """
    fitting = [term for term in DEFINITIONS if label == term or label.startswith(f"{term} ")]
    return max(fitting, key=len, default=None)


def definitions(labels: Iterable[str]) -> dict[str, str]:
    """Give terms and their meanings for the labels of reports, in alphabetical order."""
    terms = {term for label in labels if (term := definition(label)) is not None}
    return {term: DEFINITIONS[term] for term in sorted(terms, key=str.lower)}
