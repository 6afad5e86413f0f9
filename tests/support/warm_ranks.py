"""What every rank of a test would otherwise do for itself, done once by the process that ranks are forked from.

PyTorch's optimizers import a good part of its compiler at their first step, and the mixing kernel is read from its
cache at its first call: more than a second of processor time in each rank. No thread may be started here.
"""

import numpy as np
import torch._dynamo  # noqa: F401

from topokit_trainer.mixing_kernel import mix_rows

for kind in (np.float32, np.float64):
    values = np.zeros(2, dtype=kind)
    edges = np.array([0, 1, 2], dtype=np.uint64), np.array([1, 0], dtype=np.uint64), np.full(2, 0.5, dtype=kind)
    mix_rows((values, 1), (values[:0], 1), (values, 1), (2, 0, 1), edges, add=True, threads=1)
