"""Who of the other ranks lives, and short questions between ranks, apart from the training loop and its collectives."""

from topokit_trainer.peers.membership import Event
from topokit_trainer.peers.peers import Peers

__all__ = ["Event", "Peers"]
