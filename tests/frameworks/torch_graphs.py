"""What the tests of PyTorch's graphs share."""

from __future__ import annotations

import numpy as np
import pytest

from shared.networks.graph import KINDS, ROLES

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from resnet_torch.graph import read_graph, run_node  # noqa: E402


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape or (2, 3, 8, 8)).astype(np.float32)


def lively(model):
    """The model with weights and statistics that are all different from 0 and 1, in training mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(
                    noise + 0.5 if tensor.ndim < 2 or "var" in name else (noise - 0.5) / tensor[0].numel() ** 0.5
                )
    return model.train()


def replay(graph, *inputs, dtype="float32"):
    """Run all nodes one after another, each on what the others put out; return the outputs."""
    values, given = [], iter(inputs)
    for number, node in enumerate(graph.nodes):
        fed = [next(given)] if node.kind == "input" else [values[each] for each in node.inputs]
        values.append(run_node(graph, number, fed, dtype))
        assert values[-1].shape == node.shape, f"{node.name} says {node.shape}"
    return {name: values[number] for name, number in graph.outputs.items()}


def look(model):
    """All that may not change: modes, attributes, hooks, and the bits of weights and buffers."""
    modules = {
        name: (module.training, sorted(vars(module)), *(list(each) for each in _tables(module)))
        for name, module in model.named_modules()
    }
    state = {name: (id(tensor), tensor.detach().clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    return modules, state, {name: each.grad for name, each in model.named_parameters()}


def _tables(module):
    return [each for each in vars(module).values() if isinstance(each, dict)]


def assert_same(before, after):
    assert before[0] == after[0], "a mode, an attribute or a hook changed"
    assert before[2] == after[2], "a gradient appeared"
    for (name, (one, old)), (_, (other, new)) in zip(before[1].items(), after[1].items(), strict=True):
        assert one == other, f"{name} is another tensor now"
        assert torch.equal(old, new), f"{name} changed"


def seen(model, *inputs):
    """Read the model, hold everything that is promised of any graph, and return it."""
    model = lively(model)
    before = look(model)
    graph = read_graph(model, *inputs)
    assert_same(before, look(model))
    for node in graph.nodes:
        assert node.kind == "other" or set(node.settings) == set(KINDS[node.kind]), node
        assert node.kind == "other" or set(node.weights) <= set(ROLES.get(node.kind, ())), node
        assert all(each < graph.nodes.index(node) for each in node.inputs), node
        assert {weight.key for weight in node.weights.values()} <= set(model.state_dict()), node
    assert len({node.name for node in graph.nodes}) == len(graph.nodes), "two nodes have the same name"
    want = outputs(model, *inputs)
    found = replay(graph, *inputs)
    assert list(found) == list(want)
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-5, err_msg=name)
    return graph


def outputs(model, *inputs):
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        found = model.eval()(*map(torch.as_tensor, inputs))
    for module, mode in modes.items():
        module.training = mode
    if isinstance(found, torch.Tensor):
        return {"": found.numpy()}
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return {str(name): each.numpy() for name, each in pairs}


def kinds(graph):
    return [node.kind for node in graph.nodes]


def by_name(graph):
    return {node.name: node for node in graph.nodes}


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        out += x
        return self.relu(out)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return F.softmax(self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)), dim=-1)


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.stem = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        gate = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(gate)))), x.mean(1), x.amax((2, 3))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        skip = F.relu(self.down(x))
        x = self.up(F.relu(self.middle(F.max_pool2d(skip, 2))))
        x = F.pad(x, [0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]])
        return self.last(torch.cat([skip, x], dim=1))[:, :, 1:-1, 2:]


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.places = nn.Parameter(torch.zeros(1, 5, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 6), nn.Embedding(7, 6)
        self.norm = nn.RMSNorm(6)
        self.matrix = nn.Parameter(torch.zeros(6, 4))
        self.memory = nn.LSTM(4, 3, batch_first=True)

    def forward(self, tokens):
        x = self.words(tokens) * 3.0 + self.places(torch.arange(tokens.shape[1]))
        x = self.norm(x) @ self.matrix
        return 1 - self.memory(x)[0], F.linear(x, self.matrix)
