"""Effective resistances of the edges of a graph, at any size: exact, or between bounds."""

from topokit.metrics.resistance.effective import Resistances, circuit_resistances, effective_resistances

__all__ = ["Resistances", "circuit_resistances", "effective_resistances"]
