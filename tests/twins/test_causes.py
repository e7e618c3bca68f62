"""The microscope of a pair names what is wrong: weights, images, gradients, precision, what stands elsewhere."""

from __future__ import annotations

import copy
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from shared.twins import compare, find_parting, port
from shared.twins.parting_views import plot_parting

SIZE = 12


@pytest.fixture(scope="module")
def nets():
    """Return a class of small PyTorch networks; its arguments plant a mistake."""
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self, *, detach=False, early=False, twice=False, half=False, bias=True, softmax=False):
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8)
            self.inner, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.fc = nn.Linear(8 * 9, 9)
            self.square = nn.Linear(9, 9)
            for each in (self.bn.running_mean, self.bn.bias):
                nn.init.uniform_(each, -1, 1)
            for each in (self.bn.running_var, self.bn.weight):
                nn.init.uniform_(each, 0.5, 2)
            self.detach, self.early, self.twice, self.half_inside, self.softmax = detach, early, twice, half, softmax

        def forward(self, x):
            x = F.relu(self.bn(self.stem(x)))
            y = self.inner(x)
            if self.half_inside:
                y = F.conv2d(x.bfloat16(), self.inner.weight.bfloat16(), self.inner.bias.bfloat16(), padding=1).float()
            y = F.relu(y) + x if self.early else F.relu(y + (x.detach() if self.detach else x))
            y = self.last(F.relu(y) if self.twice else y)
            y = self.square(self.fc(torch.flatten(F.max_pool2d(y, 4), 1)))
            return F.softmax(y, -1) if self.softmax else y

    return Net


def look(first, second, **options):
    return find_parting(first, second, **({"input_size": SIZE} | options))


@pytest.mark.parametrize(
    ("changes", "layer", "cause"),
    [
        ({"detach": True}, "add", "gradients do not: something is cut off"),
        ({"early": True}, "add", "the relu stands elsewhere"),
        ({"half": True}, "inner", "half precision"),
        ({"softmax": True}, "softmax", "(softmax) is only in the second"),
    ],
    ids=str,
)
def test_a_mistake_in_the_code_is_named_with_its_layer(nets, changes, layer, cause):
    seen = look(nets(), nets(**changes))
    assert seen.first is not None, seen.verdict
    assert layer in seen.first.name
    assert cause in seen.cause


def test_a_relu_that_stands_twice_is_said_though_no_output_changes(nets):
    seen = look(nets(), nets(twice=True))
    assert not any(layer.parts_in_output for layer in seen.layers)
    assert "(relu) in front of it is only in the second" in seen.cause


WEIGHTS = {
    "rows and columns": ("inner.weight", lambda w: w.transpose(2, 3), "height and width of the kernel are swapped"),
    "true convolution": ("inner.weight", lambda w: w.flip(2, 3), "upside down and mirrored"),
    "in and out": ("inner.weight", lambda w: w.transpose(0, 1), "input and output channels of the kernel are swapped"),
    "BGR": ("stem.weight", lambda w: w.flip(1), "BGR for RGB"),
    "reshaped": (
        "inner.weight",
        lambda w: w.reshape(3, 3, 8, 8).permute(3, 2, 0, 1),
        "reshaped to the other layout, not transposed",
    ),
    "shuffled": ("inner.weight", lambda w: w.flatten().flip(0).reshape(w.shape).roll(1), "in another order"),
    "transposed matrix": ("square.weight", lambda w: w.T, "the matrix is transposed"),
    "missing bias": ("inner.bias", lambda w: w * 0, "bias is all zeros in the second"),
    "half": ("last.weight", lambda w: w.half().float(), "rounded to half precision"),
    "scaled": ("last.weight", lambda w: 2 * w, "is 2 times what it is in the first"),
    "other": ("last.weight", lambda w: w + 0.1 * w.roll(1), "has other values in the second"),
}


@pytest.mark.parametrize("mistake", WEIGHTS)
def test_wrong_weights_are_explained_where_each_model_keeps_its_own(nets, mistake):
    name, change, cause = WEIGHTS[mistake]
    second = nets()
    weight = second.get_parameter(name)
    weight.data = change(weight.data).clone()
    seen = look(nets(), second, as_they_are=True)
    assert seen.first.name == name.rpartition(".")[0]
    assert cause in seen.cause
    assert look(nets(), second).equal, "lent the same weights, they are the same"


def test_weights_that_are_exchanged_are_said_to_be(nets):
    second = nets()
    bn = second.bn
    bn.weight.data, bn.bias.data = bn.bias.data, bn.weight.data
    assert "gamma and beta are exchanged" in look(nets(), second, as_they_are=True).cause
    second = nets()
    second.bn.running_mean.data, second.bn.running_var.data = bn.running_var.clone(), bn.running_mean.abs().clone()
    first = nets()
    first.bn.running_mean.data.abs_()
    assert "running mean and running var are exchanged" in look(first, second, as_they_are=True).cause
    first = nets()
    first.inner.bias = None
    second = copy.deepcopy(first)
    second.inner.weight, second.last.weight = second.last.weight, second.inner.weight
    seen = look(first, second, as_they_are=True)
    assert seen.first.name == "inner"
    assert "inner has the weights of last, which has those of this one" in seen.cause
    second.last.weight.data = first.last.weight.data.clone()
    assert look(first, second, as_they_are=True).cause == "inner has the weights of last"


def test_a_bias_that_was_not_taken_off_the_running_mean_is_named(nets):
    first, second = nets(), nets(bias=False)
    for name in ("inner", "last", "fc", "square", "bn"):
        getattr(second, name).load_state_dict(getattr(first, name).state_dict())
    second.stem.weight.data = first.stem.weight.data.clone()
    seen = look(first, second, as_they_are=True)
    assert seen.first.name == "bn"
    assert "the bias of the layer in front is missing" in seen.cause
    assert port(first, second, input_size=SIZE).equal
    assert look(first, second, as_they_are=True).equal, "a bias that was folded is no fault of the convolution"


IMAGES = {
    "BGR": (lambda x: x[..., ::-1], "RGB for one, BGR for the other"),
    "scale": (lambda x: x * 255, "from 0 to 1 for one and from 0 to 255 for the other"),
    "standardised": (
        lambda x: (x - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.25],
        "normalised by a mean and a standard deviation",
    ),
    "layout": (lambda x: x.reshape(2, 3, SIZE, SIZE).transpose(0, 2, 3, 1), "NHWC data was taken as NCHW"),
    "turned": (lambda x: x.transpose(0, 2, 1, 3), "height and width are swapped"),
    "others": (lambda x: x**2, "the two are shown different images"),
}


@pytest.mark.parametrize("mistake", IMAGES)
def test_images_that_were_prepared_otherwise_are_named(nets, mistake):
    change, cause = IMAGES[mistake]
    images = np.random.default_rng(0).random((2, SIZE, SIZE, 3)).astype(np.float32)
    seen = look(nets(), nets(), images=images, second_images=change(images).astype(np.float32))
    assert seen.first.kind == "input"
    assert cause in seen.cause


def test_several_inputs_and_outputs_by_name(torch_twin):
    import torch
    from torch import nn

    class Two(nn.Module):
        def __init__(self, order=("sum", "long"), eps=1e-5):
            super().__init__()
            torch.manual_seed(0)
            self.image, self.row, self.norm = nn.Conv2d(3, 4, 3), nn.Linear(5, 4), nn.LayerNorm(4, eps)
            self.order = order

        def forward(self, image, row):
            both = self.image(image).mean((2, 3)) + self.row(row)
            found = {"sum": both, "long": self.norm(both)}
            return {name: found[name] for name in self.order}

    rng = np.random.default_rng(0)
    shown = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 8, 8, 3), (2, 5))]
    first, turned = Two(), Two(order=("long", "sum"))
    turned.row.weight.data.zero_()
    assert port(first, turned, shown).equal, "outputs belong together by their names"
    seen = find_parting(first, Two(eps=0.1), shown)
    assert seen.first.name == "norm"
    assert "eps 1e-05 and 0.1" in seen.cause
    with pytest.raises(InputError, match="2, 3 rows"):
        find_parting(first, turned, [shown[0], rng.normal(size=(3, 5)).astype(np.float32)])


def test_a_failed_port_says_where_the_two_part_and_changes_nothing(nets):
    first, second = nets(), nets(early=True)
    second.last.weight.data += 1
    before = second.last.weight.clone()
    found = port(first, second, input_size=SIZE)
    assert not found.equal
    assert found.parting.first.name == "add"
    assert "part at add" in found.verdict
    assert (second.last.weight == before).all()


def test_what_was_seen_is_shown_in_every_form(nets):
    seen = look(nets(), nets(detach=True))
    assert "the first that parts" in seen.to_text()
    plain = json.loads(seen.to_json())
    assert (plain["layer"], plain["equal"]) == ("add", False)
    assert len(plain["layers"]) == len(seen.layers)
    root = ElementTree.fromstring(seen.to_junit())
    failed = [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]
    assert failed == ["the same function", "add"]
    assert seen.to_csv().count("\n") == 1 + len(seen.layers)
    assert "<details>" in seen.to_html()


def test_the_errors_are_drawn_with_the_first_that_parts(nets, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    look(nets(), nets(detach=True)).plot(tmp_path / "errors.svg")
    assert "first: add" in (tmp_path / "errors.svg").read_text(encoding="utf-8")
    assert len(plot_parting(look(nets(), nets())).axes) == 1, "also of two that agree"


def test_what_is_read_of_a_layer_is_let_go_as_soon_as_nobody_needs_it(nets, monkeypatch):
    from shared.twins import lockstep

    most = []
    counted = lockstep._count_down

    def count(graph, sources, uses, *values):
        counted(graph, sources, uses, *values)
        most.append(max(map(len, values)))

    monkeypatch.setattr(lockstep, "_count_down", count)
    assert look(nets(), nets()).equal
    assert max(most) <= 4, "of a chain with one shortcut few values are alive at a time"


def test_numbers_that_are_not_finite_prove_nothing(nets):
    first, second = nets(), nets(early=True)
    first.fc.weight.data[0, 0] = float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        port(first, second, input_size=SIZE)


def test_a_layer_that_is_shared_in_one_model_only_is_a_difference(torch_twin):
    import torch
    from torch import nn

    class Two(nn.Module):
        def __init__(self, shared):
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.other = self.one if shared else nn.Linear(4, 4)

        def forward(self, x):
            return self.other(torch.relu(self.one(x)))

    found = compare(Two(shared=True), Two(shared=False))
    assert not found.equal
    assert "it has the weights of one in the first only" in found.reasons[0]
    assert compare(Two(shared=True), Two(shared=True)).equal


def test_outputs_that_are_exchanged_are_a_difference(torch_twin):
    from torch import nn

    class Two(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.one, self.other, self.turned = nn.Linear(4, 3), nn.Linear(4, 2), turned

        def forward(self, x):
            found = self.one(x), self.other(x)
            return found[::-1] if self.turned else found

    found = compare(Two(turned=False), Two(turned=True))
    assert "output 0 of the first, output 1 of the second" in found.verdict
    assert compare(Two(turned=True), Two(turned=True)).equal
