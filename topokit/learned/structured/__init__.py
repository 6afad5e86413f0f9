"""Graphs with many symmetries, searched over few parameters: circulant graphs, Cayley graphs, lifts of small bases.

==================  ====================================================================================================
`search`            which groups and bases are tried, and how long
`voltage`           a base, a group and arcs with elements of it: the graph, and its spectrum by small blocks
`voltage_search`    hill climbing over the arcs
`voltage_moves`     random arcs, and what may be changed about them
`groups`            Abelian groups and their semidirect products with cyclic ones
`circulants`        sets of distances round a circle
==================  ====================================================================================================
"""

from topokit.learned.structured.search import StructuredGraph, rebuild, structured_search

__all__ = ["StructuredGraph", "rebuild", "structured_search"]
