"""What communication costs: networks of links and shared network cards, and the seconds that rounds take on them."""

from topokit.network.allreduce import allreduce_seconds
from topokit.network.cost import BytesPerNode, RoundCost, bytes_per_node, message_seconds, round_seconds
from topokit.network.model import Host, Link, Network
from topokit.network.prediction import ConsensusTime, Prediction, consensus_seconds, predict
from topokit.network.quantities import (
    format_rate,
    format_seconds,
    format_size,
    parse_rate,
    parse_seconds,
    parse_size,
)

__all__ = [
    "BytesPerNode",
    "ConsensusTime",
    "Host",
    "Link",
    "Network",
    "Prediction",
    "RoundCost",
    "allreduce_seconds",
    "bytes_per_node",
    "consensus_seconds",
    "format_rate",
    "format_seconds",
    "format_size",
    "message_seconds",
    "parse_rate",
    "parse_seconds",
    "parse_size",
    "predict",
    "round_seconds",
]
