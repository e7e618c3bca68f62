"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="torch_block"
import numpy as np
import torch
from torch.nn import functional as F

from shared.classroom.exam import exam

#: Kernel sizes of a block, and which convolution has the stride.
PLANS = {"basic": ([3, 3], 0), "bottleneck": ([1, 3, 1], 1)}


def array_shapes(kind, in_channels, channels, stride):
    """Names and shapes of all arrays, as PyTorch has them."""
    kernels, _ = PLANS[kind]
    wide = channels if kind == "basic" else 4 * channels
    ends = [channels] * (len(kernels) - 1) + [wide]
    convs, inside = {}, in_channels
    for number, (kernel, end) in enumerate(zip(kernels, ends, strict=True), start=1):
        convs[f"conv{number}", f"bn{number}"] = (end, inside, kernel, kernel)
        inside = end
    if stride != 1 or in_channels != wide:
        convs["downsample.0", "downsample.1"] = (wide, in_channels, 1, 1)
    shapes = {}
    for (conv, norm), shape in convs.items():
        shapes[f"{conv}.weight"] = shape
        for array in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{array}"] = shape[:1]
    return shapes


def lively(shapes):
    """Random arrays: no BatchNorm is near the one that a new layer has, and variances are small."""
    arrays = {}
    for name, shape in shapes.items():
        draw = exam.rng.normal(size=shape)
        if len(shape) == 4:
            draw *= 0.3 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith(".weight"):
            draw = exam.rng.uniform(0.5, 1.5, size=shape)
        elif name.endswith(".running_var"):
            draw = exam.rng.uniform(0.02, 0.2, size=shape)
        else:
            draw *= 0.3
        arrays[name] = draw.astype("float32")
    return arrays


def reference(kind, stride, arrays, x, weights, training):
    """The block in float64: output, gradients of sum(output * weights), state; how near 0 a ReLU is."""
    kernels, strided = PLANS[kind]
    state = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
    learned = {n: t.requires_grad_() for n, t in state.items() if ".running_" not in n}
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    near = []

    def norm(y, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        gamma, beta = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.batch_norm(y, mean, var, gamma, beta, training, 0.1, 1e-5)

    def relu(y):
        near.append(float(y.detach().abs().min()))
        return torch.relu(y)

    y = x
    for index, kernel in enumerate(kernels):
        y = relu(y) if index else y
        step = stride if index == strided else 1
        y = F.conv2d(y, state[f"conv{index + 1}.weight"], stride=step, padding=kernel // 2)
        y = norm(y, f"bn{index + 1}")
    short = x
    if "downsample.0.weight" in state:
        short = norm(F.conv2d(x, state["downsample.0.weight"], stride=stride), "downsample.1")
    out = relu(y + short)
    (out * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    return {
        "out": out.detach().numpy(),
        "dx": x.grad.numpy(),
        "gradients": {name: tensor.grad.numpy() for name, tensor in learned.items()},
        "state": {name: tensor.detach().numpy() for name, tensor in state.items()},
        "near": min(near),
    }


def draw_case(kind, case, size):
    """Random weights and pictures for which no ReLU sits so near 0 that rounding would turn it."""
    in_channels, channels, stride = case
    wide, outside = channels * (1 if kind == "basic" else 4), -(-size // stride)
    while True:
        arrays = lively(array_shapes(kind, *case))
        x = exam.rng.normal(size=(3, in_channels, size, size)).astype("float32")
        weights = exam.rng.normal(size=(3, wide, outside, outside)).astype("float32")
        modes = {
            training: reference(kind, stride, arrays, x, weights, training)
            for training in (False, True)
        }
        if min(mode["near"] for mode in modes.values()) > 2e-5:
            return arrays, x, weights, modes


def same_gradients(answer, expected, what):
    """Gradients may be off by little, measured by the largest one of the same array."""
    exam.require(isinstance(answer, dict) and answer.keys() == expected.keys(), f"{what}: names")
    for name, array in expected.items():
        limit = 2e-4 * float(np.abs(array).max()) + 1e-6
        exam.close(answer[name], array, f"{what}, {name}", rtol=1e-3, atol=limit)


def channels_of(low=3, high=7):
    """Two numbers of channels that differ."""
    one, other = exam.rng.choice(np.arange(low, high), size=2, replace=False).tolist()
    return one, other


@exam.question
def torch_arrays(student, block, case):
    state = getattr(student, block)(*case).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def torch_shape(student, block, case, x):
    import torch

    with torch.no_grad():
        return list(getattr(student, block)(*case)(torch.from_numpy(x)).shape)


@exam.question
def torch_forward(student, block, case, arrays, x, training):
    import torch

    made = getattr(student, block)(*case)
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = torch.from_numpy(x)
    with torch.no_grad():
        out = made.train(training)(x)
    state = {n: v for n, v in made.state_dict().items() if "num_batches_tracked" not in n}
    return {"out": out, "x": x, "state": state}


@exam.question
def torch_gradients(student, block, case, arrays, x, weights, training):
    import torch

    made = getattr(student, block)(*case)
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = torch.from_numpy(x).requires_grad_()
    out = made.train(training)(x)
    (out * torch.from_numpy(weights)).sum().backward()
    return {"dx": x.grad, "gradients": {name: p.grad for name, p in made.named_parameters()}}


def check_torch(block, kind, cases, sizes):
    """Compares outputs in evaluation mode."""
    for case in cases:
        for size in sizes:
            arrays, x, _, modes = draw_case(kind, case, size)
            answer = torch_forward(block=block, case=case, arrays=arrays, x=x, training=False)
            what = f"{block}{tuple(case)} on {size} pixels"
            exam.close(answer["out"], modes[False]["out"], what, rtol=1e-4, atol=1e-4)


with exam.part(1, "the shape of the output"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        for size in (8, 9):
            x = exam.rng.normal(size=(2, one, size, size)).astype("float32")
            shape = torch_shape(block="BasicBlockTorch", case=case, x=x)
            wanted = [2, case[1], -(-size // case[2]), -(-size // case[2])]
            exam.equal(shape, wanted, f"shape of BasicBlockTorch{case} on {size} pixels")
with exam.part(1, "names and shapes of the arrays"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        wanted = {name: list(shape) for name, shape in array_shapes("basic", *case).items()}
        answer = torch_arrays(block="BasicBlockTorch", case=case)
        exam.equal(answer, wanted, f"arrays of BasicBlockTorch{case}")
with exam.part(1, "output in evaluation mode where the shortcut is the input"):
    one, other = channels_of()
    check_torch("BasicBlockTorch", "basic", [(one, one, 1), (other, other, 1)], [7, 8])
with exam.part(1, "output in evaluation mode with a projection"):
    one, other = channels_of()
    check_torch(
        "BasicBlockTorch", "basic", [(one, other, 1), (one, other, 2), (one, one, 2)], [7, 8]
    )
with exam.part(1, "training mode: output, running statistics, the input is left as it was"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        arrays, x, _, modes = draw_case("basic", case, 7)
        answer = torch_forward(
            block="BasicBlockTorch", case=case, arrays=arrays, x=x, training=True
        )
        what = f"BasicBlockTorch{case} in training mode"
        exam.equal(answer["x"], x, f"{what}: the input afterwards")
        exam.close(answer["out"], modes[True]["out"], what, rtol=1e-4, atol=1e-4)
        exam.close(answer["state"], modes[True]["state"], what, rtol=1e-4, atol=1e-5)
with exam.part(1, "gradients of the input and of all parameters, in both modes"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        arrays, x, weights, modes = draw_case("basic", case, 7)
        for training, wanted in modes.items():
            answer = torch_gradients(
                block="BasicBlockTorch",
                case=case,
                arrays=arrays,
                x=x,
                weights=weights,
                training=training,
            )
            what = f"gradients of BasicBlockTorch{case}, training={training}"
            same_gradients({"x": answer["dx"]}, {"x": wanted["dx"]}, what)
            same_gradients(answer["gradients"], wanted["gradients"], what)
exam.score()


# %% test="keras_block"
def keras_name(name):
    """What Keras calls an array of PyTorch's."""
    layer, kind = name.rsplit(".", 1)
    if layer.rsplit(".", 1)[-1].startswith("conv") or layer.endswith("downsample.0"):
        return f"{layer}/kernel"
    names = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return f"{layer}/{names[kind]}"


def in_keras(arrays, prefix):
    """The same arrays with the names and the axes that they have in Keras."""
    return {
        keras_name(f"{prefix}.{name}"): array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        for name, array in arrays.items()
    }


def last(x):
    """(N, C, H, W) -> (N, H, W, C)"""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@exam.question
def keras_arrays(student, block, cases, size):
    import keras

    inputs = x = keras.Input((size, size, cases[0][1][0]))
    for name, case in cases:
        x = getattr(student, block)(*case, name=name)(x)
    model = keras.Model(inputs, x)
    return {variable.path: list(variable.shape) for variable in model.variables}


@exam.question
def keras_shape(student, block, case, size):
    import keras

    inputs = keras.Input((size, size, case[0]))
    out = getattr(student, block)(*case, name="layer1.0")(inputs)
    return list(keras.Model(inputs, out).output.shape)


@exam.question
def keras_run(student, block, case, name, arrays, x, weights, training):
    import keras
    import tensorflow as tf

    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, getattr(student, block)(*case, name=name)(inputs))
    for variable in model.variables:
        variable.assign(arrays[variable.path])
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = model(x, training=training)
        total = tf.reduce_sum(out * weights)
    dx, *gradients = tape.gradient(total, [x, *model.trainable_variables])
    return {
        "out": out,
        "dx": dx,
        "gradients": {v.path: g for v, g in zip(model.trainable_variables, gradients, strict=True)},
        "state": {v.path: v.numpy() for v in model.variables},
    }


def check_keras(block, kind, cases, sizes, prefix):
    """Compares outputs in evaluation mode."""
    for case in cases:
        for size in sizes:
            arrays, x, weights, modes = draw_case(kind, case, size)
            answer = keras_run(
                block=block,
                case=case,
                name=prefix,
                arrays=in_keras(arrays, prefix),
                x=last(x),
                weights=last(weights),
                training=False,
            )
            what = f"{block}{tuple(case)} on {size} pixels"
            exam.close(answer["out"], last(modes[False]["out"]), what, rtol=1e-4, atol=1e-4)


with exam.part(1, "the shape of the output"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        for size in (8, 9):
            shape = keras_shape(block="BasicBlockKeras", case=case, size=size)
            wanted = [None, -(-size // case[2]), -(-size // case[2]), case[1]]
            exam.equal(shape, wanted, f"shape of BasicBlockKeras{case} on {size} pixels")
with exam.part(1, "names and shapes of the arrays, with several blocks in one model"):
    one, other = channels_of()
    cases = [
        ("layer1.0", (one, one, 1)),
        ("layer2.0", (one, other, 2)),
        ("layer2.1", (other, other, 2)),
        ("layer3.0", (other, one, 1)),
    ]
    wanted = {}
    for name, case in cases:
        arrays = {n: np.zeros(shape) for n, shape in array_shapes("basic", *case).items()}
        wanted |= {n: list(array.shape) for n, array in in_keras(arrays, name).items()}
    answer = keras_arrays(block="BasicBlockKeras", cases=cases, size=16)
    exam.equal(answer, wanted, "arrays of four blocks in one model")
with exam.part(1, "output in evaluation mode where the shortcut is the input"):
    one, other = channels_of()
    check_keras("BasicBlockKeras", "basic", [(one, one, 1), (other, other, 1)], [7, 8], "layer1.1")
with exam.part(1, "output in evaluation mode with a projection, on even and on odd sizes"):
    one, other = channels_of()
    check_keras(
        "BasicBlockKeras",
        "basic",
        [(one, other, 1), (one, other, 2), (one, one, 2)],
        [7, 8],
        "layer3.0",
    )


def train_keras(case, training):
    """Answer and expected values on an odd number of pixels."""
    arrays, x, weights, modes = draw_case("basic", case, 7)
    answer = keras_run(
        block="BasicBlockKeras",
        case=case,
        name="layer2.0",
        arrays=in_keras(arrays, "layer2.0"),
        x=last(x),
        weights=last(weights),
        training=training,
    )
    return answer, modes[training]


with exam.part(1, "training mode: output and moving means"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        answer, wanted = train_keras(case, True)
        what = f"BasicBlockKeras{case} in training mode"
        exam.close(answer["out"], last(wanted["out"]), what, rtol=1e-4, atol=1e-4)
        for name, array in in_keras(wanted["state"], "layer2.0").items():
            if name.endswith("moving_mean"):
                mean = answer["state"].get(name)
                exam.close(mean, array, f"{what}, {name}", rtol=1e-4, atol=1e-5)
with exam.part(1, "gradients of the input and of all parameters, in both modes"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        for training in (False, True):
            answer, wanted = train_keras(case, training)
            what = f"gradients of BasicBlockKeras{case}, training={training}"
            same_gradients({"x": answer["dx"]}, {"x": last(wanted["dx"])}, what)
            gradients = in_keras(wanted["gradients"], "layer2.0")
            same_gradients(answer["gradients"], gradients, what)
exam.score()


# %% test="copy_weights"
@exam.question
def copied(student, blocks, name, arrays):
    """Layers with weights in a row, with the names of blocks; what the variables hold afterwards."""
    import keras
    import numpy as np

    inputs = keras.Input((6, 6, 3))
    outs = []
    for prefix, convs in blocks:
        x = inputs
        for conv, norm, kernel, channels in convs:
            conv = keras.layers.Conv2D(channels, kernel, use_bias=False, name=f"{prefix}.{conv}")
            norm = keras.layers.BatchNormalization(name=f"{prefix}.{norm}")
            x = keras.layers.ReLU()(norm(conv(x)))
        outs.append(x)
    model = keras.Model(inputs, outs)
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 7.0))
    try:
        student.copy_weights(arrays, model, name)
        error = "none"
    except ValueError:
        error = "ValueError"
    return {"error": error, "arrays": {v.path: v.numpy() for v in model.variables}}


def some_layers():
    """Names, kernels and channels of layers in a row, and random arrays with PyTorch's names."""
    convs, shapes, inside = [], {}, 3
    for conv, norm, kernel in [
        ("conv1", "bn1", 3),
        ("conv2", "bn2", 3),
        ("downsample.0", "downsample.1", 1),
    ]:
        channels = int(exam.rng.integers(2, 6))
        convs.append((conv, norm, kernel, channels))
        shapes[f"{conv}.weight"] = (channels, inside, kernel, kernel)
        for array in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{array}"] = (channels,)
        inside = channels
    return convs, lively(shapes)


def counters():
    """What else a state_dict holds."""
    return {f"{norm}.num_batches_tracked": np.array(3) for norm in ("bn1", "bn2", "downsample.1")}


def check_copy(ends, what):
    """Whether the variables whose names end so hold what they should."""
    for name in ("layer1.0", "layer4.2"):
        convs, arrays = some_layers()
        answer = copied(blocks=[(name, convs)], name=name, arrays=arrays | counters())
        exam.equal(answer["error"], "none", what)
        for path, array in in_keras(arrays, name).items():
            if path.endswith(ends):
                exam.close(answer["arrays"].get(path), array, path, rtol=0, atol=1e-7)


with exam.part(1, "the kernels"):
    check_copy(("/kernel",), "copying one block")
with exam.part(1, "the four arrays of each BatchNorm"):
    check_copy(("/gamma", "/beta", "/moving_mean", "/moving_variance"), "copying one block")
with exam.part(1, "only the block that is named"):
    for name, other in [("layer3.1", "layer3.12"), ("layer3.12", "layer3.1")]:
        convs, arrays = some_layers()
        answer = copied(blocks=[(name, convs), (other, convs)], name=name, arrays=arrays)
        exam.equal(answer["error"], "none", f"copying to {name} beside {other}")
        wanted = in_keras(arrays, name)
        for path, array in answer["arrays"].items():
            if path.startswith(f"{other}."):
                exam.require(bool((array == 7.0).all()), f"{path} was changed")
            elif path.endswith(("/gamma", "/beta")):
                exam.close(array, wanted[path], path, rtol=0, atol=1e-7)
with exam.part(1, "a ValueError for an array too much and for one that is missing, else none"):
    convs, arrays = some_layers()
    missing = str(exam.rng.choice(sorted(arrays)))
    for chosen, wanted in [
        (arrays, "none"),
        (arrays | counters(), "none"),
        ({n: a for n, a in arrays.items() if n != missing}, "ValueError"),
        (arrays | {"conv3.weight": arrays["conv2.weight"]}, "ValueError"),
        (arrays | {"bn3.running_var": arrays["bn2.running_var"]}, "ValueError"),
    ]:
        answer = copied(blocks=[("layer2.0", convs)], name="layer2.0", arrays=chosen)
        exam.equal(answer["error"], wanted, f"copying {sorted(chosen)}")


@exam.question
def both(student, torch_block, keras_block, case, name, arrays, x):
    """Outputs of the two blocks; the Keras one gets its weights from the PyTorch one."""
    import keras
    import numpy as np
    import torch

    block = getattr(student, torch_block)(*case)
    block.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    inputs = keras.Input((*x.shape[2:], x.shape[1]))
    model = keras.Model(inputs, getattr(student, keras_block)(*case, name=name)(inputs))
    state = {key: value.numpy().copy() for key, value in block.state_dict().items()}
    student.copy_weights(state, model, name)
    with torch.no_grad():
        one = block.eval()(torch.from_numpy(x.copy())).numpy()
    other = np.asarray(model(x.transpose(0, 2, 3, 1).copy(), training=False))
    return {"torch": one, "keras": other.transpose(0, 3, 1, 2)}


def check_both(torch_block, keras_block, kind, cases):
    """Both must be equal, and equal to what they should be."""
    for case in cases:
        arrays, x, _, modes = draw_case(kind, case, 7)
        answer = both(
            torch_block=torch_block,
            keras_block=keras_block,
            case=case,
            name="layer2.3",
            arrays=arrays,
            x=x,
        )
        what = f"{torch_block} and {keras_block}{tuple(case)}"
        exam.close(answer["torch"], modes[False]["out"], what, rtol=1e-4, atol=1e-4)
        exam.close(answer["keras"], answer["torch"], what, rtol=1e-5, atol=1e-5)


with exam.part(1, "your two basic blocks give equal outputs"):
    one, other = channels_of()
    check_both("BasicBlockTorch", "BasicBlockKeras", "basic", [(one, one, 1), (one, other, 2)])
exam.score()


# %% test="torch_bottleneck"
with exam.part(1, "names and shapes of the arrays"):
    for _ in range(2):
        one, other = channels_of(2, 6)
        for case in [(4 * one, one, 1), (4 * one, one, 2), (other, one, 1), (4 * one, other, 2)]:
            wanted = {n: list(shape) for n, shape in array_shapes("bottleneck", *case).items()}
            answer = torch_arrays(block="BottleneckTorch", case=case)
            exam.equal(answer, wanted, f"arrays of BottleneckTorch{case}")
with exam.part(1, "output with stride 1, with and without projection"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 1), (other, one, 1), (one, one, 1)]
    check_torch("BottleneckTorch", "bottleneck", cases, [7, 8])
with exam.part(1, "output with stride 2"):
    one, other = channels_of(2, 5)
    check_torch("BottleneckTorch", "bottleneck", [(4 * one, one, 2), (one, other, 2)], [7, 8])
exam.score()


# %% test="keras_bottleneck"
with exam.part(1, "names and shapes of the arrays, with several blocks in one model"):
    one, other = channels_of(2, 5)
    cases = [
        ("layer1.0", (other, one, 1)),
        ("layer1.1", (4 * one, one, 1)),
        ("layer2.0", (4 * one, other, 2)),
        ("layer2.1", (4 * other, other, 2)),
    ]
    wanted = {}
    for name, case in cases:
        arrays = {n: np.zeros(shape) for n, shape in array_shapes("bottleneck", *case).items()}
        wanted |= {n: list(array.shape) for n, array in in_keras(arrays, name).items()}
    answer = keras_arrays(block="BottleneckKeras", cases=cases, size=16)
    exam.equal(answer, wanted, "arrays of four blocks in one model")
with exam.part(1, "output with stride 1, with and without projection"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 1), (other, one, 1)]
    check_keras("BottleneckKeras", "bottleneck", cases, [7, 8], "layer1.1")
with exam.part(1, "output with stride 2, on even and on odd sizes"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 2), (one, other, 2)]
    check_keras("BottleneckKeras", "bottleneck", cases, [7, 8], "layer2.0")
with exam.part(1, "your two bottlenecks give equal outputs"):
    one, other = channels_of(2, 5)
    check_both(
        "BottleneckTorch", "BottleneckKeras", "bottleneck", [(4 * one, one, 1), (other, one, 1)]
    )
exam.score()
