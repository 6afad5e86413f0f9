"""What a compressor, a trigger and a consensus step can be asked for in words."""

import pytest

from topokit.errors import InputError
from topokit_trainer.catalog import COMPRESSORS
from topokit_trainer.specs import Stage, parse_compressor, parse_consensus_step, parse_trigger

GOOD = {
    "identity": [("identity", ())],
    "sign": [("sign", ())],
    "bf16": [("bf16", ())],
    "fp16": [("fp16", ())],
    "qsgd:4": [("qsgd", (4,))],
    "qsgd:4,64": [("qsgd", (4, 64))],
    "top-k:0.01": [("top-k", (0.01,))],
    "top-k:1": [("top-k", (1,))],
    "top-k:1e-3+sign": [("top-k", (0.001,)), ("sign", ())],
    " rand-k:0.5 + qsgd:8,100 ": [("rand-k", (0.5,)), ("qsgd", (8, 100))],
    "rand-k:0.5+bf16": [("rand-k", (0.5,)), ("bf16", ())],
    "low-rank:2": [("low-rank", (2,))],
    "low-rank:2+fp16": [("low-rank", (2,)), ("fp16", ())],
}


@pytest.mark.parametrize("text", GOOD)
def test_compressors_are_read(text):
    assert parse_compressor(text) == tuple(Stage(*stage) for stage in GOOD[text])


def test_every_compressor_of_the_catalogue_can_be_asked_for():
    assert {name for stages in GOOD.values() for name, _ in stages} == set(COMPRESSORS)
    for name, facts in COMPRESSORS.items():
        assert facts.written.startswith(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--compressor must be one of identity, bf16"),
        ("zip", "must be one of identity, .*; got 'zip'"),
        ("sign:1", "sign takes no number; got '1'"),
        ("top-k", "top-k takes a fraction above 0, at most 1$"),
        ("top-k:", "top-k takes a fraction above 0, at most 1"),
        ("top-k:0", "at most 1; got 0"),
        ("top-k:1.5", "at most 1; got 1.5"),
        ("top-k:ten", "at most 1; got ten"),
        ("top-k:nan", "got nan"),
        ("top-k:0.1,0.2", "top-k takes a fraction above 0, at most 1; got '0.1,0.2'"),
        ("qsgd", "qsgd takes a whole number of levels"),
        ("qsgd:0", "levels.*; got 0"),
        ("qsgd:2.5", "levels.*; got 2.5"),
        ("qsgd:inf", "levels.*; got inf"),
        ("qsgd:1e9", "levels.*; got 1e9"),
        ("qsgd:4,0", "bucket.*; got 0"),
        ("qsgd:4,8,9", "got '4,8,9'"),
        ("low-rank:0.5", "whole rank of at least 1; got 0.5"),
        ("sign+bf16", "before the plus belongs one of top-k, rand-k, low-rank"),
        ("top-k:0.1+top-k:0.1", "after top-k belongs one of bf16, fp16, sign, qsgd"),
        ("top-k:0.1+identity", "after top-k belongs one of"),
        ("low-rank:1+sign", "after low-rank belongs one of bf16, fp16"),
        ("top-k:0.1+sign+bf16", "has 3 parts"),
        ("top-k:0.1+", "must be one of"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_compressor(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--compressor")


def test_the_option_is_named():
    with pytest.raises(InputError, match=r"^compressor: qsgd takes"):
        parse_compressor("qsgd", "compressor")


@pytest.mark.parametrize(
    ("text", "steps", "thresholds"),
    [
        ("none", [0, 7, 1000], [0, 0, 0]),
        ("constant:0", [0, 5], [0, 0]),
        ("constant:2.5", [0, 5, 10**6], [2.5, 2.5, 2.5]),
        ("step:2,1,10", [0, 9, 10, 19, 20, 1000], [2, 2, 3, 3, 4, 102]),
        ("step:2,1,10,30", [0, 9, 10, 29, 30, 1000], [2, 2, 3, 4, 5, 5]),
        ("step:2.5,1.5,20,350", [0, 20, 349, 350, 351], [2.5, 4, 28, 28, 28]),
        ("power:3,0.5", [0, 1, 4, 100], [0, 3, 6, 30]),
        ("power:3,0", [0, 1, 100], [3, 3, 3]),
    ],
)
def test_thresholds_of_triggers(text, steps, thresholds):
    trigger = parse_trigger(text)
    assert [trigger.threshold(step) for step in steps] == pytest.approx(thresholds)
    assert trigger.needed == (text != "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("always", "--trigger must be one of none, constant, step, power; got 'always'"),
        ("constant", "constant takes a finite threshold of at least 0"),
        ("constant:-1", "threshold of at least 0; got -1"),
        ("constant:inf", "got inf"),
        ("step:1,2", r"step takes a first threshold .*, a number of steps between increments \(and, if wanted, a step"),
        ("step:1,2,0", "steps between increments of at least 1"),
        ("step:1,2,3,4,5", "got '1,2,3,4,5'"),
        ("power:1,1", "exponent below 1"),
        ("power:1", "power takes a first threshold"),
        ("none:1", "none takes no number; got '1'"),
    ],
)
def test_what_is_no_trigger_is_said_in_one_sentence(text, message):
    with pytest.raises(InputError, match=message):
        parse_trigger(text)


@pytest.mark.parametrize(
    ("text", "step"), [("tuned", None), ("theory", None), ("1", 1.0), ("0.05", 0.05), ("1e-3", 1e-3)]
)
def test_consensus_steps_are_read(text, step):
    assert parse_consensus_step(text) == step


@pytest.mark.parametrize("text", ["", "big", "0", "-0.1", "1.01", "nan", "inf"])
def test_what_is_no_consensus_step_is_said_in_one_sentence(text):
    with pytest.raises(InputError, match=r"^--consensus-step must be"):
        parse_consensus_step(text)
