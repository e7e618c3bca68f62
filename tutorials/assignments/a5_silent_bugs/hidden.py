"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="evaluate"
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.classroom.exam import exam


@exam.question
def ask_network(student, function, weights, images, labels, size, mode):
    """A small network with these weights goes through a function of the student."""
    import torch
    from torch import nn

    width, classes = weights["1.weight"].shape[0], weights["5.weight"].shape[0]
    model = nn.Sequential(
        nn.Conv2d(2, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.5 if function == "evaluate" else 0.0),
        nn.Flatten(),
        nn.Linear(16 * width, classes),
    )
    model.load_state_dict({n: torch.tensor(v) for n, v in weights.items()})
    model.train(mode)
    if function == "evaluate":
        value = student.evaluate(model, torch.tensor(images), torch.tensor(labels), batch_size=size)
    else:
        value = student.mode_gap(model, torch.tensor(images))
    modes = [bool(m.training) for m in model.modules()]
    return {"value": value, "modes": modes, "state": dict(model.state_dict())}


def small_network():
    """Random weights, with lively running statistics, by name."""
    width, classes = int(exam.rng.integers(3, 7)), int(exam.rng.integers(3, 8))
    weights = {
        "0.weight": exam.rng.normal(size=(width, 2, 3, 3)) * 0.4,
        "0.bias": exam.rng.normal(size=width),
        "1.weight": exam.rng.uniform(0.5, 1.5, size=width),
        "1.bias": exam.rng.normal(size=width) * 0.5,
        "1.running_mean": exam.rng.normal(size=width),
        "1.running_var": exam.rng.uniform(0.3, 3.0, size=width),
        "5.weight": exam.rng.normal(size=(classes, 16 * width)) * 0.3,
        "5.bias": exam.rng.normal(size=classes) * 0.3,
    }
    weights = {n: v.astype("float32") for n, v in weights.items()}
    return weights | {"1.num_batches_tracked": np.array(int(exam.rng.integers(3, 90)))}


def logits_of(weights, images, training):
    """What that network answers, without dropout."""
    w = {n: torch.tensor(v) for n, v in weights.items()}
    x = F.conv2d(torch.tensor(images), w["0.weight"], w["0.bias"])
    statistics = (w["1.running_mean"].clone(), w["1.running_var"].clone())
    x = F.batch_norm(x, *statistics, w["1.weight"], w["1.bias"], training)
    return F.linear(x.relu().flatten(1), w["5.weight"], w["5.bias"]).numpy()


def evaluated(mode):
    """One evaluation: what came back, and what should have."""
    weights = small_network()
    images = exam.rng.normal(size=(90, 2, 6, 6)).astype("float32")
    best = np.sort(logits_of(weights, images, False), axis=1)
    images = images[best[:, -1] - best[:, -2] > 1e-3]  # rounding decides nothing
    answers = logits_of(weights, images, False).argmax(1)
    labels = np.where(exam.rng.random(len(answers)) < 0.7, answers, 0)
    size = int(exam.rng.integers(3, 20))
    got = ask_network(
        function="evaluate", weights=weights, images=images, labels=labels, size=size, mode=mode
    )
    exam.close(got["value"], float((answers == labels).mean()), f"accuracy, training={mode}")
    exam.equal(got["state"], weights, f"the model after evaluate, training={mode}")
    return got


def gap_asked(mode):
    weights = small_network()
    images = exam.rng.normal(size=(12, 2, 6, 6)).astype("float32")
    got = ask_network(
        function="mode_gap", weights=weights, images=images, labels=[], size=0, mode=mode
    )
    gap = np.abs(logits_of(weights, images, True) - logits_of(weights, images, False)).max()
    exam.close(got["value"], float(gap), f"mode_gap, training={mode}", rtol=1e-3, atol=1e-4)
    return weights, got


with exam.part(1, "evaluate: the accuracy in evaluation mode; no running statistic changes"):
    for _ in range(4):
        evaluated(True)
with exam.part(1, "evaluate: the mode of the model is as before"):
    for mode in (True, False, True):
        exam.equal(evaluated(mode)["modes"], [mode] * 7, f"modes, training={mode}")
with exam.part(1, "mode_gap: the number"):
    for mode in (True, False, True):
        gap_asked(mode)
with exam.part(1, "mode_gap: the model is left as it was"):
    for mode in (True, False):
        weights, got = gap_asked(mode)
        exam.equal(got["modes"], [mode] * 7, f"modes, training={mode}")
        exam.equal(got["state"], weights, f"the model after mode_gap, training={mode}")
exam.score()


# %% test="train_with_drops"
@exam.question
def ask_training(student, weights, images, labels, rate, drops, factor):
    """Trains a small network in float64; its weights afterwards."""
    import torch
    from torch import nn

    inputs, hidden, classes = images.shape[2], weights["0.weight"].shape[0], len(weights["2.bias"])
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes)).double()
    model.load_state_dict({n: torch.tensor(v) for n, v in weights.items()})
    batches = list(zip(torch.tensor(images), torch.tensor(labels), strict=True))
    losses = student.train_with_drops(model, batches, rate, tuple(drops), factor)
    return {"losses": losses, "weights": dict(model.state_dict())}


def trained_by_formula(weights, images, labels, rate, drops, factor):
    """SGD with momentum, written out."""
    w = {n: torch.tensor(v, requires_grad=True) for n, v in weights.items()}
    velocity, losses = dict.fromkeys(w, 0.0), []
    for step, (x, y) in enumerate(zip(torch.tensor(images), torch.tensor(labels), strict=True)):
        rate = rate * factor if step in drops else rate
        x = F.linear(x, w["0.weight"], w["0.bias"]).tanh()
        loss = F.cross_entropy(F.linear(x, w["2.weight"], w["2.bias"]), y)
        gradients = torch.autograd.grad(loss, list(w.values()))
        losses.append(loss.item())
        with torch.no_grad():
            for (name, value), gradient in zip(w.items(), gradients, strict=True):
                velocity[name] = 0.9 * velocity[name] + gradient
                value -= rate * velocity[name]
    return {"losses": losses, "weights": {n: v.detach().numpy() for n, v in w.items()}}


def compare_training(drops, factor):
    inputs, hidden, classes = (int(n) for n in exam.rng.integers(3, 7, size=3))
    weights = {
        "0.weight": exam.rng.normal(size=(hidden, inputs)),
        "0.bias": exam.rng.normal(size=hidden),
        "2.weight": exam.rng.normal(size=(classes, hidden)),
        "2.bias": exam.rng.normal(size=classes),
    }
    case = {
        "weights": weights,
        "images": exam.rng.normal(size=(14, 6, inputs)),
        "labels": exam.rng.integers(0, classes, size=(14, 6)),
        "rate": float(exam.rng.uniform(0.1, 0.4)),
        "drops": drops,
        "factor": factor,
    }
    expected = trained_by_formula(**case)
    exam.close(ask_training(**case), expected, f"drops {drops} by {factor}", rtol=1e-7, atol=1e-9)


with exam.part(1, "one drop: losses and weights"):
    for _ in range(3):
        compare_training([int(exam.rng.integers(2, 11))], 0.1)
with exam.part(1, "several drops, other factors"):
    for factor in (0.5, 0.2, 0.1):
        compare_training(sorted(int(n) for n in exam.rng.permutation(np.arange(1, 12))[:3]), factor)


@exam.question
def ask_length(student, gradients):
    """Three parameters; the last one never gets a gradient."""
    import torch
    from torch import nn

    values = [
        nn.Parameter(torch.zeros(3, 4)),
        nn.Parameter(torch.zeros(5)),
        nn.Parameter(torch.zeros(2)),
    ]
    sgd = torch.optim.SGD(
        [{"params": values[:1]}, {"params": values[1:], "lr": 0.5}], lr=0.1, momentum=0.9
    )
    lengths = [student.momentum_length(sgd)]
    for first, second in gradients:
        values[0].grad, values[1].grad = torch.tensor(first), torch.tensor(second)
        sgd.step()
        lengths.append(student.momentum_length(sgd))
    return lengths


with exam.part(1, "momentum_length"):
    gradients, velocity, expected = [], np.zeros(17), [0.0]
    for _ in range(4):
        both = exam.rng.normal(size=17).astype("float32")
        gradients.append([both[:12].reshape(3, 4), both[12:]])
        velocity = 0.9 * velocity + both
        expected.append(float(np.sqrt((velocity**2).sum())))
    exam.close(ask_length(gradients=gradients), expected, "lengths", rtol=1e-4, atol=1e-9)
exam.score()


# %% test="BasicBlock"
@exam.question
def ask_block(student, case, weights, images, training):
    """Builds the block, gives it weights by name and runs it."""
    import torch

    block = student.BasicBlock(*case)
    own = block.state_dict()
    shapes = {n: list(t.shape) for n, t in own.items() if not n.endswith("num_batches_tracked")}
    answer = {"shapes": shapes}
    if shapes == {n: list(v.shape) for n, v in weights.items()}:
        block.load_state_dict({n: torch.tensor(v) for n, v in weights.items()}, strict=False)
        block.train(training)
        with torch.no_grad():
            answer["out"] = block(torch.tensor(images))
        answer["state"] = {n: block.state_dict()[n] for n in weights}
    return answer


def block_weights(case):
    channels, wide, stride = case
    convs = {"conv1": (wide, channels, 3, 3), "conv2": (wide, wide, 3, 3)}
    norms = ["bn1", "bn2"]
    if stride != 1 or channels != wide:
        convs["downsample.0"] = (wide, channels, 1, 1)
        norms.append("downsample.1")
    weights = {
        f"{n}.weight": exam.rng.normal(size=s) * np.prod(s[1:]) ** -0.5 for n, s in convs.items()
    }
    for name in norms:
        weights[f"{name}.weight"] = exam.rng.uniform(0.5, 1.5, size=wide)
        weights[f"{name}.bias"] = exam.rng.normal(size=wide) * 0.5
        weights[f"{name}.running_mean"] = exam.rng.normal(size=wide) * 0.5
        weights[f"{name}.running_var"] = exam.rng.uniform(0.4, 2.0, size=wide)
    return {n: v.astype("float32") for n, v in weights.items()}


def block_output(weights, images, stride, training):
    """The block from its numbers alone, and these numbers afterwards."""
    w = {n: torch.tensor(v) for n, v in weights.items()}

    def layer(x, conv, norm, stride):
        kernel = w[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(w[f"{norm}.{n}"] for n in names), training)

    x = torch.tensor(images)
    out = layer(layer(x, "conv1", "bn1", stride).relu(), "conv2", "bn2", 1)
    if "downsample.0.weight" in w:
        x = layer(x, "downsample.0", "downsample.1", stride)
    return (out + x).relu().numpy(), {n: v.numpy() for n, v in w.items()}


def compare_block(case, training):
    weights = block_weights(case)
    images = (2 * exam.rng.normal(size=(4, case[0], 8, 6)) + 0.3).astype("float32")
    got = ask_block(case=case, weights=weights, images=images, training=training)
    shapes = {n: list(v.shape) for n, v in weights.items()}
    exam.equal(got["shapes"], shapes, f"BasicBlock{case}: names and shapes")
    out, state = block_output(weights, images, case[2], training)
    exam.close(got["out"], out, f"BasicBlock{case}: output", rtol=1e-3, atol=1e-4)
    exam.close(got["state"], state, f"BasicBlock{case}: weights after", rtol=1e-3, atol=1e-4)


def projections():
    c, more = (int(n) for n in exam.rng.integers(2, 7, size=2))
    return [(c, c + more, 2), (c, c + more, 1), (c, c, 2)]


with exam.part(1, "names and shapes, with and without a projection"):
    c = int(exam.rng.integers(2, 9))
    for case in [*projections(), (c, c, 1)]:
        got = ask_block(case=case, weights={}, images=np.zeros(1), training=False)
        shapes = {n: list(v.shape) for n, v in block_weights(case).items()}
        exam.equal(got["shapes"], shapes, f"BasicBlock{case}: names and shapes")
with exam.part(1, "output of a block with a projection, evaluation mode"):
    for case in projections():
        compare_block(case, training=False)
with exam.part(1, "output and running statistics of a block with a projection, training mode"):
    for case in projections():
        compare_block(case, training=True)
exam.score()


# %% test="build_network"
@exam.question
def ask_names(student, width, classes):
    """The names and shapes of the weights of a new network, and which are trained."""
    model = student.build_network(width, classes)
    rows = {}
    for layer in model.layers:
        for weight in layer.weights:
            rows[f"{layer.name}/{weight.name}"] = [list(weight.shape), bool(weight.trainable)]
    return rows


@exam.question
def ask_output(student, width, classes, size, weights, images, training):
    """The network of build_network with these weights, given by the name of the layer."""
    import numpy as np

    model = student.build_network(width, classes, size)
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return np.asarray(model(images, training=training))


@exam.question
def ask_moved(student, width, classes, weights, images):
    """Moves the weights of a network with biases."""
    import numpy as np
    from keras import Input, Model, layers

    def conv(x, channels, kernel_size, name):
        return layers.Conv2D(channels, kernel_size, padding="same", name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = Input((8, 8, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    maps = conv(x, classes, 1, "maps")
    old = Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(maps))
    for name, values in weights.items():
        old.get_layer(name).set_weights(values)
    new = student.build_network(width, classes)
    student.move_weights(old, new)
    kept = {name: old.get_layer(name).get_weights() for name in weights}
    extra = [layer.name for layer in new.layers if getattr(layer, "use_bias", False)]
    return {"out": np.asarray(new(images, training=False)), "old": kept, "biases": extra}


PAIRS = {"conv1": "bn1", "layer1.0.conv1": "layer1.0.bn1", "layer1.0.conv2": "layer1.0.bn2"}


def keras_weights(width, classes, biases):
    """By the name of the layer, in the order of Keras."""
    weights = {}
    for conv, norm in PAIRS.items():
        channels = 1 if conv == "conv1" else width
        kernel = exam.rng.normal(size=(3, 3, channels, width)) * (9 * channels) ** -0.5
        bias = exam.rng.normal(size=width)
        weights[conv] = [kernel, bias] if biases else [kernel]
        scales = exam.rng.uniform(0.5, 1.5, size=(2, width))
        shifts = exam.rng.normal(size=(2, width)) * 0.5
        weights[norm] = [scales[0], shifts[0], shifts[1], scales[1]]
    kernel = exam.rng.normal(size=(1, 1, width, classes))
    weights["maps"] = [kernel, exam.rng.normal(size=classes)]
    return {n: [v.astype("float32") for v in values] for n, values in weights.items()}


def keras_output(weights, images, training=False):
    """The same network from its numbers alone, computed with PyTorch."""

    def layer(x, conv, norm):
        kernel, *bias = (torch.tensor(v) for v in weights[conv])
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), *bias, padding=kernel.shape[0] // 2)
        if norm:
            gamma, beta, mean, variance = (torch.tensor(v) for v in weights[norm])
            x = F.batch_norm(x, mean, variance, gamma, beta, training)
        return x

    x = layer(torch.tensor(images.transpose(0, 3, 1, 2).copy()), "conv1", "bn1").relu()
    out = layer(x, "layer1.0.conv1", "layer1.0.bn1").relu()
    out = layer(out, "layer1.0.conv2", "layer1.0.bn2")
    return layer((out + x).relu(), "maps", None).mean((2, 3)).numpy()


def network_names(width, classes):
    rows = {}
    for conv, norm in PAIRS.items():
        rows[f"{conv}/kernel"] = [[3, 3, 1 if conv == "conv1" else width, width], True]
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            rows[f"{norm}/{name}"] = [[width], not name.startswith("moving")]
    return rows | {"maps/kernel": [[1, 1, width, classes], True], "maps/bias": [[classes], True]}


def sizes():
    return (int(n) for n in exam.rng.integers(3, 8, size=2))


with exam.part(1, "build_network: names and shapes, a bias in maps only"):
    for _ in range(2):
        width, classes = sizes()
        answer = ask_names(width=width, classes=classes)
        exam.equal(answer, network_names(width, classes), "the weights of build_network")
with exam.part(1, "build_network: the logits with given weights"):
    for size, training in ((8, False), (6, True)):
        width, classes = sizes()
        answer = ask_names(width=width, classes=classes)
        exam.equal(answer, network_names(width, classes), "the weights of build_network")
        weights = keras_weights(width, classes, biases=False)
        images = exam.rng.normal(size=(4, size, size, 1)).astype("float32")
        case = {"width": width, "classes": classes, "size": size, "weights": weights}
        answer = ask_output(**case, images=images, training=training)
        expected = keras_output(weights, images, training)
        exam.close(answer, expected, "the logits of build_network", rtol=1e-3, atol=1e-4)
with exam.part(2, "move_weights: the logits of a trained network with biases"):
    for _ in range(2):
        width, classes = sizes()
        weights = keras_weights(width, classes, biases=True)
        images = exam.rng.normal(size=(4, 8, 8, 1)).astype("float32")
        answer = ask_moved(width=width, classes=classes, weights=weights, images=images)
        exam.equal(answer["biases"], ["maps"], "layers with a bias")
        exam.equal(answer["old"], weights, "the old network after move_weights")
        expected = keras_output(weights, images)
        exam.close(answer["out"], expected, "the logits after move_weights", rtol=1e-3, atol=1e-4)
exam.score()


# %% test="random_crop"
@exam.question
def ask_crops(student, images, padding, seeds):
    """Crops with a new generator for each seed, and once more with the last one."""
    import numpy as np

    before, found = images.copy(), []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        np.random.seed(len(found))  # the global generator is of no use
        found.append(student.random_crop(images, padding, generator))
    found.append(student.random_crop(images, padding, generator))
    return {"crops": found, "unchanged": bool(np.array_equal(images, before))}


def offsets(crops, images, padding):
    """Where each crop was cut out of its padded picture."""
    exam.require(isinstance(crops, np.ndarray), "the crops are no array")
    exam.require(crops.shape == images.shape, f"shape {crops.shape} instead of {images.shape}")
    exam.require(crops.dtype == images.dtype, f"dtype {crops.dtype} instead of {images.dtype}")
    padded = np.pad(images, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    height, width = images.shape[1:3]
    found = np.full((len(images), 2), -1)
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            pieces = padded[:, top : top + height, left : left + width]
            found[(pieces == crops).all(axis=(1, 2, 3))] = top, left
    exam.require((found >= 0).all(), "a crop is no piece of its padded picture")
    return found


def crop_case(count, padding, seeds):
    height, width, channels = (int(n) for n in exam.rng.integers(5, 9, size=3))
    shape = (count, height, width, channels % 3 + 1)
    images = exam.rng.integers(1, 256, size=shape)
    images = images.astype(exam.rng.choice(["uint8", "float32"]))
    answer = ask_crops(images=images, padding=padding, seeds=seeds)
    exam.equal(answer["unchanged"], True, "the pictures are unchanged")
    return [offsets(crops, images, padding) for crops in answer["crops"]]


with exam.part(1, "pieces of the padded pictures, at more than one place"):
    for padding in (1, 2, 3):
        first, _ = crop_case(60, padding, [int(exam.rng.integers(10**6))])
        exam.require(len(np.unique(first, axis=0)) > 1, "all crops are from one place")
with exam.part(1, "every place occurs, for each picture anew, rows and columns independent"):
    for padding in (1, 2):
        first, _ = crop_case(1500, padding, [int(exam.rng.integers(10**6))])
        _, counts = np.unique(first, axis=0, return_counts=True)
        places = (2 * padding + 1) ** 2
        exam.equal(len(counts), places, f"places with a padding of {padding}")
        share = counts * places / 1500
        exam.require(share.min() > 0.3 and share.max() < 2, "some places are far too rare")
with exam.part(1, "the generator decides, and it goes on"):
    seed = int(exam.rng.integers(10**6))
    one, same, other, further = crop_case(80, 2, [seed, seed, seed + 1])
    exam.require(len(np.unique(one, axis=0)) > 1, "all crops are from one place")
    exam.equal(same, one, "places with the same seed")
    exam.require(not np.array_equal(other, one), "another seed gives the same places")
    exam.require(not np.array_equal(further, other), "the second batch has the places of the first")
exam.score()


# %% test="loss_and_gradients"
@exam.question
def ask_loss(student, kernel, bias, images, labels):
    """Loss and gradients of a dense layer that outputs logits."""
    import numpy as np
    from keras import Input, Sequential, layers

    model = Sequential([Input((kernel.shape[0],)), layers.Dense(kernel.shape[1])])
    model.set_weights([kernel, bias])
    loss, gradients = student.loss_and_gradients(model, images, labels)
    return {"loss": float(loss), "gradients": [np.asarray(g) for g in gradients]}


def loss_case(scale):
    """What came back, and the same in NumPy, in float64."""
    inputs, classes = (int(n) for n in exam.rng.integers(3, 8, size=2))
    count = int(exam.rng.integers(6, 15))
    kernel = (scale * exam.rng.normal(size=(inputs, classes))).astype("float32")
    bias = (0.5 * exam.rng.normal(size=classes)).astype("float32")
    images = exam.rng.normal(size=(count, inputs)).astype("float32")
    logits = images.astype("float64") @ kernel + bias  # (N, classes)
    labels = exam.rng.integers(0, classes, size=count)
    if scale > 1:
        labels[: count // 2] = logits[: count // 2].argmin(axis=1)  # sure and wrong
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = np.eye(classes)[labels]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    slopes = (shares - right) / count
    expected = {
        "loss": float(-(log_shares * right).sum() / count),
        "gradients": [images.astype("float64").T @ slopes, slopes.sum(axis=0)],
    }
    return ask_loss(kernel=kernel, bias=bias, images=images, labels=labels), expected


assert round(float(np.log(np.e + 9)) - 1, 2) == 1.46  # the loss that the text speaks of
with exam.part(1, "the loss"):
    for _ in range(4):
        got, expected = loss_case(0.7)
        exam.close(got["loss"], expected["loss"], "loss", rtol=1e-4)
with exam.part(1, "the gradients"):
    for _ in range(4):
        got, expected = loss_case(0.7)
        exam.close(got["gradients"], expected["gradients"], "gradients", rtol=1e-3, atol=1e-5)
with exam.part(1, "loss and gradients where the network is sure and wrong"):
    for _ in range(4):
        got, expected = loss_case(25.0)
        exam.close(got, expected, "sure and wrong", rtol=1e-3, atol=1e-3)
exam.score()


# %% test="epoch_accuracy"
@exam.question
def ask_accuracy(student, function, epochs):
    """Makes tensors of the batches of one or of several epochs."""
    import torch

    epochs = [[(torch.tensor(z), torch.tensor(y)) for z, y in batches] for batches in epochs]
    value = (
        student.epoch_accuracy(epochs[0]) if function == "accuracy" else student.best_epoch(epochs)
    )
    return [value, type(value).__name__]


def epoch_with(counts, sizes):
    """Batches of these sizes with this many right answers, in a random order."""
    batches = []
    for right, size in zip(counts, sizes, strict=True):
        labels = exam.rng.integers(0, 5, size=size)
        answers = (labels + (exam.rng.permutation(size) >= right)) % 5
        logits = exam.rng.normal(size=(size, 5)) + 20 * np.eye(5)[answers]
        batches.append([logits.astype("float32"), labels])
    return batches


def check_accuracy(counts, sizes):
    got = ask_accuracy(function="accuracy", epochs=[epoch_with(counts, sizes)])
    exam.equal(got[1], "float", "type of the accuracy")
    percent = 100 * sum(counts) / sum(sizes)
    exam.close(got[0], float(percent), f"{counts} right of {sizes}", rtol=1e-5)


with exam.part(1, "batches of equal size: a float that is not rounded"):
    for _ in range(5):
        size = int(exam.rng.integers(7, 40))
        check_accuracy(exam.rng.integers(1, size, size=4).tolist(), [size] * 4)
with exam.part(1, "a smaller last batch: every image counts the same"):
    for _ in range(5):
        size, last = int(exam.rng.integers(20, 40)), int(exam.rng.integers(2, 6))
        counts = [*exam.rng.integers(size // 2, size, size=3).tolist(), 1]
        check_accuracy(counts, [size] * 3 + [last])
with exam.part(1, "best_epoch, where the epochs are close"):
    for _ in range(6):
        counts = 490 + exam.rng.permutation(4)  # of 500: 98.0 to 98.6 per cent
        if counts[0] == 493:
            counts = counts[::-1]  # the best is not the first
        epochs = [epoch_with([int(n) - 300, 300], [200, 300]) for n in [*counts, 493]]
        got = ask_accuracy(function="best", epochs=epochs)
        exam.equal(got[0], int(counts.argmax()) + 1, f"the best of {counts.tolist()} of 500")
exam.score()


# %% test="make_loader"
@exam.question
def ask_loader(student, labels, size, seed, between, epochs):
    """The numbers of the images and their labels, epoch for epoch; and the sizes of the batches."""
    import torch

    torch.manual_seed(between)
    count = len(labels)
    images = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1).repeat(1, 1, 2, 2)
    loader = student.make_loader(images, torch.tensor(labels), size, seed)
    numbers, classes, sizes = [], [], []
    for epoch in range(epochs):
        torch.manual_seed(between + epoch)
        batches = [(x[:, 0, 0, 0].long(), y) for x, y in loader]
        numbers.append(torch.cat([x for x, _ in batches]))
        classes.append(torch.cat([y for _, y in batches]))
        sizes.append([len(y) for _, y in batches])
    return {"numbers": numbers, "classes": classes, "sizes": sizes}


def shown(labels, size, seed, between=0, epochs=3):
    """The orders of some epochs, after all images were found once, with their labels."""
    answer = ask_loader(labels=labels, size=size, seed=seed, between=between, epochs=epochs)
    sizes = [min(size, len(labels) - start) for start in range(0, len(labels), size)]
    exam.equal(answer["sizes"], [sizes] * epochs, "sizes of the batches")
    for numbers, classes in zip(answer["numbers"], answer["classes"], strict=True):
        exam.equal(np.sort(numbers), np.arange(len(labels)), "every image once")
        exam.equal(classes, labels[numbers], "the labels of the images")
        exam.require(not np.array_equal(numbers, np.arange(len(labels))), "the order of the files")
    orders = [numbers.tolist() for numbers in answer["numbers"]]
    exam.require(len({str(order) for order in orders}) == epochs, "two epochs have one order")
    return orders


def sorted_labels():
    return np.sort(exam.rng.integers(0, 6, size=int(exam.rng.integers(40, 70))))


with exam.part(1, "every epoch: all images once, with their labels, in a new order"):
    for _ in range(3):
        shown(sorted_labels(), int(exam.rng.integers(5, 12)), int(exam.rng.integers(10**6)))
with exam.part(1, "the seed decides about the orders, and nothing else does"):
    labels, seed = sorted_labels(), int(exam.rng.integers(10**6))
    first = shown(labels, 8, seed)
    exam.equal(shown(labels, 8, seed, between=77), first, "the orders with the same seed")
    exam.require(shown(labels, 8, seed + 1) != first, "another seed, the same orders")


@exam.question
def ask_classes(student, batches):
    import torch

    return student.classes_per_batch([(torch.zeros(len(y), 1), torch.tensor(y)) for y in batches])


with exam.part(1, "classes_per_batch"):
    for _ in range(4):
        sizes = exam.rng.integers(1, 12, size=int(exam.rng.integers(3, 8)))
        batches = [exam.rng.integers(0, 7, size=int(n)) for n in sizes]
        mean = float(np.mean([len(set(y.tolist())) for y in batches]))
        exam.close(ask_classes(batches=batches), mean, "classes per batch")
exam.score()
