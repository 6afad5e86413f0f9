"""What came of the comparison of methods that send little: tables, pictures, and the claims put to the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from compression_runs import (
    D_SGD,
    FIGURE,
    FULL,
    METHODS,
    POWER_ALL,
    SPARQ,
    SQUARM,
    Method,
    Setting,
    accuracy,
    chosen,
    trials,
)
from training_runs import Result, Results, Run, Spread, markdown

from topokit.pictures.style import COLOURS, line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENT = "bytes_sent_per_node"
TARGET = {"iid": 0.93, "dirichlet": 0.90, "sorted": 0.85}  # accuracies to reach
LIMITS = {"iid": (80, 97), "dirichlet": (60, 97), "sorted": (30, 97)}  # of the pictures
WITHIN = 1.0  # points of accuracy
DEALT = {
    "iid": "alike",
    "dirichlet": "by Dirichlet draws",
    "sorted": "sorted by label",
}


@dataclass(frozen=True)
class Line:
    """All seeds of a method on data dealt in one way."""

    method: Method
    done: Sequence[Result]

    def last(self, column: str) -> Spread:
        """An accuracy at the end, in per cent."""
        return Spread([accuracy(result, column) for result in self.done])

    @property
    def sent(self) -> float:
        """Bytes that a node has sent, the mean of the seeds."""
        return Spread([result.last(SENT) for result in self.done]).mean

    @property
    def silent(self) -> float | None:
        """Share of messages that only said that there is nothing to say; None where none can."""
        if "trigger" not in self.method.options:
            return None
        said, silent = (
            sum(result.last(column) for result in self.done if column in result.columns)
            for column in ("messages_per_node", "silent_per_node")
        )
        return silent / (said + silent)

    @property
    def gamma(self) -> Spread | None:
        """The consensus step sizes; None where there are none."""
        if "consensus_step" not in self.done[0].columns:
            return None
        return Spread([result.last("consensus_step") for result in self.done])

    def reaching(self, target: float) -> tuple[Spread, Spread] | None:
        """Steps and bytes until the nodes' models have an accuracy on average; None if a seed does not get there."""
        steps, sent = [], []
        for result in self.done:
            step = result.first_step(FIGURE, lambda value: value >= target)
            if not isfinite(step):
                return None
            steps.append(step)
            sent.append(float(result.columns[SENT][result.columns["step"].index(int(step))] or 0))
        return Spread(steps), Spread(sent)

    def within(self, budget: float) -> Spread:
        """Best accuracy of the nodes' models, in per cent, before so many bytes have been sent."""
        best = []
        for result in self.done:
            pairs = zip(result.columns[SENT], result.columns[FIGURE], strict=True)
            best.append(100 * max(value or 0.0 for sent, value in pairs if (sent or 0) <= budget))
        return Spread(best)


Lines = dict[str, Line]


def lines(results: Results, planned: Sequence[Run], deal: str, methods: Sequence[Method] = METHODS) -> Lines:
    """What has been run of each method, by its name; methods without a run are left out."""
    found = {}
    for method in methods:
        if done := results.of(run for run in planned if (run.method, run.partition) == (method.name, deal)):
            found[method.name] = Line(method, done)
    return found


def ratio(found: Lines, line: Line) -> float | None:
    """How many times fewer bytes than D-SGD; None where there is nothing to compare, or no bytes are sent."""
    return found[D_SGD.name].sent / line.sent if D_SGD.name in found and line.sent else None


def main_table(found: Lines) -> str:
    """A line a method: what was sent, and the accuracies at the end."""
    rows = []
    for line in found.values():
        run, silent, gamma = line.done[0].run, line.silent, line.gamma
        times = ratio(found, line)
        rows.append(
            [
                line.method.name,
                line.method.compressor,
                f"{run['lr']:g}",
                "" if gamma is None else gamma.text(3) if gamma.deviation else f"{gamma.mean:.3g}",
                str(run["steps"]),
                megabytes(line.sent),
                "" if times is None else f"{times:.3g}",
                "" if silent is None else f"{100 * silent:.0f} %",
                line.last("accuracy").text(2),
                line.last(FIGURE).text(2),
                line.last("node_accuracy_worst").text(2),
            ]
        )
    head = ["method", "compressor", "lr", "γ", "steps", "MB sent by a node", "times fewer", "silent"]
    return markdown([*head, "averaged model, %", "nodes' models, %", "worst node, %"], rows)


def target_table(found: Lines, target: float) -> str:
    """A line a method: steps and bytes until the nodes' models are as good as wanted, on average."""
    base = found[D_SGD.name].reaching(target) if D_SGD.name in found else None
    rows = []
    for line in found.values():
        reached = line.reaching(target)
        if reached is None:
            rows.append([line.method.name, line.method.compressor, "not by all seeds", "", ""])
            continue
        steps, sent = reached
        times = f"{base[1].mean / sent.mean:.3g}" if base and sent.mean else ""
        rows.append([line.method.name, line.method.compressor, steps.text(0), megabytes(sent.mean), times])
    return markdown(["method", "compressor", "steps", "MB sent by a node", "times fewer than D-SGD"], rows)


def megabytes(size: float) -> str:
    """Three digits, never as a power of ten."""
    value = size / 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def trial_table(results: Results, setting: Setting = FULL, methods: Sequence[Method] = METHODS) -> str:
    """Accuracies of the nodes' models on the extra seed by learning rate; the chosen ones in bold."""
    tried, rows = trials(setting, methods), []
    for deal in setting.deals:
        for method in methods:
            mine = [run for run in tried if (run.method, run.partition) == (method.name, deal)]
            best = chosen(results, mine)
            cells = []
            for run in mine:
                value = f"{accuracy(results.found[run.key], FIGURE):.2f}" if run.key in results.found else ""
                cells.append(f"**{value}**" if run.lr == best else value)
            if any(cells):
                rows.append([deal, method.name, *cells])
    return markdown(["data", "method", *(f"lr {lr:g}" for lr in setting.rates)], rows)


# Claims


@dataclass(frozen=True)
class Claim:
    """A claim, the figures it stands or falls by, and whether they bear it out."""

    deal: str
    text: str
    figures: str
    met: bool


def saves(found: Lines, deal: str, method: Method, times: float) -> Claim:
    """So many times fewer bytes than D-SGD, at accuracies within a point: of the averaged model and of the nodes'."""
    line, base = found[method.name], found[D_SGD.name]
    gained = {c: line.last(c).mean - base.last(c).mean for c in ("accuracy", FIGURE)}
    fewer = ratio(found, line) or 0.0
    return Claim(
        deal,
        f"{method.name}: at least {times:g} times fewer bytes than D-SGD, within {WITHIN:g} point",
        f"{fewer:.4g} times; averaged model {gained['accuracy']:+.2f}, nodes' models {gained[FIGURE]:+.2f} points",
        fewer >= times and min(gained.values()) >= -WITHIN,
    )


def momentum_helps(found: Lines, deal: str, target: float) -> list[Claim]:
    """SQuARM-SGD against SPARQ-SGD: accuracy with the same bytes, steps and bytes to the same accuracy."""
    squarm, sparq = found[SQUARM.name], found[SPARQ.name]
    budget = min(squarm.sent, sparq.sent)
    with_it, without = squarm.within(budget), sparq.within(budget)
    claims = [
        Claim(
            deal,
            "momentum: better nodes' models than SPARQ-SGD after the same bytes",
            f"{with_it.text(2)} % against {without.text(2)} % within {megabytes(budget)} MB",
            with_it.mean > without.mean,
        )
    ]
    one, other = squarm.reaching(target), sparq.reaching(target)
    for number, what in enumerate(("steps", "bytes")):
        told = " against ".join(
            "not by all seeds" if r is None else (f"{r[0].text(0)} steps", f"{megabytes(r[1].mean)} MB")[number]
            for r in (one, other)
        )
        fewer = one is not None and (other is None or one[number].mean < other[number].mean)
        claims.append(Claim(deal, f"momentum: {100 * target:g} % in fewer {what} than SPARQ-SGD", told, fewer))
    return claims


def claims(found: Lines, deal: str) -> list[Claim]:
    """All claims on data dealt in one way, of the methods that have been run."""
    made = []
    if D_SGD.name in found:
        wanted = [(SQUARM, 50.0), *((power, 200.0) for power in POWER_ALL)]
        made += [saves(found, deal, method, times) for method, times in wanted if method.name in found]
    if SQUARM.name in found and SPARQ.name in found:
        made += momentum_helps(found, deal, TARGET[deal])
    return made


def claims_table(made: Sequence[Claim]) -> str:
    return markdown(
        ["data", "claim", "found", ""],
        [[claim.deal, claim.text, claim.figures, "met" if claim.met else "**not met**"] for claim in made],
    )


# Pictures


def means(line: Line, column: str, scale: float) -> list[float]:
    """The means of all seeds of a column, evaluation by evaluation."""
    rows = zip(*(result.columns[column] for result in line.done), strict=True)
    return [Spread([scale * (value or 0.0) for value in row]).mean for row in rows]


def figure(found: dict[str, Lines], across: str) -> Figure:
    """Accuracy of the nodes' models, a panel for each way of dealing the data, against bytes or against steps."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for some in found.values() for n, line in some.items() if line.method.curve))
    styles = dict(zip(names, line_styles(len(names)), strict=True))
    for name in names[len(COLOURS) :]:
        styles[name]["linestyle"] = ":"  # colours begin again
    drawn = Figure(figsize=(10, 4.6))
    panels = drawn.subplots(1, len(found), squeeze=False)[0]
    for axes, (deal, some) in zip(panels, found.items(), strict=True):
        for name, style in styles.items():
            if name not in some:
                continue
            line = some[name]
            mean = means(line, FIGURE, 100)
            places = means(line, across, 1e-6 if across == SENT else 1.0)
            axes.plot(places[1:], mean[1:], label=name, linewidth=1.2, **style)
        axes.set(title=f"data dealt {DEALT[deal]}", ylim=LIMITS[deal], xlabel="gradient steps of each node")
        if across == SENT:
            axes.set_xscale("log")
            axes.set_xlabel("megabytes sent by a node")
    panels[0].set_ylabel("test accuracy of the nodes' models, %")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return drawn
