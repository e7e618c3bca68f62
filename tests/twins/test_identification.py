"""Which network of the catalog a model is: the catalog drawn from its specs, and models of others found in it."""

from __future__ import annotations

import json

import pytest

from shared.base.errors import InputError
from shared.networks import SPECS, StemSpec, get_spec
from shared.networks.blueprint import blueprint
from shared.twins import identify, see
from shared.twins.identification_views import MOST_SHOWN
from shared.twins.inputs import usual_inputs
from shared.twins.pair import compare_graphs

SIZE = 32
SMALL = {"depths": (1, 2), "widths": (8, 16), "input_size": SIZE}
#: Every kind of block, stem and shortcut.
DRAWN = {
    "basic": ("resnet18", SMALL),
    "v1.5": ("resnet50", SMALL),
    "v1": ("resnet50_v1", SMALL),
    "keras": ("resnet50_keras", SMALL),
    "plain": ("plain18", SMALL),
    "preact": ("preact_resnet18", SMALL),
    "preact bottleneck": ("preact_resnet50", SMALL),
    "preact option A": ("preact_resnet110_cifar", {**SMALL, "widths": (16, 32)}),
    "preact option C": ("preact_resnet18", {**SMALL, "shortcut": "C"}),
    "option A": ("resnet20_cifar", {"depths": (1, 1, 1)}),
    "option A, odd": ("resnet20_cifar", {"depths": (1, 1, 1), "widths": (16, 19, 32)}),
    "option C": ("resnet18", {**SMALL, "shortcut": "C"}),
    "biases, no norm": ("resnet18_d2l", {**SMALL}),
    "3x3 projections": ("resnet14_cifar_conv3x3", {"depths": (1, 1, 1)}),
    "grey": ("resnet8_digits", {}),
}


@pytest.mark.parametrize(("name", "overrides"), DRAWN.values(), ids=DRAWN)
def test_a_network_drawn_from_its_spec_is_what_pytorchs_reader_sees(torch_twin, name, overrides):
    spec = get_spec(name, **overrides)
    found = compare_graphs(blueprint(spec), _seen(torch_twin, spec))
    assert found.equal, found.reasons
    assert found.first.outputs == {"": len(found.first.nodes) - 1}


def test_a_drawn_network_is_told_from_another(torch_twin):
    spec = get_spec("resnet50", **SMALL)
    other = _seen(torch_twin, get_spec("resnet50", **SMALL, stride_in_1x1=True))
    assert not compare_graphs(blueprint(spec), other).equal


@pytest.mark.parametrize("name", ["resnet50", "preact_resnet110_cifar"])
def test_a_network_drawn_from_its_spec_is_what_keras_reader_sees(keras_twin, name):
    spec = get_spec(name, **{**SMALL, "widths": (16, 32)})
    assert compare_graphs(blueprint(spec), _seen(keras_twin, spec)).equal


def _seen(twin, spec):
    model = twin.create_model(spec)
    return see(model, *usual_inputs([model], input_size=spec.input_size, in_channels=spec.in_channels))


def test_a_drawn_network_has_no_framework_and_says_so():
    found = compare_graphs(blueprint(get_spec("resnet18")), blueprint(get_spec("resnet34")))
    assert found.names == ("resnet18", "resnet34")
    assert blueprint(get_spec("resnet18"), (64, 96)).nodes[1].shape == (1, 64, 32, 48)


# -- networks that are in the catalog


@pytest.mark.parametrize("name", [name for name in SPECS if "1202" not in name])
def test_every_network_of_the_catalog_is_found_under_its_own_name(name):
    found = identify(blueprint(get_spec(name)))
    assert found.exact
    assert (found.name, found.overrides, found.spec) == (name, {}, get_spec(name))


CHANGED = {
    "depths": ("resnet18", {"depths": (2, 3, 2, 2)}),
    "widths": ("resnet18", {"widths": (32, 64, 128, 256), "stem": StemSpec(out_channels=32)}),
    "equal widths": ("resnet18", {"widths": (64, 64, 128, 128)}),
    "truncated": ("resnet50", {"depths": (3, 4, 6), "widths": (64, 128, 256)}),
    "stem": ("resnet18", {"stem": StemSpec(kernel_size=3, stride=1, max_pool=False), "num_classes": 10}),
    "no max-pool": ("resnet34", {"stem": StemSpec(max_pool=False)}),
    "v1 momentum": ("resnet50_v1", {"norm_momentum": 0.01, "norm_eps": 1e-3}),
    "other depths, option A": ("resnet20_cifar", {"depths": (2, 2, 2)}),
    "option B": ("resnet20_cifar", {"shortcut": "B"}),
    "option C": ("resnet18", {"shortcut": "C"}),
    "projections": ("preact_resnet18", {"shortcut_norm": True, "shortcut_kernel_size": 3}),
    "wide": ("preact_resnet110_cifar", {"depths": (4, 4, 4), "widths": (160, 320, 640), "shortcut": "B"}),
    "grey": ("plain18", {"in_channels": 1, "num_classes": 7, "input_size": 96}),
}


@pytest.mark.parametrize(("name", "overrides"), CHANGED.values(), ids=CHANGED)
def test_a_network_with_other_values_is_named_by_its_row_and_those_values(name, overrides):
    found = identify(blueprint(get_spec(name, **overrides)))
    assert found.exact
    assert (found.name, found.overrides) == (name, overrides)
    assert eval(found.code, {"get_spec": get_spec, "StemSpec": StemSpec}) == get_spec(name, **overrides)


# -- networks of others


@pytest.fixture
def block(torch_twin):
    """A block as a blog post writes it: functions, own names, the shortcut computed first; options change it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, inside, out, step, options):
            super().__init__()
            self.options = options
            bias, eps = options.get("bias", False), options.get("eps", 1e-5)
            self.one = nn.Conv2d(inside, out, 3, step, 1, bias=bias)
            self.two = nn.Conv2d(out, out, 3, 1, 1, bias=bias, groups=options.get("groups", 1))
            norm = nn.Identity if options.get("bare") else nn.BatchNorm2d
            self.norms = nn.ModuleList(norm(out, eps=eps) for _ in range(3))
            self.way = nn.Conv2d(inside, out, 1, step, bias=options.get("way_bias", bias))
            self.down, self.up = nn.Linear(out, out // 4), nn.Linear(out // 4, out)
            self.same = step == 1 and inside == out

        def forward(self, x):
            act = self.options.get("act", F.relu)
            around = x if self.same else self.norms[2](self.way(x))
            y = self.norms[1](self.two(F.dropout(act(self.norms[0](self.one(x))), 0.1, self.training)))
            if self.options.get("gate"):
                y = y * torch.sigmoid(self.up(F.relu(self.down(y.mean((2, 3))))))[:, :, None, None]
            if self.options.get("early"):
                return around + act(y)
            return act(around + y)

    return Block


@pytest.fixture
def blog(block):
    """A ResNet-18 of such blocks, with the same options."""
    from torch import nn
    from torch.nn import functional as F

    class Blog(nn.Module):
        def __init__(self, depths=(2, 2, 2, 2), classes=1000, channels=3, heads=1, hidden=False, pool=True, **options):
            super().__init__()
            self.pool = pool
            self.begin = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            self.norm = nn.BatchNorm2d(64, eps=options.get("eps", 1e-5))
            units, inside = [], 64
            for stage, depth in enumerate(depths):
                for place in range(depth):
                    out = 64 * 2**stage
                    late = options.get("late")  # the stride in the last unit of a stage, not in the first of the next
                    halves = place == depth - 1 and stage < len(depths) - 1 if late else stage and not place
                    units.append(block(inside, out, 2 if halves else 1, options))
                    inside = out
            self.units = nn.ModuleList(units)
            self.middle = nn.Linear(inside, 100) if hidden else None
            self.ends = nn.ModuleList(nn.Linear(100 if hidden else inside, classes) for _ in range(heads))

        def forward(self, x):
            x = F.relu(self.norm(self.begin(x)))
            x = F.max_pool2d(x, 3, 2, 1) if self.pool else x
            for unit in self.units:
                x = unit(x)
            x = x.mean(dim=(2, 3))
            x = x if self.middle is None else F.relu(self.middle(x))
            found = [end(x) for end in self.ends] or [x]
            return found[0] if len(found) == 1 else tuple(found)

    return Blog


@pytest.mark.parametrize(
    ("options", "name", "overrides"),
    [
        ({}, "resnet18", {}),
        ({"bias": True, "classes": 10, "eps": 1e-3}, "resnet18_biased", {"num_classes": 10, "norm_eps": 1e-3}),
        ({"depths": (2, 3, 2, 2)}, "resnet18", {"depths": (2, 3, 2, 2)}),
        ({"depths": (3, 4, 6, 3), "channels": 1}, "resnet34", {"in_channels": 1}),
        ({"depths": (2, 2, 2)}, "resnet18", {"depths": (2, 2, 2), "widths": (64, 128, 256)}),
        ({"pool": False}, "resnet18", {"stem": StemSpec(max_pool=False)}),
    ],
    ids=str,
)
def test_a_blog_posts_network_is_found_with_what_it_has_of_its_own(blog, options, name, overrides):
    found = identify(blog(**options), input_size=SIZE)
    assert found.exact, found.differences
    assert (found.name, found.overrides) == (name, overrides | {"input_size": SIZE})
    assert found.verdict.startswith(f"✓ Blog (PyTorch) is {name} with ")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"act": "gelu"}, ["gelu: gelu in the model, relu in resnet18 (16 times, first in units.0.gelu)"]),
        ({"heads": 2}, ["dense: only in the model (ends.1)"]),
        ({"hidden": True}, ["dense: only in the model (middle)"]),
        ({"gate": True}, ["sigmoid: only in the model (8 times, first in units.0.sigmoid)"]),
        ({"gate": True, "heads": 0}, ["dense: only in resnet18 (fc)"]),
        ({"bare": True}, ["batch_norm: only in resnet18 (19 times, first in layer1.0.bn1)"]),
        ({"groups": 32}, ["conv: groups 32 and 1 (8 times, first in units.0.two)"]),
        ({"way_bias": True}, ["conv: no bias in resnet18 (3 times, first in units.2.way)"]),
        ({"early": True}, ["add: fed by other layers (units.0.add)"]),
    ],
    ids=str,
)
def test_what_no_field_expresses_is_said_once_beside_the_nearest_row(blog, options, left):
    from torch.nn import functional as F

    found = identify(blog(**(options | ({"act": F.gelu} if "act" in options else {}))), input_size=SIZE)
    assert found.near
    assert not found.exact
    assert (found.name, found.overrides) == ("resnet18", {"input_size": SIZE})
    assert set(left) <= set(found.differences)
    assert len(set(found.differences)) == len(found.differences)
    assert "nearest to resnet18" in found.verdict


def test_where_a_networks_parts_disagree_the_reading_with_fewer_differences_is_taken(blog):
    found = identify(blog(depths=(3, 3), late=True), input_size=SIZE)
    assert (found.spec.depths, found.spec.widths) == ((3, 3), (64, 128)), "stages by channels, not where sizes change"
    assert "conv: stride (2, 2) and (1, 1) (units.2.one)" in found.differences


def test_a_network_that_takes_only_small_images_is_found_without_being_told_their_size(torch_twin):
    from torch import nn

    model = torch_twin.create_model("resnet20_cifar", num_classes=100)
    model.avgpool = nn.AvgPool2d(8)  # as it is often written: 8 x 8 pixels are left of 32
    found = identify(model)
    assert (found.exact, found.name, found.overrides) == (True, "resnet20_cifar", {"num_classes": 100})


def test_a_torchvision_like_bottleneck_is_told_from_the_papers(torch_twin):
    for name in ("resnet50", "resnet50_v1"):
        spec = get_spec(name, depths=(1, 1), widths=(8, 16), input_size=SIZE)
        found = identify(torch_twin.create_model(spec), input_size=SIZE)
        assert (found.exact, found.name) == (True, name)


def test_a_subclassed_keras_network_is_found(keras_twin):
    import keras
    from keras import layers, ops

    class Unit(layers.Layer):
        def __init__(self, out, step, projected):
            super().__init__()
            self.first = layers.Conv2D(out, 3, step, padding="valid")
            self.pad, self.second = layers.ZeroPadding2D(1), layers.Conv2D(out, 3, padding="same")
            self.norms = [layers.BatchNormalization() for _ in range(3)]
            self.way = layers.Conv2D(out, 1, step) if projected else None

        def call(self, x, training=False):
            around = x if self.way is None else self.norms[2](self.way(x), training=training)
            y = ops.relu(self.norms[0](self.first(self.pad(x)), training=training))
            return ops.relu(around + self.norms[1](self.second(y), training=training))

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.begin, self.norm = layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization()
            self.units = [Unit(8, 1, False), Unit(16, 2, True)]
            self.pool, self.end = layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")

        def call(self, x, training=False):
            x = ops.relu(self.norm(self.begin(x), training=training))
            for unit in self.units:
                x = unit(x, training=training)
            return self.end(self.pool(x))

    with pytest.warns(UserWarning, match="does not have a `build"):  # as such code is often written
        found = identify(Net(), input_size=SIZE)
    assert (found.spec.depths, found.spec.widths, found.spec.conv_bias) == ((1, 1), (8, 16), True)
    assert (found.spec.norm_eps, found.spec.norm_momentum) == (1e-3, 0.01)
    assert found.spec.stem == StemSpec(out_channels=8, kernel_size=3, stride=1, max_pool=False, bias=True)
    assert [text.split(" (")[0] for text in found.differences] == ["softmax: only in the model"]
    assert "one difference is left: softmax" in found.verdict


def test_an_exported_program_is_found(torch_twin):
    import torch

    model = torch_twin.create_model("resnet8_digits").eval()
    program = torch.export.export(model, (torch.zeros(1, 1, 8, 8),))
    assert identify(program).exact


# -- what is in no catalog


def test_other_networks_are_refused_honestly(torch_twin):
    from torch import nn

    def vgg():
        parts, inside = [], 3
        for out, count in ((64, 2), (128, 2), (256, 3), (512, 3)):
            for _ in range(count):
                parts += [nn.Conv2d(inside, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
                inside = out
            parts.append(nn.MaxPool2d(2))
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(512 * 4, 100), nn.ReLU(), nn.Linear(100, 10))

    mlp = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    flat = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    for model in (vgg(), mlp, flat, nn.Sequential(nn.ReLU())):
        found = identify(model)
        assert not found.near
        assert not found.exact
        assert found.overrides == {}
        assert found.verdict.startswith("✗ none of the catalog's networks is near Sequential (PyTorch): the nearest is")
        assert f"{found.alike[0]} of {found.alike[1]} convolutions and dense layers alike" in found.verdict
        assert "create_model" not in found.to_text()


def test_what_cannot_be_identified_is_answered_in_one_line(torch_twin):
    from torch import nn

    class TwoInputs(nn.Module):
        def forward(self, x, y):
            return x + y

    for model, words in ((TwoInputs(), "nor does it take other usual images"), (3, "no PyTorch or Keras model")):
        with pytest.raises(InputError, match=words) as caught:
            identify(model)
        assert "\n" not in str(caught.value)


# -- views and the command


def test_the_answer_has_a_table_a_page_and_json(blog):
    found = identify(blog(classes=10, heads=2), input_size=SIZE)
    text = found.to_text()
    assert repr(found) == text
    assert f'model = create_model("resnet18", num_classes=10, input_size={SIZE})' in text
    assert [line.split() for line in text.splitlines() if "num_classes " in line] == [["num_classes", "1000", "10"]]
    assert "| num_classes | 1000 | 10 |" in found.to_markdown()
    page = found._repr_html_()
    assert "<td>num_classes</td><td>1000</td><td>10</td>" in page
    assert page.count("<details") == page.count("</details>") > 8
    content = json.loads(found.to_json())
    assert get_spec(content["network"], **content["overrides"]) == found.spec
    assert content["differences"] == found.differences
    assert found.differences == [
        "dense: output of a model with 2, in resnet18 of one with 1 (ends.0)",
        "dense: only in the model (ends.1)",
    ]
    assert len(content["pair"]["rows"]) == len(found.pair.rows)
    assert len(found.differences) <= MOST_SHOWN


def test_the_command_names_a_file_s_model_and_ends_with_a_code(call, tmp_path, torch_twin):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "from resnet_torch import create_model\n"
        "def net(classes=10):\n"
        "    return create_model('resnet18', num_classes=classes)\n"
        "def soft():\n"
        "    return nn.Sequential(net(), nn.Softmax(1))\n"
        "def mlp():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    found = call("identify", "mine.py:net(classes=7)", "--input-size", SIZE, "--format", "json")
    assert found.returncode == 0
    assert json.loads(found.stdout)["overrides"] == {"num_classes": 7, "input_size": SIZE}
    found = call("identify", "mine.py:soft", "--input-size", SIZE, "-o", "found.md")
    assert (found.returncode, "softmax: only in the model" in (tmp_path / "found.md").read_text()) == (1, True)
    found = call("identify", "mine.py:mlp", COLUMNS="80")
    assert found.returncode == 1
    assert "none of the catalog's networks is near" in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert call("identify", "resnet18", "--input-size", "8").returncode == 2
