"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="read_checkpoint"
import io
import os
import pickle
import re

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from shared.classroom.exam import exam


def layer_shapes(depths, widths, in_channels, num_classes):
    """(layer, shape of its kernel or None for a BatchNorm, channels), in PyTorch's order."""
    rows = [("conv1", (widths[0], in_channels, 3, 3)), ("bn1", widths[0])]
    channels = widths[0]
    for stage, (depth, width) in enumerate(zip(depths, widths), start=1):
        for block in range(depth):
            at = f"layer{stage}.{block}"
            rows += [(f"{at}.conv1", (width, channels, 3, 3)), (f"{at}.bn1", width)]
            rows += [(f"{at}.conv2", (width, width, 3, 3)), (f"{at}.bn2", width)]
            if block == 0 and (stage > 1 or channels != width):
                rows.append((f"{at}.downsample.0", (width, channels, 1, 1)))
                rows.append((f"{at}.downsample.1", width))
            channels = width
    return [*rows, ("fc", (num_classes, channels))]


def random_arrays(network):
    """Lively arrays for a network: PyTorch's name -> array."""
    rng, made = exam.rng, {}
    for layer, shape in layer_shapes(**network):
        if isinstance(shape, tuple):
            spread = np.prod(shape[1:]) ** -0.5
            made[f"{layer}.weight"] = rng.normal(0, spread, shape)
            if layer == "fc":
                made[f"{layer}.bias"] = rng.normal(0, 0.3, shape[0])
        else:
            made[f"{layer}.weight"] = rng.uniform(0.5, 1.5, shape)
            made[f"{layer}.bias"] = rng.normal(0, 0.3, shape)
            made[f"{layer}.running_mean"] = rng.normal(0, 0.3, shape)
            made[f"{layer}.running_var"] = rng.uniform(0.5, 2, shape)
    return {name: array.astype("float32") for name, array in made.items()}


def random_network():
    """A small network; no two of its numbers of channels and classes are equal."""
    sizes = [int(n) for n in exam.rng.permutation(np.arange(3, 11))[:5]]
    depths = [int(n) for n in exam.rng.integers(1, 4, size=3)]
    return {
        "depths": depths,
        "widths": sizes[:3],
        "in_channels": sizes[3],
        "num_classes": sizes[4],
    }


def shuffled(arrays):
    """The same arrays in another order."""
    names = list(arrays)
    return {names[i]: arrays[names[i]] for i in exam.rng.permutation(len(names))}


def random_images(network, size=(10, 7), count=3):
    """Pictures that are not square."""
    shape = (count, network["in_channels"], *size)
    return exam.rng.normal(size=shape).astype("float32")


def expected_logits(arrays, pictures):
    """What the network must give, computed from the arrays with PyTorch's functions."""
    t = {name: torch.from_numpy(array.astype("float64")) for name, array in arrays.items()}

    def conv(x, name, stride):
        kernel = t[f"{name}.weight"]
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(x, name):
        four = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(t[f"{name}.{kind}"] for kind in four), eps=1e-5)

    x = torch.relu(norm(conv(torch.from_numpy(pictures).double(), "conv1", 1), "bn1"))
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in t:
            at = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = torch.relu(norm(conv(x, f"{at}.conv1", stride), f"{at}.bn1"))
            out = norm(conv(out, f"{at}.conv2", 1), f"{at}.bn2")
            if f"{at}.downsample.0.weight" in t:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = torch.relu(out + x)
            block += 1
    x = functional.linear(x.mean((2, 3)), t["fc.weight"], t["fc.bias"])
    return x.numpy().astype("float32")


def keras_values(arrays):
    """Path of a Keras variable -> the array that belongs there."""
    values = {}
    for name, array in arrays.items():
        layer, kind = name.rsplit(".", 1)
        if array.ndim == 4:
            values[f"{layer}/kernel"] = np.einsum("oihw->hwio", array)
        elif array.ndim == 2:
            values[f"{layer}/kernel"] = array.T
        elif layer == "fc":
            values["fc/bias"] = array
        else:
            path = {
                "weight": "gamma",
                "bias": "beta",
                "running_mean": "moving_mean",
                "running_var": "moving_variance",
            }[kind]
            values[f"{layer}/{path}"] = array
    return {path: np.ascontiguousarray(value) for path, value in values.items()}


def near(answer, expected, what):
    """Logits: equal to 1e-5, or to 1e-5 of the largest where they are larger than 1."""
    scale = max(1.0, float(np.abs(expected).max()))
    exam.close(answer, expected, what, rtol=0, atol=1e-5 * scale)


def saved(content, **options):
    """A checkpoint file as an array of bytes."""
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return np.frombuffer(stream.getvalue(), dtype=np.uint8)


@exam.question
def read(student, file):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "checkpoint.pth"
    path.write_bytes(file.tobytes())
    arrays = student.read_checkpoint(path)
    return dict(arrays), sorted({type(array).__name__ for array in arrays.values()})


@exam.question
def read_error(student, file, marks):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "checkpoint.pth"
    path.write_bytes(file.tobytes())
    error = ""
    try:
        student.read_checkpoint(path)
    except Exception as raised:
        error = type(raised).__name__
    return error, [mark for mark in marks if Path(mark).exists()]


def reads(content, expected, what, **options):
    """The checkpoint must be read as these arrays."""
    arrays, kinds = read(file=saved(content, **options))
    exam.equal(arrays, expected, what)
    exam.equal(kinds, ["ndarray"] if expected else [], f"{what}, the types of its values")


def wrapped(arrays, choices):
    """Tensors with counters, each name with one of the prefixes; all of them occur."""
    tensors = {}
    for number, (name, array) in enumerate(arrays.items()):
        prefix = choices[number % len(choices)]
        tensors[prefix + name] = torch.from_numpy(array)
        if name.endswith("running_var"):
            counter = prefix + name.replace("running_var", "num_batches_tracked")
            tensors[counter] = torch.tensor(int(exam.rng.integers(1, 1000)))
    return tensors


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "")
with exam.part(2, "the wrappings of names, and no counters"):
    for prefix in PREFIXES:
        network_arrays = random_arrays(random_network())
        content = {"epoch": 7, "state_dict": wrapped(network_arrays, [prefix])}
        reads(content, network_arrays, f"all names with the prefix {prefix!r}")
    for _ in range(2):
        network_arrays = random_arrays(random_network())
        choices = [PREFIXES[i] for i in exam.rng.permutation(len(PREFIXES))]
        content = {"state_dict": wrapped(network_arrays, choices), "best": 0.5}
        reads(content, network_arrays, "prefixes that differ from name to name")
    numbers = {
        name: exam.rng.normal(size=3).astype("float32")
        for name in ("submodule.fc.bias", "head.module.0.bias", "my_orig_mod.bias", "modules.bias")
    }
    reads(
        {"state_dict": wrapped(numbers, ["", "module."])}, numbers, "layers with such words in them"
    )
with exam.part(1, "the place of the arrays in the file, and a ValueError without them"):
    numbers = {"fc.bias": exam.rng.normal(size=4).astype("float32")}
    tensors = {"fc.bias": torch.from_numpy(numbers["fc.bias"])}
    reads({"state_dict": tensors, "optimizer": {"lr": 0.1}}, numbers, "under state_dict")
    reads({"lr": 0.1, "model": tensors}, numbers, "under model")
    reads(tensors, numbers, "the whole file")
    reads(tensors, numbers, "an old kind of file", _use_new_zipfile_serialization=False)
    for content in (
        {"epoch": 3, "optimizer": {"lr": 0.1}},
        {"state_dict": {"epoch": 3}},
        {"model": [1, 2]},
        [tensors["fc.bias"]],
    ):
        error, _ = read_error(file=saved(content), marks=[])
        exam.equal(error, "ValueError", f"the error for {content}")
with exam.part(1, "half precision and Parameters become float32"):
    numbers = exam.rng.integers(-40, 40, size=(3, 4)).astype("float32") / 8
    tensor = torch.from_numpy(numbers)
    content = {
        "a.weight": tensor.half(),
        "b.weight": tensor.bfloat16(),
        "c.weight": nn.Parameter(tensor),
        "d.weight": nn.Parameter(tensor.bfloat16()),
    }
    expected = dict.fromkeys(content, numbers)
    reads({"state_dict": content}, expected, "half precision and Parameters")


class Mark:
    """An object whose unpickling makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


with exam.part(2, "a file that means harm is refused, and nothing in it runs"):
    numbers = {"fc.bias": exam.rng.normal(size=4).astype("float32")}
    tensors = {"fc.bias": torch.from_numpy(numbers["fc.bias"])}
    reads({"state_dict": tensors, "epoch": 1}, numbers, "a good file")
    number = int(exam.rng.integers(10**9))
    marks = [f"mark-{number}-{i}" for i in range(4)]
    files = [
        saved({"state_dict": tensors, "args": Mark(marks[0])}),
        saved({"state_dict": Mark(marks[1])}),
        saved({"model": tensors, "args": Mark(marks[2])}, _use_new_zipfile_serialization=False),
        np.frombuffer(pickle.dumps({"model": Mark(marks[3])}), dtype=np.uint8),
    ]
    for file in files:
        error, found = read_error(file=file, marks=marks)
        exam.equal(found, [], "what a file with a trap did")
        exam.require(bool(error), "a file with a trap was not refused")
exam.score()


# %% test="keras_array"
@exam.question
def turned(student, name, array):
    import numpy as np

    return np.asarray(student.keras_array(name, array))


@exam.question
def turning_error(student, name, array):
    try:
        student.keras_array(name, array)
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


with exam.part(1, "kernels of convolutions, also such that are not square"):
    sizes = [exam.rng.permutation(np.arange(1, 9))[:4].tolist() for _ in range(6)]
    for shape in [*sizes, (4, 4, 3, 3), (5, 5, 5, 5), (6, 2, 1, 1), (3, 7, 1, 4)]:
        kernel = exam.rng.normal(size=shape).astype("float32")
        answer = turned(name="layer2.0.conv1.weight", array=kernel)
        expected = np.ascontiguousarray(np.einsum("oihw->hwio", kernel))
        exam.equal(answer, expected, f"keras_array of a kernel {shape}")
with exam.part(1, "matrices of linear layers"):
    for shape in [tuple(int(n) for n in exam.rng.integers(2, 30, size=2)) for _ in range(5)] + [
        (6, 6)
    ]:
        matrix = exam.rng.normal(size=shape).astype("float32")
        answer = turned(name="fc.weight", array=matrix)
        exam.equal(answer, np.ascontiguousarray(matrix.T), f"keras_array of a matrix {shape}")
with exam.part(1, "one axis stays as it is, other arrays are refused by name"):
    for name in ("bn1.weight", "fc.bias", "layer3.2.bn2.running_mean", "bn1.running_var"):
        vector = exam.rng.normal(size=int(exam.rng.integers(1, 20))).astype("float32")
        exam.equal(turned(name=name, array=vector), vector, f"keras_array of {name}")
    for shape in ((2, 3, 4), (2, 2, 2, 2, 2), ()):
        name = f"layer1.{exam.rng.integers(1000)}.extra"
        kind, message = turning_error(name=name, array=np.ones(shape, "float32"))
        exam.equal(kind, "ValueError", f"the error for an array with {len(shape)} axes")
        exam.require(name in message, f"the message does not name {name}: {message}")
exam.score()


# %% test="torch_name"
LAYERS = ["conv1", "layer1.0.conv2", "layer3.10.downsample.1", "fc", "gamma.0", "kernel.bias.2"]
with exam.part(1, "kernels and biases"):
    for layer in [*LAYERS, f"layer2.{exam.rng.integers(100)}.conv1"]:
        for kind, other in (("kernel", "weight"), ("bias", "bias")):
            answer = exam.call("torch_name", f"{layer}/{kind}")
            exam.equal(answer, f"{layer}.{other}", f"torch_name({layer}/{kind})")
with exam.part(1, "the four arrays of a BatchNorm"):
    for layer in [*LAYERS, f"layer2.{exam.rng.integers(100)}.bn1"]:
        for kind, other in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ):
            answer = exam.call("torch_name", f"{layer}/{kind}")
            exam.equal(answer, f"{layer}.{other}", f"torch_name({layer}/{kind})")
exam.score()


# %% test="load_into"
def names_in(message, known):
    """All of the known names that a message contains."""
    return {n for n in known if re.search(rf"(?<![\w.]){re.escape(n)}(?!\w)", message)}


@exam.question
def loaded(student, network, arrays):
    model = student.build_keras(**network)
    student.load_into(model, arrays)
    return {variable.path: variable.numpy() for variable in model.variables}


@exam.question
def loading_errors(student, network, arrays, cases):
    model = student.build_keras(**network)
    student.load_into(model, arrays)
    answers = []
    for case in cases:
        before = [variable.numpy() for variable in model.variables]
        kind, message = "", ""
        try:
            student.load_into(model, case)
        except Exception as error:
            kind, message = type(error).__name__, str(error)
        after = [variable.numpy() for variable in model.variables]
        answers.append([kind, message, before, after])
    return answers


def faulty(arrays, missing=(), extra=(), shapes=()):
    """Other arrays of the same shapes, with faults; also the names that the error must contain."""
    other = {name: array + np.float32(1) for name, array in arrays.items() if name not in missing}
    other |= {name: np.ones(3, "float32") for name in extra}
    for name in shapes:
        other[name] = np.ones([n + 1 for n in arrays[name].shape], "float32")
    return shuffled(other), {*missing, *extra, *shapes}


def refuses(network, arrays, cases):
    """Right arrays are taken, and each of these is refused, names what is wrong and changes nothing."""
    given = [case[0] for case in cases]
    answers = loading_errors(network=network, arrays=shuffled(arrays), cases=given)
    exam.require(len(answers) == len(cases), "an answer is missing")
    for (kind, message, before, after), (other, wanted) in zip(answers, cases):
        exam.equal(kind, "ValueError", f"the error where {sorted(wanted)} are wrong")
        named = names_in(message, arrays.keys() | other.keys())
        exam.require(named == wanted, f"named {sorted(named)}, wanted {sorted(wanted)}")
        exam.require(len(before) == len(arrays), "variables of the model are missing")
        exam.equal(after, before, f"the network after the error for {sorted(wanted)}")


def some(arrays, number):
    """Names of a few arrays."""
    return [str(name) for name in exam.rng.choice(list(arrays), size=number, replace=False)]


with exam.part(2, "all variables are set by name"):
    for _ in range(2):
        network = random_network()
        arrays = random_arrays(network)
        answer = loaded(network=network, arrays=shuffled(arrays))
        exam.equal(answer, keras_values(arrays), f"the variables of {network}")
    # Here every convolution from the second on and the last layer fit in more than one way.
    network = {"depths": [1, 2, 1], "widths": [5, 5, 5], "in_channels": 3, "num_classes": 5}
    arrays = random_arrays(network)
    answer = loaded(network=network, arrays=shuffled(arrays))
    exam.equal(answer, keras_values(arrays), f"the variables of {network}")
with exam.part(1, "a missing array"):
    network = random_network()
    arrays = random_arrays(network)
    names = ["conv1.weight", "fc.bias", *some(arrays, 1)]
    refuses(network, arrays, [faulty(arrays, missing=[name]) for name in names])
with exam.part(1, "an array that is left over"):
    network = random_network()
    arrays = random_arrays(network)
    names = ["fc2.bias", f"layer3.{network['depths'][2]}.bn1.bias", "conv1.bias"]
    refuses(network, arrays, [faulty(arrays, extra=[name]) for name in names])
with exam.part(1, "an array of a wrong shape"):
    network = random_network()
    arrays = random_arrays(network)
    names = ["conv1.weight", "fc.bias", *some(arrays, 1)]
    cases = [faulty(arrays, shapes=[name]) for name in names]
    for name in ("fc.weight", "layer2.0.conv1.weight"):  # in and out exchanged: as many numbers
        other, wanted = faulty(arrays, shapes=[name])
        other[name] = np.ascontiguousarray(np.swapaxes(arrays[name], 0, 1))
        cases.append((other, wanted))
    refuses(network, arrays, cases)
with exam.part(1, "several faults at once"):
    network = random_network()
    arrays = random_arrays(network)
    names = some(arrays, 4)
    strangers = ["fc2.weight", "bn9.bias"]
    cases = [
        faulty(arrays, missing=names[:3]),
        faulty(arrays, extra=strangers),
        faulty(arrays, shapes=names[1:]),
        faulty(arrays, missing=names[:2], extra=strangers, shapes=names[2:]),
    ]
    refuses(network, arrays, cases)
exam.score()


# %% test="logits"
@exam.question
def predicted(student, network, values, pictures):
    model = student.build_keras(**network)
    for variable in model.variables:
        variable.assign(values[variable.path])
    answers = [student.logits(model, images) for images in pictures]
    after = {variable.path: variable.numpy() for variable in model.variables}
    return answers, sorted({type(answer).__name__ for answer in answers}), after


with exam.part(1, "the logits are those of PyTorch"):
    for size in ((8, 8), (6, 11)):
        network = random_network()
        arrays = random_arrays(network)
        pictures = random_images(network, size)
        answers, kinds, _ = predicted(
            network=network, values=keras_values(arrays), pictures=[pictures]
        )
        exam.equal(kinds, ["ndarray"], "the type of the logits")
        near(answers[0], expected_logits(arrays, pictures), f"the logits for pictures {size}")
with exam.part(1, "every picture by itself, and the network stays as it was"):
    network = random_network()
    arrays = random_arrays(network)
    pictures = random_images(network, (9, 8), 5)
    expected = expected_logits(arrays, pictures)
    values = keras_values(arrays)
    answers, _, after = predicted(
        network=network, values=values, pictures=[pictures, pictures[3:4], pictures[::-1].copy()]
    )
    exam.require(len(answers) == 3, "an answer is missing")
    near(answers[0], expected, "the logits")
    near(answers[1], expected[3:4], "the logits of one picture alone")
    near(answers[2], expected[::-1].copy(), "the logits in another order")
    exam.equal(after, values, "the network after prediction")
exam.score()


# %% test="largest_difference"
@exam.question
def difference(student, network, state, values, pictures, training):
    import torch

    model_torch = student.build_torch(**network)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    model_torch.load_state_dict(model_torch.state_dict() | tensors)
    model_torch.train(training)
    model_keras = student.build_keras(**network)
    for variable in model_keras.variables:
        variable.assign(values[variable.path])
    answer = student.largest_difference(model_torch, model_keras, pictures)
    after = {name: tensor.numpy() for name, tensor in model_torch.state_dict().items()}
    after = {name: array for name, array in after.items() if name in state}
    modes = sorted({module.training for module in model_torch.modules()})
    return answer, modes, after, {v.path: v.numpy() for v in model_keras.variables}


def two_networks():
    """Arrays of two networks of which only the last layer is not the same, and pictures."""
    network = random_network()
    one = random_arrays(network)
    other = one | {name: random_arrays(network)[name] for name in ("fc.weight", "fc.bias")}
    return network, one, other, random_images(network)


def two_shifted():
    """The same, but one logit differs upwards as far as another one does downwards."""
    network = random_network()
    one = random_arrays(network)
    other = one | {"fc.bias": one["fc.bias"].copy()}
    up, down = exam.rng.permutation(network["num_classes"])[:2]
    other["fc.bias"][up] += 0.5
    other["fc.bias"][down] -= 0.5
    return network, one, other, random_images(network)


def check_difference(network, one, other, pictures, training):
    """The number must be right, and both networks must be as they were."""
    values = keras_values(other)
    answer, modes, after, values_after = difference(
        network=network, state=one, values=values, pictures=pictures, training=training
    )
    gap = np.abs(expected_logits(one, pictures) - expected_logits(other, pictures)).max()
    exam.close(answer, float(gap), "the largest difference", rtol=1e-4, atol=2e-5)
    exam.equal(modes, [training], "the modes of the PyTorch network afterwards")
    exam.equal(after, one, "the PyTorch network afterwards")
    exam.equal(values_after, values, "the Keras network afterwards")


with exam.part(1, "the largest difference, of either sign"):
    network, one, other, pictures = two_networks()
    check_difference(network, one, other, pictures, False)
    check_difference(network, other, one, pictures, False)  # the signs are the other way round
    check_difference(network, one, one, pictures, False)
with exam.part(1, "a network in training mode is compared in eval mode, and given back as it came"):
    network, one, other, pictures = two_shifted()
    check_difference(network, one, other, pictures, True)
with exam.part(1, "NaN is not hidden"):
    network, one, other, pictures = two_shifted()
    check_difference(network, one, other, pictures, False)
    for place in (0, int(exam.rng.integers(1, network["num_classes"]))):
        spoilt = one | {"fc.bias": one["fc.bias"].copy()}
        spoilt["fc.bias"][place] = np.nan
        for first, second in ((spoilt, other), (other, spoilt)):
            answer, *_ = difference(
                network=network,
                state=first,
                values=keras_values(second),
                pictures=pictures,
                training=False,
            )
            exam.require(
                isinstance(answer, float) and bool(np.isnan(answer)),
                f"{answer} where class {place} is NaN",
            )
exam.score()


# %% test="port"
@exam.question
def ported(student, file, pictures):
    import tempfile
    from pathlib import Path

    import numpy as np

    path = Path("checkpoint.pth")
    if len(file):
        path = Path(tempfile.mkdtemp()) / "other.pth"
        path.write_bytes(file.tobytes())
    model = student.port(path)
    answer = np.asarray(model(pictures.transpose(0, 2, 3, 1), training=False))
    return answer, {variable.path: variable.numpy() for variable in model.variables}


with exam.part(1, "the digits of the checkpoint that you were given"):
    from shared.data import load_data
    from shared.checkpoints import read_trained

    trained = read_trained("resnet8_digits")
    digits = load_data("digits").test
    pictures = trained.inputs.prepare(digits.images).transpose(0, 3, 1, 2)
    pictures = np.ascontiguousarray(pictures)
    answer, values = ported(file=np.zeros(0, np.uint8), pictures=pictures)
    near(answer, expected_logits(trained.arrays, pictures), "the logits of the digits")
    right = int((answer.argmax(axis=1) == digits.labels).sum())
    exam.equal(right, 359, "digits read right")
    exam.equal(values, keras_values(trained.arrays), "the variables")
with exam.part(2, "other checkpoints: deeper, wider, other channels, other classes"):
    networks = [random_network(), random_network()]
    networks[1]["depths"] = [1, 11, 2]
    for network, choices in zip(networks, (["_orig_mod."], ["", "module._orig_mod."])):
        arrays = random_arrays(network)
        pictures = random_images(network, (9, 6))
        file = saved({"model": wrapped(shuffled(arrays), choices), "epoch": 3})
        answer, values = ported(file=file, pictures=pictures)
        near(answer, expected_logits(arrays, pictures), f"the logits of {network}")
        exam.equal(values, keras_values(arrays), f"the variables of {network}")
exam.score()
