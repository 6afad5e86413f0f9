"""Short periods of rounds with few messages each: exact if possible, or the fewest seconds on a network of hosts.

====================  ==================================================================================================
`sequences`           from what is asked for to a sequence
`learned_sequence`    what was found, and how few rounds could do
`search`              which lengths and edges are tried
`anneal`              chains over the edges of all rounds
`directed_search`     the same where messages go one way
`period_fit`          weights of a period by least squares
`exact_weights`       fractions near them that average exactly
`colour_rounds`       every allowed edge once, where nothing better mixes
`euclid`              a sequence of matchings for every number of nodes
`host_sequences`      averages inside hosts and single messages between them
`host_tiers`          a start for hosts of different speeds
`host_clock`          seconds of such rounds
====================  ==================================================================================================
"""

from topokit.learned.sequences.euclid import euclid_length, euclid_sequence
from topokit.learned.sequences.host_sequences import host_sequence
from topokit.learned.sequences.learned_sequence import LearnedSequence
from topokit.learned.sequences.sequences import learn_sequence

__all__ = ["LearnedSequence", "euclid_length", "euclid_sequence", "host_sequence", "learn_sequence"]
