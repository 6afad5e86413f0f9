"""Asynchronous gossip without gradients, exactly: what becomes of the second moments of all differences of the nodes.

Let z hold x of all nodes and then x~ of all (x alone without acceleration). Between events dz/dt = A z; edge e fires
with its rate and replaces z by B_e z. So for Z = E[z z^T]

    dZ/dt = A Z + Z A^T + sum_e rate_e (B_e Z B_e^T - Z),

which is linear in Z. Written with vec(Z) it is one matrix of Kronecker products, whose largest eigenvalue (of
differences between nodes alone, which keep to themselves) is minus the rate at which E||.||^2 decays in the end.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eig

__all__ = ["Lifted"]


class Lifted:
    """The lifted operator of a graph with rates, on differences between nodes.

    Parameters
    ----------
    edges : array of int, shape (m, 2)
    rates : array of float, shape (m,)
    eta, alpha, alpha_tilde : float
        No second copy where eta is 0.

    Attributes
    ----------
    rate : float
        Decay of E||z||^2.
    slowest : ndarray, shape (copies * n, r)
        A start that decays with this rate from the first moment: F with F F^T the eigenvector. Its columns are values
        of z, sum over the nodes to 0, and have together the norm 1.
    """

    def __init__(self, nodes, edges, rates, eta=0.0, alpha=0.5, alpha_tilde=0.5):
        copies = 2 if eta else 1
        # An orthonormal basis of what sums to zero over the nodes, for each copy.
        basis, _ = np.linalg.qr(np.eye(nodes) - 1 / nodes)
        basis = np.kron(np.eye(copies), basis[:, : nodes - 1])
        flow = eta * np.kron(np.array([[-1.0, 1.0], [1.0, -1.0]]), np.eye(nodes)) if eta else np.zeros((nodes, nodes))
        shares = np.array([[alpha, 0.0], [alpha_tilde, 0.0]]) if eta else np.array([[alpha]])
        A = basis.T @ flow @ basis
        one = np.eye(len(A))
        self.operator = np.kron(A, one) + np.kron(one, A)
        for (i, j), rate in zip(edges, rates, strict=True):
            a = np.zeros((nodes, 1))
            a[i], a[j] = 1, -1
            B = basis.T @ (np.eye(copies * nodes) - np.kron(shares, a @ a.T)) @ basis
            self.operator += float(rate) * (np.kron(B, B) - np.kron(one, one))
        values, vectors = eig(self.operator)
        first = np.argmax(values.real)
        self.rate = -float(values[first].real)
        Z = vectors[:, first].real.reshape(one.shape)
        Z = (Z + Z.T) / np.trace(Z) / 2
        weights, directions = np.linalg.eigh(Z)
        self.slowest = basis @ (directions * np.sqrt(np.clip(weights, 0, None)))
