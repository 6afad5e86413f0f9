"""Spectra of mixing matrices and graphs, at any size: each number comes with the bounds that it lies between.

==================  ==================================================================================================
`one_matrix`        SLEM, spectral gap and beta of one mixing matrix
`laplacians`        algebraic connectivity and largest Laplacian eigenvalue of a graph
`periods`           products of rounds, and their norms
`bounds`            what a result says
`groups`            Fourier transforms over products of cycles: circulant matrices, tori, hypercubes
`closed_forms`      paths, stars, grids with equal weights, and others whose eigenvalues are known
`norms`             the norm of a large matrix without structure
`ends`              both ends of a weighted Laplacian's spectrum: which method, and when
`lanczos`           Lanczos iteration with bounds on both sides
`inertia`           inverse iteration, and proof by the signs of pivots
`dissection`        what a factorisation would cost
`sparse_forms`      sparse matrices as these methods take them
`limits`            sizes at which methods give way to one another
==================  ==================================================================================================
"""

from topokit.spectral.bounds import Bounds, Spectrum
from topokit.spectral.lanczos import Interval
from topokit.spectral.laplacians import LaplacianBounds, fiedler_value, laplacian_bounds, laplacian_extremes
from topokit.spectral.limits import DENSE_LIMIT
from topokit.spectral.one_matrix import beta, is_normal, is_symmetric, slem, spectral_gap, spectrum
from topokit.spectral.periods import centred, iterative_norm, period_product, require_rounds

__all__ = [
    "Bounds",
    "DENSE_LIMIT",
    "Interval",
    "LaplacianBounds",
    "Spectrum",
    "beta",
    "centred",
    "fiedler_value",
    "is_normal",
    "is_symmetric",
    "iterative_norm",
    "laplacian_bounds",
    "laplacian_extremes",
    "period_product",
    "require_rounds",
    "slem",
    "spectral_gap",
    "spectrum",
]
