"""The effective number of neighbours: over how many nodes gradient noise averages out while it is remembered."""

from topokit.metrics.neighbours.effective import DECAY, EffectiveNeighbours, effective_neighbours, neighbours_by_decay

__all__ = ["DECAY", "EffectiveNeighbours", "effective_neighbours", "neighbours_by_decay"]
