"""Models that PyTorch's export refuses, weights that go in and out, and known networks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from resnet_torch.graph import get_arrays, read_graph, run_node, set_arrays  # noqa: E402
from tests.frameworks.torch_graphs import (  # noqa: E402
    Block,
    Functional,
    SqueezeExcite,
    UNet,
    VisionTransformer,
    Words,
    assert_same,
    by_name,
    images,
    kinds,
    lively,
    look,
    outputs,
    replay,
    seen,
)


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(4)
        self.stem = nn.Conv2d(3, 4, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = self.stem(x)
        x = self.block(x) if x.mean() < 1e9 else x * 2
        y = x.flatten(2).transpose(1, 2)
        y, _ = self.attention(y, y, y)
        y[:, 0] = 0.5
        a, b = y.chunk(2, 1)
        return F.batch_norm(torch.cat([a, b], 1).mean(1), self.block.bn1.running_mean, self.block.bn1.running_var)


def test_a_branch_that_hangs_on_values_is_recorded():
    graph = seen(Branch(), images())
    (note,) = graph.notes
    assert note.startswith("torch.export refused (")
    assert "data-dependent expression" in note
    assert "\n" not in note
    names = [node.name for node in graph.nodes][:8]
    assert names == ["x", "stem", "block.conv1", "block.bn1", "block.relu", "block.conv2", "block.add", "block.relu_1"]
    nodes = by_name(graph)
    assert nodes["block.bn1"].source == "BatchNorm2d"
    assert nodes["attention.out_proj"].weights["weight"].shape == (4, 4)
    assert kinds(graph)[-1] == "batch_norm"


class Item(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(x) / max(x.abs().max().item(), 1.0)


def test_a_number_that_is_taken_out_of_a_tensor_is_recorded():
    graph = seen(Item(), images(3, 8))
    assert kinds(graph) == ["input", "dense", "divide"]
    assert graph.notes[1] == "item: what is made of these numbers is held as it was"


class Masked(nn.Module):
    def forward(self, x):
        mask = x > 0
        chosen = x[mask]
        return x if len(chosen) > 99999 else torch.zeros_like(x).masked_scatter(mask, chosen * 2)


def test_sizes_that_hang_on_values_are_recorded():
    graph = seen(Masked(), images())
    assert [node.source for node in graph.nodes if node.kind == "other"] == [
        "aten.gt.Scalar",
        "getitem",
        "aten.masked_scatter.default",
    ]


class ThroughNumPy(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 4)

    def forward(self, x):
        return torch.from_numpy(np.sort(self.fc(x).detach().numpy(), axis=1))


def test_a_module_that_computes_in_numpy_is_one_node():
    graph = seen(nn.Sequential(nn.ReLU(), ThroughNumPy(), nn.ReLU()), images(3, 8))
    assert kinds(graph) == ["input", "relu", "other", "relu"]
    assert (graph.nodes[2].name, graph.nodes[2].source) == ("1", "ThroughNumPy")
    assert graph.nodes[2].weights["fc.weight"].key == "1.fc.weight"
    assert replay(graph, images(3, 8), dtype="float64")[""].dtype == np.float64


@pytest.mark.parametrize("model", [Functional, SqueezeExcite, UNet, VisionTransformer])
def test_a_recorded_graph_is_that_of_export(model, monkeypatch):
    def refuse(*_):
        raise RuntimeError("no export today")

    exported = seen(model(), images())
    monkeypatch.setattr("resnet_torch.graph_capture._export", refuse)
    recorded = seen(model(), images())
    assert recorded.notes == (
        "torch.export refused (no export today): one run was recorded, and holds for inputs that take the same way",
    )
    assert [(node.name, node.kind, node.shape) for node in recorded.nodes] == [
        (node.name, node.kind, node.shape) for node in exported.nodes
    ]
    assert [(node.settings, node.weights) for node in recorded.nodes] == [
        (node.settings, node.weights) for node in exported.nodes
    ]


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def test_a_compiled_part_is_one_node():
    graph = seen(nn.Sequential(nn.Linear(8, 4), scripted(nn.Softmax(1)), ThroughNumPy(4)), images(3, 8))
    assert kinds(graph)[:2] == ["input", "dense"]
    assert len(graph.nodes) == 4


def test_what_export_refuses_is_not_printed(capfd):
    read_graph(Branch(), images())
    assert capfd.readouterr() == ("", "")


def test_a_model_that_cannot_run_says_where_and_why_in_one_line():
    model = lively(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(7, 3))))
    before = look(model)
    with pytest.raises(
        InputError, match=r"Sequential cannot run on inputs of shape \(2, 3, 8, 8\): in 1.0 \(Linear\): mat1"
    ) as caught:
        read_graph(model, images())
    assert "\n" not in str(caught.value)
    assert_same(before, look(model))


def test_a_model_whose_numbers_leave_pytorch_says_so():
    with pytest.raises(InputError, match=r"ThroughNumPy cannot be seen, no output comes from an input: numpy takes"):
        read_graph(ThroughNumPy(), images(3, 8))


def test_lazy_layers_and_texts_and_other_objects_are_refused():
    with pytest.raises(InputError, match=r"0.weight has no shape yet: run the model once on data"):
        read_graph(nn.Sequential(nn.LazyLinear(3)), images(3, 8))
    with pytest.raises(InputError, match=r"input 0 holds str\d* values; allowed are real numbers"):
        read_graph(nn.Linear(8, 3), np.array(["a"]))
    with pytest.raises(InputError, match=r"a model that torch.jit compiled cannot be seen"):
        read_graph(scripted(nn.Linear(8, 3)), images(3, 8))
    with pytest.raises(InputError, match="this is no PyTorch model"):
        read_graph(len, images())


class Remembers(nn.Module):
    """Counts its runs in a buffer, keeps what it saw, and branches on a value."""

    def __init__(self, broken):
        super().__init__()
        self.fc = nn.Linear(8, 2)
        self.register_buffer("runs", torch.zeros(()))
        self.last, self.all, self.broken = None, [], broken

    def forward(self, x):
        self.runs += 1
        self.last = self.fc(x) if x.sum() < 1e9 else x
        self.all.append(self.last)
        if self.broken:
            raise RuntimeError("broken\x1b[31m on\npurpose")
        return F.relu(self.last)


@pytest.mark.parametrize("broken", [False, True])
def test_a_model_that_changes_itself_is_as_it_was(broken):
    model = lively(Remembers(broken))
    model.fc.eval()
    model.fc.weight.requires_grad_(False)
    calls = []
    handle = model.fc.register_forward_hook(lambda *_: calls.append(1))
    before = look(model)
    if broken:
        with pytest.raises(InputError, match=r"Remembers cannot run on inputs of shape \(3, 8\): broken\\x1b\[31m on"):
            read_graph(model, images(3, 8))
    else:
        assert by_name(read_graph(model, images(3, 8)))["fc"].weights["weight"].trained is False
    assert_same(before, look(model))
    assert (model.last, model.all) == (None, [])
    handle.remove()
    assert len(model.fc._forward_hooks) == 0


def test_weights_are_read_and_set_in_the_live_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    graph = read_graph(model, images())
    arrays = get_arrays(graph, 2)
    assert set(arrays) == {"weight", "bias", "running_mean", "running_var"}
    set_arrays(graph, 2, {"weight": arrays["weight"] + 1, "running_var": np.full(4, 9.0)})
    assert model[1].weight.tolist() == [2.0] * 4
    assert model[1].running_var.tolist() == [9.0] * 4
    arrays["weight"][:] = 7
    assert model[1].weight.tolist() == [2.0] * 4, "arrays are copies"
    np.testing.assert_allclose(replay(graph, images())[""], outputs(model, images())[""], atol=1e-6)


def test_the_weight_of_a_product_is_set_the_other_way_round():
    model = lively(Words())
    graph = read_graph(model, np.array([[1, 2, 3]]))
    number = next(number for number, node in enumerate(graph.nodes) if node.name == "dense")
    wanted = np.arange(24, dtype=np.float32).reshape(4, 6)
    set_arrays(graph, number, {"weight": wanted})
    assert np.array_equal(model.matrix.detach().numpy(), wanted.T)
    assert np.array_equal(get_arrays(graph, number)["weight"], wanted)


def test_weights_that_do_not_fit_change_nothing():
    model = nn.Sequential(nn.Linear(8, 2))
    graph = read_graph(model, images(3, 8))
    before = model[0].bias.tolist()
    with pytest.raises(
        WeightsError, match=r"the weight of 0 is of shape \(2, 8\); given was float64 of shape \(8, 2\)"
    ):
        set_arrays(graph, 1, {"bias": np.zeros(2), "weight": np.zeros((8, 2))})
    with pytest.raises(WeightsError, match=r"0 has no weight 'gamma'; it has weight, bias"):
        set_arrays(graph, 1, {"bias": np.zeros(2), "gamma": np.zeros(2)})
    assert model[0].bias.tolist() == before


def test_nodes_run_in_double_precision_with_the_same_weights():
    graph = read_graph(lively(Functional()), images())
    exact = replay(graph, images().astype(np.float64), dtype="float64")[""]
    assert exact.dtype == np.float64
    assert 0 < np.abs(exact - replay(graph, images())[""]).max() < 1e-6
    with pytest.raises(InputError, match="x takes 1 inputs; 0 were given"):
        run_node(graph, 0, [])
    with pytest.raises(InputError, match=r"stem cannot run on inputs of shape \(2, 4, 8, 8\): Given groups=1"):
        run_node(graph, 1, [images(2, 4, 8, 8)])


def test_an_exported_program_is_read():
    model = lively(Functional()).eval()
    program = torch.export.export(model, (torch.as_tensor(images()),))
    graph = read_graph(program)
    assert graph.title == "ExportedProgram"
    assert [node.name for node in graph.nodes] == [node.name for node in read_graph(model, images()).nodes]
    np.testing.assert_allclose(replay(graph, images())[""], outputs(model, images())[""], atol=1e-6)
    loose = torch.export.export(
        model, (torch.as_tensor(images()),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},)
    )
    with pytest.raises(InputError, match=r"this exported program cannot be seen: a size in .* was left open"):
        read_graph(loose)


def test_a_model_in_another_precision_is_read_and_run_in_the_one_that_is_asked_for():
    for dtype in (torch.float64, torch.bfloat16):
        model = lively(Functional()).to(dtype)
        graph = read_graph(model, images())
        assert get_arrays(graph, 1)["weight"].dtype == (np.float64 if dtype == torch.float64 else np.float32)
        np.testing.assert_allclose(replay(graph, images())[""], outputs(model.float(), images())[""], atol=1e-6)


def test_weights_that_are_changed_later_are_those_that_a_node_runs_with():
    model = lively(Functional())
    graph = read_graph(model, images())
    model.load_state_dict({name: tensor / 2 for name, tensor in model.state_dict().items()})
    np.testing.assert_allclose(replay(graph, images())[""], outputs(model, images())[""], atol=1e-6)


@pytest.mark.parametrize("name", ["resnet8_digits", "resnet20_cifar", "preact_resnet18"])
def test_networks_of_the_catalog(torch_twin, name):
    from shared.networks.catalog import SPECS
    from shared.networks.table import count_buffers, count_parameters

    spec = SPECS[name]
    graph = seen(torch_twin.create_model(name), images(2, spec.in_channels, *[max(32, spec.min_input_size)] * 2))
    assert sum(node.parameters for node in graph.nodes) == count_parameters(spec)
    assert sum(node.buffers for node in graph.nodes) == count_buffers(spec)
    assert "layer1.0.add" in by_name(graph)
    assert "other" not in kinds(graph)


@pytest.mark.parametrize(
    ("name", "size", "nodes"),
    [
        ("resnet18", 64, 70),
        *[
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                ("mobilenet_v2", 64, 154),
                ("densenet121", 64, 432),
                ("vgg11", 224, 31),
                ("efficientnet_b0", 64, 240),
                ("convnext_tiny", 64, 203),
                ("vit_b_16", 224, 421),
                ("swin_t", 64, 523),
                ("inception_v3", 96, 315),
            )
        ],
    ],
)
def test_networks_of_torchvision(name, size, nodes):
    try:
        from torchvision import models
    except Exception as error:  # not installed, or made for another PyTorch
        pytest.skip(f"torchvision cannot be loaded: {error}")
    extra = {"init_weights": False} if name == "inception_v3" else {}
    model = models.get_model(name, **extra)
    graph = seen(model, images(2, 3, size, size))
    assert len(graph.nodes) == nodes
    keys = {weight.key for node in graph.nodes for weight in node.weights.values()}
    unused = ("num_batches_tracked", "AuxLogits.")  # the latter only in training
    assert keys == {key for key in model.state_dict() if not any(part in key for part in unused)}
