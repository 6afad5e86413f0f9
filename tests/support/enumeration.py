"""Everything that a sampler can draw, by running it on all scripts of draws."""

import itertools

import philox


class Scripted(philox.Stream):
    """A stream whose draws are given; those that are missing are 0, and all are noted with their bounds."""

    def __init__(self, script):
        self.script, self.bounds = list(script), []

    def below(self, bound):
        self.bounds.append(bound)
        return self.script[len(self.bounds) - 1] if len(self.bounds) <= len(self.script) else 0


def outcomes(name, nodes, parameters):
    """Give everything that a sampler can draw; all are equally likely, as every outcome takes the same bounds."""
    probe = Scripted([])
    philox.SAMPLERS[name](nodes, probe, **parameters)
    for script in itertools.product(*map(range, probe.bounds)):
        stream = Scripted(script)
        yield philox.SAMPLERS[name](nodes, stream, **parameters)
        assert stream.bounds == probe.bounds
