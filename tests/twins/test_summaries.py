"""One model as the other framework would show it: Keras' table of a PyTorch one, PyTorch's printout of a Keras one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from shared.backends import load_part
from shared.base.errors import InputError
from shared.twins import see, summary
from shared.twins.printouts import keras_printout
from shared.twins.torch_form import torch_form

SIZE = 32


@pytest.fixture
def torch_net(torch_twin):
    """A skip, functions, a ReLU and a convolution that are called several times, and a layer that is never called."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
            self.again, self.attend = nn.Conv2d(8, 8, 3, padding=1), nn.MultiheadAttention(8, 2, batch_first=True)
            self.head, self.unused = nn.Linear(8, 5), nn.Linear(3, 7)
            self.token = nn.Parameter(torch.zeros(1, 8, 1, 1))

        def forward(self, x):
            way = self.relu(self.norm(self.stem(x)))
            x = self.relu(self.again(self.relu(self.again(way))))
            x = F.relu(x + way) + self.token
            x = x.flatten(2).transpose(1, 2)
            return self.head(self.attend(x, x, x)[0].mean(1))

    return Net()


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of Keras' table by the name of the layer, cells of several lines joined."""
    found = {}
    for _, lines in keras_printout(text, "").rows:
        cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
        first, *others = zip(*cells, strict=True)
        joined = ["".join(first), *(" ".join(parts).strip() for parts in others)]
        found[joined[0].partition("(")[0].strip()] = joined
    return found


def number(text: str, title: str) -> int:
    return int(re.search(rf"{title} params: ([\d,]+)", text)[1].replace(",", ""))


# -- Keras' form


def test_a_pytorch_model_has_keras_table_with_functions_skips_and_shared_layers(torch_net):
    shown = summary(torch_net, input_size=SIZE)
    assert shown.splitlines()[0] == 'Model: "Net"'
    table = rows(shown)
    assert table["stem"][1:] == ["(None, 8, 32, 32)", "224", "x[0][0]"]
    assert table["norm"][2] == "32", "Keras counts the running statistics"
    assert table["relu"][0] == "relu (ReLU) ×3"
    assert table["again"][0] == "again (Conv2d) ×2"
    assert table["again"][2:] == ["584", "relu[0][0], relu[1][0]"], "counted once, fed twice"
    assert table["add"][2:] == ["0", "relu[2][0], relu[0][0]"]
    assert table["attend"][:3] == ["attend (MultiheadAttention)", "(None, 1024, 8)", "288"], "one row, not its steps"
    assert table["token"][1:3] == ["(1, 8, 1, 1)", "8"]


def test_the_totals_are_those_of_both_frameworks(torch_net):
    shown = summary(torch_net, input_size=SIZE)
    own = sum(each.numel() for each in torch_net.parameters())
    assert (number(shown, "Total"), number(shown, "Trainable")) == (own + 16, own)
    assert number(shown, "Non-trainable") == 16
    assert f"PyTorch counts {own:,} parameters. The other 16 are buffers there" in shown
    assert "28 of them belong to no row, because no output depends on them: unused.weight, unused.bias" in shown
    counted = sum(int(cells[2].replace(",", "")) for cells in rows(shown).values())
    assert counted + 28 == number(shown, "Total")


def test_frozen_and_tied_weights_are_counted_as_such(torch_twin):
    import torch
    from torch import nn

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
            self.second.weight = self.first.weight
            self.last = nn.Conv2d(3, 4, 1).requires_grad_(False).to(torch.float32)

        def forward(self, x):
            return self.last(self.second(self.first(x)))

    shown = summary(Tied(), input_size=4)
    assert [rows(shown)[name][2] for name in ("first", "second", "last")] == ["9", "0 (shared)", "16"]
    assert " Trainable params: 9 (36.00 B)" in shown
    assert " Non-trainable params: 16 (64.00 B)" in shown
    assert "PyTorch counts" not in shown, "there the count is the same"


def test_a_chain_needs_no_column_of_connections(torch_twin):
    from torch import nn

    shown = summary(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), input_size=4)
    assert "Connected to" not in shown
    assert list(rows(shown)) == ["input", "0", "1", "2", "3"]


def test_an_exported_program_has_keras_table_too(torch_twin, call, tmp_path):
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 6, 6),)), tmp_path / "net.pt2")
    shown = call("summary", "net.pt2")
    assert shown.returncode == 0, shown.stderr
    assert list(rows(shown.stdout)) == ["input", "0", "1", "2"]
    assert number(shown.stdout, "Total") == 4 * 27 + 4 + 16


def test_long_and_strange_names_are_folded_and_cleaned_but_not_cut(torch_twin):
    from torch import nn

    long = "a_layer_with_a_name_" * 6
    inner = nn.Sequential()
    inner.add_module(long, nn.Conv2d(3, 4, 3))
    inner.add_module("\x1b[31mred", nn.ReLU())
    shown = summary(inner, input_size=4, width=60)
    assert long in rows(shown)
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in rows(shown)
    assert max(map(len, shown.splitlines())) <= 60


def test_both_forms_of_a_network_of_the_catalog_are_those_of_its_twin(torch_twin, keras_twin):
    models = [twin.create_model("resnet18", seed=0) for twin in (torch_twin, keras_twin)]
    mine, own = rows(summary(models[0])), rows(summary(models[1], form="keras"))
    own = {name: cells for name, cells in own.items() if not name.endswith(".pad")}
    assert mine.pop("x")[2] == own.pop("input")[2] == "0"
    assert mine.keys() == own.keys()
    for name, (_, shape, count, *_) in mine.items():
        sizes = shape.strip("()").split(", ")
        if len(sizes) == 4:
            sizes = [sizes[0], *sizes[2:], sizes[1]]
        assert (f"({', '.join(sizes)})", count) == tuple(own[name][1:3]), name
    lines = [
        {line.strip() for line in summary(model, form="torch").splitlines() if re.match(r" *\(.*\): \w+\(.+\)$", line)}
        for model in models
    ]
    plain = {line.partition(": ")[2].replace(", bias=True, track", ", track") for line in lines[0]}
    padded = {line.partition(": ")[2] for line in lines[1] if "ZeroPad2d" not in line}
    assert {line for line in padded if not line.startswith(("Conv2d", "MaxPool2d", "Sequential"))} <= plain
    assert "(fc): Linear(in_features=512, out_features=1000, bias=True)" in lines[0] & lines[1]


# -- PyTorch's form


@pytest.fixture
def keras_net(keras_twin):
    """Subclassed, with layers in a list, in a dictionary, in another layer, a function, and one never called."""
    import keras
    from keras import layers

    class Block(layers.Layer):
        def __init__(self, channels, **options):
            super().__init__(**options)
            self.conv = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)
            self.norm = layers.BatchNormalization()

        def call(self, x):
            return keras.ops.relu(self.norm(self.conv(x)))

    class Scale(layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), name="factor")

        def call(self, x):
            return x * self.factor

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.blocks = [Block(8, name="one"), Block(8, name="two")]
            self.scale, self.pool = Scale(name="scale"), layers.GlobalAveragePooling2D(name="pool")
            self.heads = {"main": layers.Dense(4, activation="relu", name="main")}
            self.unused = layers.Dense(3, name="unused")
            self.inner = keras.Sequential([layers.Conv2D(3, 1, name="a"), layers.ReLU(name="b")], name="inner")

        def build(self, shape):
            self.built = True

        def call(self, x):
            x = self.inner(x)
            for block in self.blocks:
                x = block(x)
            return self.heads["main"](self.pool(self.scale(x)))

    return Net()


def test_a_subclassed_keras_model_is_nested_by_its_attributes(keras_net):
    shown = summary(keras_net, input_size=8)
    head, _, remarks = shown.partition("\n\nWhat a PyTorch printout does not show:\n")
    norm = "(norm): BatchNorm2d(8, eps=0.001, momentum=0.01, affine=True, track_running_stats=True)"
    assert head.splitlines() == [
        "Net(",
        "  (blocks): ModuleList(",
        *(
            line
            for place, channels in enumerate((3, 8))
            for line in (
                f"    ({place}): Block(",
                "      (conv): Sequential(",
                "        (0): ZeroPad2d((0, 1, 0, 1))",
                f"        (1): Conv2d({channels}, 8, kernel_size=(3, 3), stride=(2, 2), bias=False)",
                "      )",
                f"      {norm}",
                "    )",
            )
        ),
        "  )",
        "  (scale): Scale()",
        "  (pool): AdaptiveAvgPool2d(output_size=1)",
        "  (heads): ModuleDict(",
        "    (main): Linear(in_features=8, out_features=4, bias=True)",
        "  )",
        "  (unused): Dense()",
        "  (inner): Sequential(",
        "    (a): Conv2d(3, 3, kernel_size=(1, 1), stride=(1, 1))",
        "    (b): ReLU()",
        "  )",
        ")",
    ]
    assert "- the operation relu, 3 times: one/relu, two/relu, main/relu" in remarks
    assert "- the parameter: scale/factor" in remarks
    assert "- unused: not called" in remarks
    assert '- blocks.0.conv, blocks.1.conv: its "same" pads more behind than before' in remarks
    assert "- the momentum of a BatchNorm is as PyTorch counts it" in remarks


def test_equal_layers_in_a_list_are_one_line_as_pytorch_writes_it(keras_twin):
    import keras
    from keras import layers

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = [layers.Dense(4) for _ in range(3)]

        def call(self, x):
            for dense in self.dense:
                x = dense(x)
            return x

    shown = summary(Net(), in_channels=4, input_size=2)
    assert "    (0-2): 3 x Linear(in_features=4, out_features=4, bias=True)" in shown.splitlines()


def test_a_functional_model_is_a_flat_list_and_sums_stand_below(keras_twin):
    import keras
    from keras import layers

    image = keras.Input((8, 8, 3), name="image")
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    both = layers.Add(name="sum")([conv(conv(image)), image])
    model = keras.Model(image, layers.Dense(2, name="head")(layers.Flatten(name="flat")(keras.ops.tanh(both))))
    assert summary(model).splitlines() == [
        "Functional(",
        "  (conv): Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "  (flat): Flatten(start_dim=1, end_dim=-1)",
        "  (head): Linear(in_features=192, out_features=2, bias=True)",
        ")",
        "",
        "What a PyTorch printout does not show:",
        "- the operation add: sum",
        "- the operation tanh: tanh",
        "- flat: it flattens (height, width, channels), PyTorch (channels, height, width)",
    ]


def test_each_line_is_a_module_that_pytorch_prints_so(torch_twin, keras_twin):
    """What is printed is run as PyTorch code, and the module that comes out is printed by PyTorch itself."""
    import keras
    import torch
    from keras import layers

    conv = {"padding": "same"}
    parts = [
        keras.Input((32, 32, 4)),
        *(layers.Conv2D(8, 3, groups=2, dilation_rate=2), layers.Conv2D(8, 4, **conv), layers.Conv2D(8, 3, 2, **conv)),
        *(layers.DepthwiseConv2D(3, **conv), layers.SeparableConv2D(8, 3), layers.Conv2DTranspose(8, 3, 2, **conv)),
        *(layers.Conv2DTranspose(8, 2, 2), layers.MaxPooling2D(3, 2, **conv), layers.MaxPooling2D((2, 1))),
        *(layers.AveragePooling2D(3, 1, **conv), layers.BatchNormalization(), layers.GroupNormalization(2)),
        *(layers.BatchNormalization(center=False, scale=False), layers.ZeroPadding2D(((1, 0), (2, 1)))),
        *(layers.Cropping2D(1), layers.UpSampling2D(2), layers.UpSampling2D((1, 2), interpolation="bilinear")),
        *(layers.ReLU(), layers.ReLU(6), layers.LeakyReLU(0.2), layers.ELU(), layers.PReLU(shared_axes=[1, 2])),
        *(layers.Activation(name) for name in ("gelu", "silu", "mish", "tanh", "sigmoid", "selu", "softplus")),
        *(layers.Softmax(), layers.Dropout(0.5), layers.SpatialDropout2D(0.25), layers.AlphaDropout(0.1)),
        *(layers.GlobalMaxPooling2D(keepdims=True), layers.Flatten(), layers.LayerNormalization(), layers.Dense(3)),
        *(layers.LayerNormalization(center=False), layers.RMSNormalization(), layers.Dense(2, use_bias=False)),
    ]
    shown = summary(keras.Sequential(parts))
    assert "no word of PyTorch's" not in shown
    lines = [line.strip().split(": ", 1)[1] for line in shown.splitlines() if re.match(r" +\(\w+\): .*\)$", line)]
    assert len(lines) > len(parts) - 1, "some layers are two modules"
    names = {**vars(torch.nn), "same": "same", "inf": float("inf")}
    for line in lines:
        printed = repr(eval(line, names))
        older = re.sub(r", bias=\w+", "", printed)  # newer versions say of each norm whether it has a bias
        assert line in (printed, older)


def test_what_works_on_the_last_axis_of_an_image_is_said_to(keras_twin):
    import keras
    from keras import layers

    parts = [layers.LayerNormalization(name="norm"), layers.Dense(5, name="dense"), layers.Dense(2, name="again")]
    shown = summary(keras.Sequential([keras.Input((6, 6, 4)), *parts]))
    assert "(norm): LayerNorm((4,), eps=0.001, elementwise_affine=True)" in shown
    assert "- norm, dense, again: it works on the channels, which in PyTorch do not stand last" in shown


def test_an_attention_of_keras_is_written_as_pytorch_prints_its_own(keras_twin):
    import keras
    from keras import layers

    words = keras.Input((6, 8), name="words")
    model = keras.Model(words, layers.MultiHeadAttention(2, 4, name="attend")(words, words))
    graph = see(model, np.zeros((1, 6, 8), np.float32))
    assert torch_form(graph, load_part("tf", "summary").outline(model, graph), 120).splitlines()[1:4] == [
        "  (attend): MultiheadAttention(",
        "    (out_proj): NonDynamicallyQuantizableLinear(in_features=8, out_features=8, bias=True)",
        "  )",
    ]


# -- whichever form


def test_in_its_own_form_a_model_is_what_its_framework_prints(torch_net, keras_net):
    assert summary(torch_net, form="torch") == repr(torch_net)
    shown = summary(keras_net, form="keras", input_size=8)
    assert 'Model: "mine"' in shown
    assert number(shown, "Total") == keras_net.count_params(), "it was built first"


def test_a_summary_shows_itself(torch_net):
    shown = summary(torch_net, input_size=8)
    assert repr(shown) == str(shown)
    assert "&quot;Net&quot;" in shown._repr_html_()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"form": "jax"}, "form is 'jax'"), ({"input_size": -1}, "input_size is -1"), ({"width": 3}, "width is 3")],
    ids=str,
)
def test_what_cannot_be_is_refused_in_words(torch_net, options, words):
    with pytest.raises(InputError, match=words):
        summary(torch_net, **options)


def test_what_is_no_model_is_refused_in_words():
    with pytest.raises(InputError, match="no PyTorch or Keras model but 'str'"):
        summary("resnet18")


# -- the command


def test_the_command_shows_a_model_in_the_other_frameworks_form(call, torch_twin, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    shown = call("summary", "mine.py:net", "--input-size", "8", COLUMNS="70")
    assert shown.returncode == 0, shown.stderr
    assert "(None, 4, 6, 6)" in shown.stdout
    assert call("summary", "mine.py:net", "--form", "torch").stdout.startswith("Sequential(\n  (0): Conv2d(")
    assert call("summary", "resnet8_digits", "-o", "out.txt").returncode == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").startswith('Model: "ResNet"\n┏')
    assert call("summary", "mine.py:nett").returncode == 2
