"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="activations"
import numpy as np
import torch
from torch.nn import functional

from shared.classroom.exam import exam

BLOCK = "layer1.0."
NAMES = ["conv1", "bn1", "relu1", "maxpool"]
NAMES += [BLOCK + n for n in ("conv1", "bn1", "relu1", "conv2", "bn2")]
NAMES += [BLOCK + n for n in ("downsample.0", "downsample.1", "relu2")] + ["fc"]
CONVS = {  # name -> (in, out, kernel size, stride, what comes before)
    "conv1": (3, 8, 5, 2, "input"),
    "layer1.0.conv1": (8, 16, 3, 2, "maxpool"),
    "layer1.0.conv2": (16, 16, 3, 1, "layer1.0.relu1"),
    "layer1.0.downsample.0": (8, 16, 1, 2, "maxpool"),
}
NORMS = {  # name -> (channels, what comes before)
    "bn1": (8, "conv1"),
    "layer1.0.bn1": (16, "layer1.0.conv1"),
    "layer1.0.bn2": (16, "layer1.0.conv2"),
    "layer1.0.downsample.1": (16, "layer1.0.downsample.0"),
}
STEP = 0.2  # momentum


def some_arrays(rng):
    """Lively arrays, with PyTorch's names and layouts."""
    found = {}
    for name, (inputs, outputs, size, _, _) in CONVS.items():
        shape = (outputs, inputs, size, size)
        found[f"{name}.weight"] = rng.normal(0, (inputs * size * size) ** -0.5, shape)
    for name, (channels, _) in NORMS.items():
        found[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels)
        found[f"{name}.bias"] = rng.normal(0, 0.3, channels)
        found[f"{name}.running_mean"] = rng.normal(0, 0.3, channels)
        found[f"{name}.running_var"] = rng.uniform(0.1, 2, channels)
    found["fc.weight"] = rng.normal(0, 0.1, (10, 96))
    found["fc.bias"] = rng.normal(0, 0.3, 10)
    return {name: array.astype("float32") for name, array in found.items()}


def some_pixels(rng):
    return rng.integers(0, 256, (8, 24, 16, 3), dtype=np.uint8)


def true_input(pixels):
    """The prepared pictures, (N, C, H, W)."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype("float32")


def truth(arrays, images, training=False):
    """All activations in float64, and the statistics after the pass."""
    values = {name: torch.from_numpy(a.astype("float64")) for name, a in arrays.items()}
    seen = {"input": torch.from_numpy(images.astype("float64"))}

    def conv(name):
        _, _, size, stride, before = CONVS[name]
        seen[name] = functional.conv2d(
            seen[before], values[f"{name}.weight"], stride=stride, padding=size // 2
        )

    def norm(name):
        names = ("running_mean", "running_var", "weight", "bias")
        state = [values[f"{name}.{key}"] for key in names]
        seen[name] = functional.batch_norm(seen[NORMS[name][1]], *state, training, STEP, 1e-5)

    conv("conv1")
    norm("bn1")
    seen["relu1"] = seen["bn1"].clamp(min=0)
    seen["maxpool"] = functional.max_pool2d(seen["relu1"], 3, 2, 1)
    conv("layer1.0.conv1")
    norm("layer1.0.bn1")
    seen["layer1.0.relu1"] = seen["layer1.0.bn1"].clamp(min=0)
    conv("layer1.0.conv2")
    norm("layer1.0.bn2")
    conv("layer1.0.downsample.0")
    norm("layer1.0.downsample.1")
    seen["layer1.0.relu2"] = (seen["layer1.0.bn2"] + seen["layer1.0.downsample.1"]).clamp(min=0)
    flat = seen["layer1.0.relu2"].flatten(1)
    seen["fc"] = flat @ values["fc.weight"].T + values["fc.bias"]
    stats = {n: a.numpy() for n, a in values.items() if "running" in n}
    return {name: tensor.numpy() for name, tensor in seen.items()}, stats


def near(answer, expected, what):
    """Equal to 1e-5, relative to the largest number."""
    exam.close(answer, expected, what, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def near_all(answers, expected, names):
    exam.require(isinstance(answers, dict), "not a dict")
    for name in names:
        exam.require(name in answers, f"{name} is missing")
        near(answers[name], expected[name], name)


@exam.question
def torch_seen(student, arrays, images, training):
    import torch

    model = student.Original()
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model.load_state_dict(model.state_dict() | tensors)
    model.train(training)
    seen = student.activations_torch(model, images)
    return {
        "seen": seen,
        "modes": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "state": {name: value for name, value in model.state_dict().items() if name in arrays},
    }


def ask_torch(training):
    """What activations_torch sees, and what it should see."""
    arrays, images = some_arrays(exam.rng), true_input(some_pixels(exam.rng))
    answer = torch_seen(arrays=arrays, images=images, training=training)
    exam.require(isinstance(answer["seen"], dict), "not a dict")
    exam.require(list(answer["seen"]) == ["input", *NAMES], "other keys, or in another order")
    return answer, truth(arrays, images)[0], arrays


with exam.part(1, "PyTorch: the input, and every layer but the BatchNorms"):
    answer, expected, _ = ask_torch(False)
    near_all(answer["seen"], expected, [n for n in ["input", *NAMES] if n not in NORMS])
with exam.part(1, "PyTorch: the BatchNorms"):
    answer, expected, _ = ask_torch(False)
    near_all(answer["seen"], expected, NORMS)
with exam.part(
    1, "PyTorch: looked at in evaluation mode, in whatever mode it comes, and left as is"
):
    for training in (True, False):
        answer, expected, arrays = ask_torch(training)
        near_all(answer["seen"], expected, ["input", "relu1", "maxpool", "fc"])
        exam.require(set(answer["modes"]) == {training}, "the mode was changed")
        exam.require(not any(answer["hooks"]), "hooks were left in the model")
        for name, array in arrays.items():
            exam.equal(answer["state"][name], array, f"{name} of the model afterwards")


@exam.question
def keras_seen(student, sizes, kernels, images):
    import keras

    outputs = {"input": keras.Input((None, None, images.shape[-1]))}
    for name, (before, width) in sizes.items():
        if name == "layer1.0.relu2":
            both = [outputs["layer1.0.bn2"], outputs["layer1.0.downsample.1"]]
            outputs[name] = keras.layers.Add(name=name)(both)
        elif name == "fc":
            x = keras.layers.GlobalMaxPooling2D()(outputs[before])
            outputs[name] = keras.layers.Dense(width, use_bias=False, name=name)(x)
        else:
            conv = keras.layers.Conv2D(width, 1, use_bias=False, name=name)
            outputs[name] = conv(outputs[before])
    model = keras.Model(outputs["input"], outputs["fc"])
    for name, kernel in kernels.items():
        model.get_layer(name).set_weights([kernel])
    return student.activations_keras(model, images)


with exam.part(1, "Keras: every layer of another model with these names"):
    images = exam.rng.normal(size=(2, 5, 7, 3)).astype("float32")
    befores = ["input", "conv1", "bn1", "relu1", "maxpool"]
    befores += [BLOCK + n for n in ("conv1", "bn1", "relu1", "conv2")] + ["maxpool"]
    befores += [BLOCK + "downsample.0", BLOCK + "bn2", BLOCK + "relu2"]
    sizes, kernels, expected = {}, {}, {"input": images.astype("float64")}
    widths = {"input": 3}
    for name, before in zip(NAMES, befores, strict=True):
        width = int(exam.rng.integers(2, 9)) if name not in NORMS or name == "bn1" else 6
        if name == "layer1.0.relu2":
            width = 6
            expected[name] = expected[BLOCK + "bn2"] + expected[BLOCK + "downsample.1"]
        else:
            kernel = exam.rng.normal(size=(widths[before], width)).astype("float32")
            source = expected[before].max(axis=(1, 2)) if name == "fc" else expected[before]
            expected[name] = source @ kernel.astype("float64")
            kernels[name] = kernel if name == "fc" else kernel[None, None]
        sizes[name], widths[name] = (before, width), width
    seen = keras_seen(sizes=sizes, kernels=kernels, images=images)
    exam.require(isinstance(seen, dict), "not a dict")
    exam.require(list(seen) == ["input", *NAMES], "other keys, or in another order")
    common = {n: a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for n, a in expected.items()}
    near_all(seen, common, ["input", *NAMES])
exam.score()


# %% test="first_difference"
@exam.question
def first(student, a, b, tolerance):
    found = student.first_difference(a, b, tolerance)
    return {"found": found, "a": a, "b": b}


def layers_of(rng, scale=1.0):
    """A dict of six layers of different shapes; the largest number of each is the scale."""
    found = {}
    for number in rng.permutation(6):
        array = rng.uniform(-1, 1, tuple(rng.integers(2, 5, size=4)))
        found[f"layer{number}"] = array / np.abs(array).max() * scale
    return found


def judge(a, b, tolerance, expected, what):
    answer = first(a=a, b=b, tolerance=tolerance)
    exam.equal(answer["found"], expected, what)
    for side, before in (("a", a), ("b", b)):
        exam.require(list(answer[side]) == list(before), f"{what}: {side} was changed")
        for name, array in before.items():
            same = np.array_equal(answer[side][name], array, equal_nan=True)
            exam.require(same, f"{what}: {side} was changed")


with exam.part(1, "the first of several, in the order of a, or None"):
    for _ in range(12):
        a = layers_of(exam.rng)
        b = {n: x + exam.rng.uniform(-1e-7, 1e-7, x.shape) for n, x in reversed(a.items())}
        judge(a, b, 1e-5, None, "only rounding errors")
        chosen = sorted(exam.rng.permutation(6)[: int(exam.rng.integers(1, 4))])
        for number in chosen:
            name = list(a)[number]
            place = tuple(exam.rng.integers(0, n) for n in a[name].shape)
            b[name][place] += exam.rng.choice([-0.5, 0.5])
        judge(a, b, 1e-5, list(a)[chosen[0]], "some layers differ")
        only = {**b, **a, "another": np.ones(3)}
        judge(a, only, 1e-5, None, "a name that only b has")
with exam.part(1, "the tolerance belongs to the largest number of the layer"):
    for _ in range(6):
        for scale in (1e-6, 1e5):
            a = layers_of(exam.rng, scale)
            b = {n: x + 0.3e-4 * scale for n, x in a.items()}
            judge(a, b, 1e-4, None, f"below the tolerance, numbers of {scale}")
            name = list(a)[int(exam.rng.integers(0, 6))]
            b[name] = a[name] - 3e-4 * scale
            judge(a, b, 1e-4, name, f"above the tolerance, numbers of {scale}")
with exam.part(1, "other shapes, also such that NumPy can subtract; missing names"):
    for _ in range(6):
        a = layers_of(exam.rng)
        numbers = sorted(exam.rng.permutation(6)[:2])
        name, later = (list(a)[number] for number in numbers)
        flat = a | {name: np.full(a[name].shape, 0.7)}
        for other in (flat[name][:1], flat[name][:, :1, :1, :1], flat[name][0], flat[name][:, 1:]):
            judge(flat, flat | {name: other}, 1e-5, name, f"shape {other.shape}")
        judge(flat, a | {name: flat[name], later: a[later][1:]}, 1e-5, later, "another shape later")
        judge(a, {n: x for n, x in a.items() if n != name}, 1e-5, name, "a missing name")
with exam.part(1, "numbers that are not finite"):
    for left, right in (
        *((np.nan, 0.5), (0.5, np.nan), (np.nan, np.nan)),
        *((np.inf, 0.5), (0.5, np.inf), (-np.inf, -np.inf)),
    ):
        a = layers_of(exam.rng)
        b = {n: x.copy() for n, x in a.items()}
        judge(a, b, 1e-5, None, "equal layers")
        name = list(a)[int(exam.rng.integers(0, 6))]
        place = tuple(exam.rng.integers(0, n) for n in a[name].shape)
        a[name][place], b[name][place] = left, right
        judge(a, b, 1e-5, name, f"{left} and {right}")
exam.score()


# %% test="input"
@exam.question
def prepared_pictures(student, pixels):
    return student.preprocess_keras(pixels)


with exam.part(2, "the pictures as the port sees them"):
    for _ in range(3):
        pixels = some_pixels(exam.rng)
        for channel in range(3):  # colours differ
            pixels[..., channel] //= int(exam.rng.integers(1, 5))
        wanted = true_input(pixels).transpose(0, 2, 3, 1)
        near(prepared_pictures(pixels=pixels), wanted, "the prepared pictures")
exam.score()


# %% test="convolutions"
@exam.question
def pieces(student, arrays, own, true, before, training):
    """Outputs of layers for the inputs given; `own` are arrays put straight into the layers."""
    import keras
    import numpy as np

    model = student.build_keras()
    try:  # a repair of another mistake may stand in load_keras; what it does to `own` does not count
        student.load_keras(model, arrays)
    except Exception:
        pass
    outputs = {}
    for name, start in before.items():
        layer = model.get_layer(name)
        for attribute, array in own[name].items():
            getattr(layer, attribute).assign(array)
        tensor = model.input if start == "input" else model.get_layer(start).output
        piece = keras.Model(tensor, layer.output)
        found = piece(np.moveaxis(true[start], 1, -1).copy(), training=training)
        outputs[name] = {"output": np.moveaxis(np.asarray(found), -1, 1)}
        if training:
            outputs[name]["moving_mean"] = np.asarray(layer.moving_mean)
            outputs[name]["moving_variance"] = np.asarray(layer.moving_variance)
    return outputs


def ask_pieces(kind, training=False):
    """Outputs of all layers of a kind for true inputs; and what they should be."""
    arrays, images = some_arrays(exam.rng), true_input(some_pixels(exam.rng))
    expected, _ = truth(arrays, images)
    expected = {name: array.astype("float32") for name, array in expected.items()}
    own = {}
    for name in kind:
        if kind is CONVS:
            own[name] = {"kernel": arrays[f"{name}.weight"].transpose(2, 3, 1, 0)}
        else:
            keys = ("weight", "bias", "running_mean", "running_var")
            values = [arrays[f"{name}.{key}"] for key in keys]
            attributes = ("gamma", "beta", "moving_mean", "moving_variance")
            own[name] = dict(zip(attributes, values, strict=True))
    before = {name: facts[-1] for name, facts in kind.items()}
    answers = pieces(
        arrays=arrays,
        own=own,
        true={start: expected[start] for start in before.values()},
        before=before,
        training=training,
    )
    exam.require(isinstance(answers, dict), "not a dict")
    return answers, expected, arrays


@exam.question
def loaded(student, arrays, names):
    import numpy as np

    model = student.build_keras()
    student.load_keras(model, arrays)
    return {name: np.asarray(model.get_layer(name).kernel) for name in names}


with exam.part(2, "every convolution, for its true input, with kernels that the test puts in"):
    answers, expected, _ = ask_pieces(CONVS)
    for name in CONVS:
        near(answers[name]["output"], expected[name], name)
with exam.part(2, "the kernels that load_keras puts in"):
    arrays = some_arrays(exam.rng)
    kernels = loaded(arrays=arrays, names=list(CONVS))
    for name in CONVS:
        exam.equal(
            kernels[name], arrays[f"{name}.weight"].transpose(2, 3, 1, 0), f"kernel of {name}"
        )
exam.score()


# %% test="norms"
with exam.part(2, "every BatchNorm in evaluation mode, for its true input"):
    answers, expected, _ = ask_pieces(NORMS)
    for name in NORMS:
        near(answers[name]["output"], expected[name], name)
exam.score()


# %% test="logits"
@exam.question
def logits_of(student, arrays, features):
    import keras
    import numpy as np

    model = student.build_keras()
    student.load_keras(model, arrays)
    piece = keras.Model(model.get_layer("layer1.0.relu2").output, model.get_layer("fc").output)
    return np.asarray(piece(features, training=False))


with exam.part(2, "the logits, for the true feature map"):
    for _ in range(2):
        arrays = some_arrays(exam.rng)
        expected, _ = truth(arrays, true_input(some_pixels(exam.rng)))
        features = expected["layer1.0.relu2"].transpose(0, 2, 3, 1).astype("float32").copy()
        near(logits_of(arrays=arrays, features=features), expected["fc"], "the logits")
exam.score()


# %% test="training"
with exam.part(2, "the running mean of every BatchNorm after one step, for its true input"):
    answers, true, arrays = ask_pieces(NORMS, training=True)
    for name, (_, before) in NORMS.items():
        batch = true[before].astype("float64")
        kept = (1 - STEP) * arrays[f"{name}.running_mean"].astype("float64")
        wanted = kept + STEP * batch.mean(axis=(0, 2, 3))
        near(answers[name]["moving_mean"], wanted, f"running mean of {name}")
exam.score()


# %% test="variance_for_keras"
with exam.part(2, "other batches, other momenta"):
    for _ in range(12):
        momentum = float(exam.rng.uniform(0.05, 0.7))
        shape = tuple(int(n) for n in exam.rng.integers([2, 2, 1, 1], 6))
        batch = exam.rng.normal(size=shape) * exam.rng.uniform(0.5, 4)
        count = batch.size // shape[1]
        before = exam.rng.uniform(0.1, 3, shape[1])
        norm = torch.nn.BatchNorm2d(shape[1], momentum=momentum).double().train()
        norm.running_var.copy_(torch.from_numpy(before))
        norm(torch.from_numpy(batch))
        wanted = (1 - momentum) * before + momentum * batch.var(axis=(0, 2, 3))
        answer = exam.call("variance_for_keras", before, norm.running_var.numpy(), count, momentum)
        exam.close(answer, wanted, "the moving variance", rtol=1e-5, atol=1e-6)
exam.score()


# %% test="whole"
@exam.question
def whole_port(student, arrays, pixels, names):
    import keras
    import numpy as np

    model = student.build_keras()
    student.load_keras(model, arrays)
    inside = keras.Model(model.input, [model.get_layer(name).output for name in names])
    outputs = inside(student.preprocess_keras(pixels), training=False)
    arrays = [np.asarray(output) for output in outputs]
    return {n: np.moveaxis(a, -1, 1) for n, a in zip(names, arrays, strict=True)}


@exam.question
def after_a_step(student, arrays, pixels, names):
    import numpy as np

    model = student.build_keras()
    student.load_keras(model, arrays)
    model(student.preprocess_keras(pixels), training=True)
    return {name: np.asarray(model.get_layer(name).moving_mean) for name in names}


with exam.part(1, "every layer and the logits, from pixels, in evaluation mode"):
    for _ in range(2):
        arrays, pixels = some_arrays(exam.rng), some_pixels(exam.rng)
        expected, _ = truth(arrays, true_input(pixels))
        near_all(whole_port(arrays=arrays, pixels=pixels, names=NAMES), expected, NAMES)
with exam.part(1, "all running means after one step of training"):
    arrays, pixels = some_arrays(exam.rng), some_pixels(exam.rng)
    _, stats = truth(arrays, true_input(pixels), training=True)
    means = after_a_step(arrays=arrays, pixels=pixels, names=list(NORMS))
    exam.require(isinstance(means, dict), "not a dict")
    for name in NORMS:
        near(means[name], stats[f"{name}.running_mean"], f"running mean of {name}")
exam.score()
