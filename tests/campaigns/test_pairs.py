"""Planted mistakes in pairs: a short form of the campaign that `tests/campaigns/pairs` runs in full."""

from __future__ import annotations

from random import Random

import pytest

from tests.campaigns.pairs.zoo import ZOO

#: Kinds that the quick part tries, each on a network in which it takes a second.
QUICK = {
    "eps": "mlp",
    "activation-missing": "vgg",
    "other-activation": "mlp",
    "kernel-flipped": "vgg",
    "flatten-order": "mlp",
    "same-for-symmetric": "preact",
    "images-bgr": "mlp",
    "softmax-at-the-end": "vgg",
}


@pytest.fixture
def pairs(torch_twin, keras_twin):
    """The package's cases, which need both frameworks."""
    from tests.campaigns.pairs import cases

    return cases


@pytest.fixture
def right(pairs):
    from tests.campaigns.pairs import right_pairs

    return right_pairs


def found(pairs, kind: str, pair: str, seed: int = 0) -> list[str]:
    """Return what was missed."""
    outcomes = [pairs.try_case(case, seed) for case in list(pairs.cases([pair], [kind], seed))[:2]]
    assert outcomes
    return [f"{outcome.case.name}: {outcome.seen}" for outcome in outcomes if not outcome.right]


@pytest.mark.parametrize("kind", QUICK)
def test_a_planted_mistake_is_found_with_its_cause(pairs, kind):
    assert not found(pairs, kind, QUICK[kind])


@pytest.mark.parametrize("name", ["mlp:tk", "vgg:kt", "style:padding:tk", "style:1x1-head:kt", "style:swish:tk"])
def test_nothing_is_reported_of_a_right_pair(right, name):
    assert right.faults_of(name) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_nothing_is_reported_of_any_network_of_the_zoo(right, name):
    assert right.faults_of(f"{name}:tk") == ""


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["resnet", "convnext", "unet"])
def test_most_mistakes_of_all_kinds_are_found(pairs, pair):
    from tests.campaigns.pairs.kinds import KINDS

    cases = [case for case in pairs.cases([pair], list(KINDS), 1) if case.number == 0]
    outcomes = [pairs.try_case(case, 1) for case in Random(0).sample(cases, 20)]
    assert not [outcome.crash for outcome in outcomes if outcome.crash]
    missed = [f"{outcome.case.name}: {outcome.seen}" for outcome in outcomes if not outcome.right]
    assert len(missed) <= 2, missed


def test_what_is_planted_changes_what_the_network_computes(pairs):
    """Else a microscope that says nothing would be right."""
    import numpy as np
    import torch

    for kind, pair in QUICK.items():
        if kind.startswith("images"):
            continue
        whole = pairs.right_pair(pair, 0)
        case = next(iter(pairs.cases([pair], [kind], 0)))
        models = getattr(whole, case.side), pairs.Planted(case, whole, 0).models[case.side]
        given = whole.images if case.side == "keras" else torch.tensor(whole.images.transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            outputs = [np.asarray(model(given)) for model in models]
        assert np.abs(outputs[0] - outputs[1]).max() > 0, kind


def test_every_kind_says_what_it_is_and_can_be_planted_somewhere(pairs):
    from tests.campaigns.pairs.command import read_case
    from tests.campaigns.pairs.kinds import KINDS

    assert len(KINDS) >= 34
    assert len({kind.words for kind in KINDS.values()}) == len(KINDS)
    assert all(kind.plants for kind in KINDS.values())
    with pytest.raises(SystemExit, match="is no case"):
        read_case("eps:nowhere:keras:0")


def test_the_judge_says_no_where_nothing_is_planted(pairs):
    """A campaign that counts every answer as right would have good figures, too."""
    whole = pairs.right_pair("mlp", 0)
    for kind in ("eps", "other-activation", "images-bgr"):
        case = next(iter(pairs.cases(["mlp"], [kind], 0)))
        planted = pairs.Planted(case, whole, 0)
        planted.models = {"torch": whole.torch, "keras": whole.keras}
        planted.images = dict.fromkeys(pairs.SIDES, whole.images)
        outcome = pairs.Outcome(case)
        pairs.judge(outcome, planted, pairs.SIDES)
        assert not outcome.layer
        assert not outcome.cause
