"""The mixing schedule and its file format."""

from topokit.schedule.claims import Claims
from topokit.schedule.model import Place, Schedule

__all__ = ["Claims", "Place", "Schedule"]
