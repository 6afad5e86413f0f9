"""Which node of a schedule runs where on a network.

================  ======================================================================================================
`placement`       from a schedule and a network to a placement
`search`          exchanges of places
`placed_rounds`   seconds of rounds for a placement, and after exchanges
`renumbering`     the schedule with its nodes numbered anew
================  ======================================================================================================
"""

from topokit.learned.placement.placement import Placement, place
from topokit.learned.placement.renumbering import renumbered

__all__ = ["Placement", "place", "renumbered"]
