"""Topologies of decentralized deep learning: graphs, mixing weights, schedules, and what is provable about them.

The line of work is graph -> weights -> schedule -> analysis::

    >>> import topokit
    >>> schedule = topokit.design("one-peer-exponential", 16)
    >>> print(topokit.analyze(schedule).exact_averaging.sentence())
    exact after 4 rounds, proved

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topokit.analysis import analyze
    from topokit.averaging import AveragingProof, prove_exact_averaging, simulate_consensus, worst_case_rounds
    from topokit.designer import design, design_graph, design_matrix
    from topokit.errors import (
        CheckError,
        ConvergenceError,
        GraphError,
        InputError,
        ScheduleError,
        TopokitError,
    )
    from topokit.graph_files import read_graph
    from topokit.matrix import MixingMatrix
    from topokit.recommender import Recommendation, recommend
    from topokit.report import Report
    from topokit.schedule import Claims, Schedule
    from topokit.spectral import beta, fiedler_value, slem, spectral_gap

__version__ = "0.1.0"

__all__ = [
    "AveragingProof",
    "CheckError",
    "Claims",
    "ConvergenceError",
    "GraphError",
    "InputError",
    "MixingMatrix",
    "Recommendation",
    "Report",
    "Schedule",
    "ScheduleError",
    "TopokitError",
    "__version__",
    "analyze",
    "beta",
    "design",
    "design_graph",
    "design_matrix",
    "fiedler_value",
    "prove_exact_averaging",
    "read_graph",
    "recommend",
    "simulate_consensus",
    "slem",
    "spectral_gap",
    "worst_case_rounds",
]

_HOMES = {
    "analysis": ("analyze",),
    "averaging": ("AveragingProof", "prove_exact_averaging", "simulate_consensus", "worst_case_rounds"),
    "designer": ("design", "design_graph", "design_matrix"),
    "errors": ("CheckError", "ConvergenceError", "GraphError", "InputError", "ScheduleError", "TopokitError"),
    "graph_files": ("read_graph",),
    "matrix": ("MixingMatrix",),
    "recommender": ("Recommendation", "recommend"),
    "report": ("Report",),
    "schedule": ("Claims", "Schedule"),
    "spectral": ("beta", "fiedler_value", "slem", "spectral_gap"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = (
    "analysis",
    "averaging",
    "designer",
    "draws",
    "errors",
    "export",
    "kinds",
    "matrix",
    "page",
    "pictures",
    "recommender",
    "registry",
    "report",
    "schedule",
    "spectral",
    "topologies",
    "weights",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"topokit.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"topokit.{name}")
    raise AttributeError(f"module 'topokit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
