"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="bug_1"
import numpy as np
import torch
from torch.nn import functional as F

from shared.classroom.exam import exam


@exam.question
def run_class(student, program, arguments, weights, images, training):
    """Builds a network, gives it weights by name, and runs it."""
    import torch

    network = getattr(student, program)(*arguments)
    own = network.state_dict()
    shapes = {n: list(t.shape) for n, t in own.items() if not n.endswith("num_batches_tracked")}
    answer = {"shapes": shapes, "parameters": sum(p.numel() for p in network.parameters())}
    if shapes == {name: list(array.shape) for name, array in weights.items()}:
        tensors = {name: torch.tensor(array) for name, array in weights.items()}
        network.load_state_dict(tensors, strict=False)
        network.train(training)
        with torch.no_grad():
            answer["out"] = network(torch.tensor(images))
    return answer


@exam.question
def try_class(student, check, program, seed):
    """How the student's test treats a new copy of a class: without relation to it, name and lines."""
    import types

    import torch

    torch.manual_seed(seed)
    original, home, count = getattr(student, program), types.CellType(), {"built": 0, "ran": 0}
    names, body = {}, {}
    for key, value in vars(original).items():
        if isinstance(value, types.FunctionType):
            code = value.__code__.replace(co_filename="<copy>")
            names = names or dict(value.__globals__)
            cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
            closure = tuple(home if name == "__class__" else cell for name, cell in cells)
            made = types.FunctionType(code, names, value.__name__, value.__defaults__, closure)
            made.__kwdefaults__ = value.__kwdefaults__
            value = made
        if key not in ("__dict__", "__weakref__"):
            body[key] = value
    body |= {"__module__": "copied", "__qualname__": "Network"}
    copied = type(original)("Network", original.__bases__, body)
    home.cell_contents = names[original.__name__] = copied
    first_init, first_forward = copied.__init__, copied.forward

    def init(self, *arguments, **keywords):
        count["built"] += 1
        first_init(self, *arguments, **keywords)

    def forward(self, *arguments, **keywords):
        count["ran"] += 1
        return first_forward(self, *arguments, **keywords)

    copied.__init__, copied.forward = init, forward
    raised = ""
    try:
        getattr(student, check)(copied)
    except AssertionError:
        raised = "AssertionError"
    except Exception as error:
        raised = type(error).__name__
    return {"raised": raised, "built": count["built"] > 0, "ran": count["ran"] > 0}


def lively(shapes):
    """Random weights; BatchNorms with a gamma, beta, mean and variance of their own."""
    made = {}
    for name, shape in shapes.items():
        values = exam.rng.normal(size=shape)
        if len(shape) > 1:
            values *= np.prod(shape[1:]) ** -0.5
        elif name.endswith(("running_var", "weight")):
            values = exam.rng.uniform(0.5, 1.5, size=shape)
        else:
            values *= 0.5
        made[name] = values.astype("float32")
    return made


def conv_shapes(name, in_channels, out_channels, kernel_size):
    return {f"{name}.weight": (out_channels, in_channels, kernel_size, kernel_size)}


def norm_shapes(name, channels):
    return {f"{name}.{v}": (channels,) for v in ("weight", "bias", "running_mean", "running_var")}


def projection_shapes(name, in_channels, out_channels):
    shapes = conv_shapes(f"{name}downsample.0", in_channels, out_channels, 1)
    return shapes | norm_shapes(f"{name}downsample.1", out_channels)


def basic_shapes(name, in_channels, out_channels, projection):
    shapes = conv_shapes(f"{name}conv1", in_channels, out_channels, 3)
    shapes |= norm_shapes(f"{name}bn1", out_channels)
    shapes |= conv_shapes(f"{name}conv2", out_channels, out_channels, 3)
    shapes |= norm_shapes(f"{name}bn2", out_channels)
    if projection:
        shapes |= projection_shapes(name, in_channels, out_channels)
    return shapes


def step(weights, x, conv, norm, stride=1, training=False):
    """A convolution and a BatchNorm, from their numbers alone."""
    kernel = torch.tensor(weights[f"{conv}.weight"])
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(torch.tensor(weights[f"{norm}.{name}"]) for name in names), training)


def projected(weights, x, name, stride, training=False):
    if f"{name}downsample.0.weight" not in weights:
        return x
    names = (f"{name}downsample.0", f"{name}downsample.1")
    return step(weights, x, *names, stride, training)


def basic(weights, x, name, stride, training=False):
    out = step(weights, x, f"{name}conv1", f"{name}bn1", stride, training).relu()
    out = step(weights, out, f"{name}conv2", f"{name}bn2", 1, training)
    return (out + projected(weights, x, name, stride, training)).relu()


def learned(shapes):
    return int(sum(np.prod(s) for n, s in shapes.items() if "running" not in n))


def compare_class(program, arguments, shapes, images_shape, reference, training=False):
    """Names, shapes and number of parameters, and the output with the same weights."""
    weights = lively(shapes)
    images = exam.rng.normal(size=images_shape).astype("float32")
    what = f"{program}{arguments}"
    answer = run_class(
        program=program, arguments=arguments, weights=weights, images=images, training=training
    )
    exam.equal(answer["shapes"], {n: list(s) for n, s in shapes.items()}, f"{what}: weights")
    exam.equal(answer["parameters"], learned(shapes), f"{what}: number of parameters")
    expected = reference(weights, torch.tensor(images), training).numpy()
    exam.close(answer["out"], expected, f"{what}: output", rtol=1e-3, atol=1e-4)


def judge_check(ask, check, buggy, fixed, right):
    """The two parts for a student's test."""
    stopped = {"raised": "AssertionError", "built": True}
    with exam.part(1, "the test stops the buggy program with an AssertionError"):
        for _ in range(2):
            got = ask(check=check, program=buggy, seed=int(exam.rng.integers(10**6)))
            exam.equal({k: got[k] for k in stopped}, stopped, f"{check} for a copy of {buggy}")
    with exam.part(1, "the test stops the buggy program and lets your right fix pass"):
        exam.require(right, "the fix is not right, so the test cannot be tried on it")
        for program in map(str, exam.rng.permutation([buggy, fixed, buggy, fixed])):
            got = ask(check=check, program=program, seed=int(exam.rng.integers(10**6)))
            wanted = {"raised": "", "built": True, "ran": True} if program == fixed else stopped
            exam.equal({k: got[k] for k in wanted}, wanted, f"{check} for a copy of {program}")


def bottleneck(weights, x, training):
    out = step(weights, x, "conv1", "bn1", 1, training).relu()
    out = step(weights, out, "conv2", "bn2", 1, training).relu()
    out = step(weights, out, "conv3", "bn3", 1, training)
    return (out + projected(weights, x, "", 1, training)).relu()


right = False
with exam.part(2, "the fix: parameters by name, and the output with given weights"):
    for training in (False, True):
        c = int(exam.rng.integers(2, 9))
        shapes = conv_shapes("conv1", c, c, 1) | norm_shapes("bn1", c)
        shapes |= conv_shapes("conv2", c, c, 3) | norm_shapes("bn2", c)
        shapes |= conv_shapes("conv3", c, 4 * c, 1) | norm_shapes("bn3", 4 * c)
        shapes |= projection_shapes("", c, 4 * c)
        compare_class("Fixed1", (c,), shapes, (3, c, 6, 5), bottleneck, training)
    right = True
judge_check(try_class, "check_1", "Buggy1", "Fixed1", right)
exam.score()


# %% test="bug_2"
@exam.question
def out_channels(student, program, arguments):
    return getattr(student, program)(*arguments).out_channels


right = False
with exam.part(2, "the fix: parameters by name, and the output, for all kinds of shape"):
    for change in (0, 1):
        for stride in (1, 2):
            c = int(exam.rng.integers(2, 7))
            case = (c, c + change * int(exam.rng.integers(1, 5)), stride)
            shapes = basic_shapes("", *case[:2], projection=case != (c, c, 1))

            def reference(weights, x, training, stride=stride):
                return basic(weights, x, "", stride, training)

            for training in (False, True):
                compare_class("Fixed2", case, shapes, (3, c, 8, 7), reference, training)
            exam.equal(out_channels(program="Fixed2", arguments=case), case[1], "out_channels")
    right = True
judge_check(try_class, "check_2", "Buggy2", "Fixed2", right)
exam.score()


# %% test="bug_3"
right = False
with exam.part(2, "the fix: parameters by name, and the output with given weights"):
    for stride in (1, 2, 3):
        c = int(exam.rng.integers(2, 7))
        case = (c, c + int(exam.rng.integers(0, 5)), stride)

        def without_projection(weights, x, training, case=case):
            out = step(weights, x, "conv1", "bn1", case[2], training).relu()
            out = step(weights, out, "conv2", "bn2", 1, training)
            x = F.adaptive_avg_pool2d(x, out.shape[2:])
            return (out + F.pad(x, (0, 0, 0, 0, 0, case[1] - case[0]))).relu()

        for training in (False, True):
            shapes = basic_shapes("", *case[:2], projection=False)
            compare_class("Fixed3", case, shapes, (3, c, 12, 11), without_projection, training)
    right = True
judge_check(try_class, "check_3", "Buggy3", "Fixed3", right)
exam.score()


# %% test="bug_4"
@exam.question
def run_builder(student, program, arguments, weights, images):
    """Builds a Keras model, gives it weights by name, and runs it."""
    import numpy as np

    model = getattr(student, program)(*arguments)
    own = {f"{layer.name}.{v.name}": v for layer in model.layers for v in layer.weights}
    answer = {"weights": {name: list(v.shape) for name, v in own.items()}}
    answer["sizes"] = {
        layer.name: list(layer.output.shape[1:])
        for layer in model.layers
        if layer.name.endswith(".add")
    }
    if answer["weights"] == {name: list(array.shape) for name, array in weights.items()}:
        for name, variable in own.items():
            variable.assign(weights[name])
        answer["out"] = np.asarray(model(images, training=False))
    return answer


@exam.question
def try_builder(student, check, program, seed):
    """How the student's test treats a new copy of a builder, under another name and without lines."""
    import types

    import keras

    keras.utils.set_random_seed(seed)
    original, count = getattr(student, program), {"built": 0}
    code = original.__code__.replace(co_filename="<copy>", co_name="network", co_qualname="network")
    rest = (original.__globals__, "network", original.__defaults__, original.__closure__)
    copied = types.FunctionType(code, *rest)
    copied.__kwdefaults__ = original.__kwdefaults__

    def build(*arguments, **keywords):
        count["built"] += 1
        return copied(*arguments, **keywords)

    raised = ""
    try:
        getattr(student, check)(build)
    except AssertionError:
        raised = "AssertionError"
    except Exception as error:
        raised = type(error).__name__
    built = count["built"] > 0
    return {"raised": raised, "built": built, "ran": built}  # laying out a graph runs it


def for_keras(weights):
    """The same weights under Keras' names, and in its layouts."""
    suffixes = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    made = {}
    for name, array in weights.items():
        layer, suffix = name.rsplit(".", 1)
        if array.ndim == 4:
            made[f"{layer}.kernel"] = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
        elif array.ndim == 2:
            made[f"{layer}.kernel"] = np.ascontiguousarray(array.T)
        elif layer == "fc":
            made[f"{layer}.bias"] = array
        else:
            gamma_beta = {"weight": "gamma", "bias": "beta"}
            made[f"{layer}.{(suffixes | gamma_beta)[suffix]}"] = array
    return made


def network_shapes(depths, widths, classes):
    """The weights of a residual network of basic blocks, without max-pool."""
    shapes = conv_shapes("conv1", 3, widths[0], 3) | norm_shapes("bn1", widths[0])
    channels = widths[0]
    for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        for index in range(depth):
            changes = index == 0 and (number > 1 or channels != width)
            shapes |= basic_shapes(f"layer{number}.{index}.", channels, width, changes)
            channels = width
    return shapes | {"fc.weight": (classes, channels), "fc.bias": (classes,)}


def network(weights, x, depths):
    """The logits, and the shape (H, W, C) after each block."""
    x, sizes = step(weights, x, "conv1", "bn1").relu(), {}
    for number, depth in enumerate(depths, start=1):
        for index in range(depth):
            stride = 2 if number > 1 and index == 0 else 1
            x = basic(weights, x, f"layer{number}.{index}.", stride)
            sizes[f"layer{number}.{index}.add"] = [*x.shape[2:], x.shape[1]]
    fc = [torch.tensor(weights[f"fc.{name}"]) for name in ("weight", "bias")]
    return F.linear(x.mean((2, 3)), *fc).numpy(), sizes


def compare_builder(program, arguments, weights, images, expected, sizes):
    what = f"{program}{arguments}"
    sent = for_keras(weights)
    answer = run_builder(program=program, arguments=arguments, weights=sent, images=images)
    exam.equal(answer["sizes"], sizes, f"{what}: sizes of the blocks")
    shapes = {name: list(array.shape) for name, array in sent.items()}
    exam.equal(answer["weights"], shapes, f"{what}: weights")
    exam.close(answer["out"], expected, f"{what}: logits", rtol=1e-3, atol=1e-4)


right = False
with exam.part(2, "the fix: sizes of the stages, and the logits with given weights"):
    for stages in (2, 3):
        depths = tuple(exam.rng.integers(1, 3, size=stages).tolist())
        width, classes = (int(n) for n in exam.rng.integers(2, 6, size=2))
        size = 4 * int(exam.rng.integers(2, 5))
        widths = [width * 2**stage for stage in range(stages)]
        weights = lively(network_shapes(depths, widths, classes))
        images = exam.rng.normal(size=(2, size, size, 3)).astype("float32")
        pictures = torch.tensor(images.transpose(0, 3, 1, 2).copy())
        arguments = (depths, width, size, classes)
        expected = network(weights, pictures, depths)
        compare_builder("build_fixed_4", arguments, weights, images, *expected)
    right = True
judge_check(try_builder, "check_4", "build_buggy_4", "build_fixed_4", right)
exam.score()


# %% test="bug_5"
right = False
with exam.part(2, "the fix: names of the weights, and the logits with given weights"):
    for blocks in (1, int(exam.rng.integers(2, 4))):
        channels, classes, size = (int(n) for n in exam.rng.integers(3, 8, size=3))
        weights = lively(network_shapes([blocks], [channels], classes))
        images = exam.rng.normal(size=(2, size, size, 3)).astype("float32")
        pictures = torch.tensor(images.transpose(0, 3, 1, 2).copy())
        arguments = (blocks, channels, size, classes)
        expected = network(weights, pictures, [blocks])
        compare_builder("build_fixed_5", arguments, weights, images, *expected)
    right = True
judge_check(try_builder, "check_5", "build_buggy_5", "build_fixed_5", right)
exam.score()


# %% test="bug_6"
right = False
with exam.part(2, "the fix: names and shapes for uneven depths, and the logits with given weights"):
    for stages in (4, 3, 1):
        depths = tuple((exam.rng.permutation(4) + 1)[:stages].tolist())
        widths = exam.rng.integers(2, 7, size=stages)
        widths, classes = tuple(widths.tolist()), int(exam.rng.integers(2, 8))
        shapes = network_shapes(depths, widths, classes)

        def reference(weights, x, training, depths=depths):
            return torch.tensor(network(weights, x, depths)[0])

        compare_class("Fixed6", (depths, widths, classes), shapes, (2, 3, 16, 16), reference)
    right = True
judge_check(try_class, "check_6", "Buggy6", "Fixed6", right)
exam.score()
