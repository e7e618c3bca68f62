"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="block_rows"
import numpy as np

from shared.classroom.exam import exam
from shared.networks import ResNetSpec, StemSpec


@exam.question
def rows_of(student, block, depths, widths, stem):
    stages = student.block_rows(block, depths, widths, stem)
    return {
        "rows": [[list(row) for row in rows] for rows in stages],
        "inputs": [depths, widths],
    }


@exam.question
def usual_rows_of(student, block, depths):
    return [[list(row) for row in rows] for rows in student.block_rows(block, depths)]


FIELDS = ("name", "block", "in_channels", "out_channels", "stride", "projection")


def make_spec(block, depths, widths, stem, **options):
    """The network as our package describes it."""
    return ResNetSpec(
        name="asked",
        block=block,
        depths=tuple(depths),
        widths=tuple(widths),
        stem=StemSpec(out_channels=stem),
        **options,
    )


def plain_rows(spec):
    """The rows that the package makes, as plain lists."""
    return [
        [
            [
                row.name,
                row.block,
                row.in_channels,
                row.out_channels,
                max(row.stride1, row.stride2),
                row.shortcut.kind == "conv_norm",
            ]
            for row in rows
        ]
        for rows in spec.stages()
    ]


def draw_plan(block, stages, most=4, stem=None):
    """Random depths, widths and channels of the stem. Neighbours among the widths may be equal."""
    depths = [*exam.rng.integers(1, most, size=stages - 1).tolist(), int(exam.rng.integers(2, 4))]
    widths = (2 * exam.rng.integers(1, 9, size=stages)).tolist()
    return block, depths, widths, widths[0] if stem is None else stem


def check_rows(plans, *columns):
    """Compares some columns of the rows."""
    for plan in plans:
        answer = rows_of(block=plan[0], depths=plan[1], widths=plan[2], stem=plan[3])
        wanted = plain_rows(make_spec(*plan))
        exam.require(isinstance(answer["rows"], list), f"block_rows{plan}: no list")
        exam.equal([len(rows) for rows in answer["rows"]], plan[1], f"depths of block_rows{plan}")
        exam.equal(answer["inputs"], [plan[1], plan[2]], "depths and widths after the call")
        for column in columns:
            at = FIELDS.index(column)
            exam.equal(
                [[row[at] for row in rows] for rows in answer["rows"]],
                [[row[at] for row in rows] for rows in wanted],
                f"{column} of block_rows{plan}",
            )


BOTH = ("BasicBlock", "Bottleneck")
with exam.part(1, "names and kinds, for all numbers of stages and blocks"):
    check_rows([draw_plan(block, n) for block in BOTH for n in range(1, 7)], "name", "block")
with exam.part(1, "strides"):
    check_rows([draw_plan(block, n) for block in BOTH for n in range(1, 7)], "stride")
with exam.part(1, "channels of BasicBlocks, whatever the stem puts out"):
    plans = [draw_plan("BasicBlock", n, stem=stem) for n, stem in ((2, 3), (3, None), (5, 20))]
    check_rows([*plans, draw_plan("BasicBlock", 4)], "in_channels", "out_channels")
with exam.part(1, "channels of Bottlenecks, whatever the stem puts out"):
    plans = [draw_plan("Bottleneck", n, stem=stem) for n, stem in ((2, 3), (3, None), (5, 20))]
    check_rows([*plans, draw_plan("Bottleneck", 4)], "in_channels", "out_channels")
with exam.part(1, "projections of networks with the usual widths"):
    for block in BOTH:
        for _ in range(3):
            depths = exam.rng.integers(1, 9, size=4).tolist()
            usual = make_spec(block, depths, (64, 128, 256, 512), 64)
            answer = usual_rows_of(block=block, depths=depths)
            exam.equal(answer, plain_rows(usual), f"block_rows({block}, {depths})")
with exam.part(1, "projections where the stem or equal widths make the difference"):
    for block, times in (("BasicBlock", 1), ("Bottleneck", 4)):
        width, other = exam.rng.choice(np.arange(2, 9), size=2, replace=False).tolist()
        check_rows(
            [
                (block, [2, 3, 1], [width, width, other], times * width),
                (block, [2, 1, 2], [width, other, other], width + 1),
                (block, [1, 2], [other, other], 4 * other + 1),
            ],
            "projection",
        )
exam.score()


# %% test="torch_network"
import torch

import resnet_torch
from shared.networks import layer_table


@exam.question
def torch_arrays(student, stages, options):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    with torch.device("meta"):
        state = student.ResNet(stages, **options).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def torch_shapes(student, stages, options, parts, sizes):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.ResNet(stages, **options).eval()
    shapes = []
    for part in parts:
        model.get_submodule(part).register_forward_hook(
            lambda module, inputs, out: shapes.append(list(out.shape))
        )
    with torch.no_grad():
        for height, width in sizes:
            shapes.append(list(model(torch.ones(2, options["in_channels"], height, width)).shape))
    return shapes


@exam.question
def torch_logits(student, stages, options, arrays, pictures):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.ResNet(stages, **options)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    model.eval()
    with torch.no_grad():
        return [model(torch.from_numpy(x)) for x in pictures]


def twin_of(spec):
    """Our own network."""
    return resnet_torch.create_model(spec, dtype="float64").eval()


def shapes_of(spec):
    """Names and shapes of all arrays of our own network."""
    with torch.device("meta"):
        state = resnet_torch.create_model(spec).state_dict()
    return {n: list(value.shape) for n, value in state.items() if "num_batches_tracked" not in n}


def true_shapes(spec, parts, sizes):
    """The shapes after these parts of our own network, and of the logits, for these sizes."""
    twin, shapes = resnet_torch.create_model(spec).eval(), []
    for part in parts:
        twin.get_submodule(part).register_forward_hook(
            lambda module, inputs, out: shapes.append(list(out.shape))
        )
    with torch.no_grad():
        for size in sizes:
            shapes.append(list(twin(torch.ones(2, spec.in_channels, *size)).shape))
    return shapes


def lively(spec):
    """Random weights: no BatchNorm is near a new one, and the variances are small."""
    arrays = {}
    for name, shape in shapes_of(spec).items():
        if len(shape) > 1:
            array = exam.rng.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            array = exam.rng.uniform(0.05, 0.5, size=shape)
        elif name.endswith("weight"):
            array = exam.rng.uniform(0.4, 0.9, size=shape)
        else:
            array = exam.rng.normal(size=shape) * 0.3
        arrays[name] = array.astype("float32")
    return arrays


def random_pictures(channels, sizes):
    """One batch of pictures (N, C, H, W) for each size."""
    return [
        exam.rng.normal(size=(2, channels, height, width)).astype("float32")
        for height, width in sizes
    ]


def true_logits(spec, arrays, pictures):
    """What our own network says, in float64."""
    twin = twin_of(spec)
    state = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    twin.load_state_dict(state)
    with torch.no_grad():
        return [twin(torch.from_numpy(x).double()).numpy() for x in pictures]


def same_logits(answer, expected, what):
    """Logits may be off by 1e-4 of the largest one."""
    exam.require(isinstance(answer, list) and len(answer) == len(expected), f"{what}: no logits")
    for one, other in zip(answer, expected, strict=True):
        limit = 1e-4 * float(np.abs(other).max())
        exam.close(one, other, what, rtol=0.0, atol=limit)


def draw_options(low=2):
    """Random numbers of classes and of channels of the pictures."""
    return {
        "num_classes": int(exam.rng.integers(2, 30)),
        "in_channels": int(exam.rng.integers(1, 6)),
    }


with exam.part(1, "names and shapes of the arrays, with the usual widths and 1000 classes"):
    for block in BOTH:
        spec = make_spec(block, [2, 1, 3, 1], (64, 128, 256, 512), 64)
        answer = torch_arrays(stages=plain_rows(spec), options={})
        exam.equal(answer, shapes_of(spec), f"{block}, arrays")
with exam.part(1, "names and shapes with other depths and widths"):
    for block in BOTH:
        for number in (1, 2, 3, 5):
            spec = make_spec(*draw_plan(block, number, stem=int(exam.rng.integers(3, 20))))
            answer = torch_arrays(stages=plain_rows(spec), options={})
            exam.equal(answer, shapes_of(spec), f"{block}, {spec.depths}, {spec.widths}, arrays")
with exam.part(1, "names and shapes with other classes and pictures"):
    for block in BOTH:
        options = {"num_classes": int(exam.rng.integers(2, 900)), "in_channels": 4}
        spec = make_spec(block, [1, 2, 1, 1], (64, 128, 256, 512), 64, **options)
        answer = torch_arrays(stages=plain_rows(spec), options=options)
        exam.equal(answer, shapes_of(spec), f"{block}, {options}, arrays")
with exam.part(1, "shapes after the stem, after each stage and of the logits, for several sizes"):
    for block in BOTH:
        options, sizes = draw_options(), [(64, 64), (49, 49), (70, 98), (224, 128)]
        spec = make_spec(*draw_plan(block, 4), **options)
        parts = ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        answer = torch_shapes(stages=plain_rows(spec), options=options, parts=parts, sizes=sizes)
        wanted = true_shapes(spec, parts, sizes)
        exam.equal(answer, wanted, f"shapes in a network of {block}")
for block in BOTH:
    with exam.part(1, f"logits of a network of {block}s"):
        for depths in ([1, 2, 1, 1], [2, 1, 2]):
            options, sizes = draw_options(), [(64, 64), (50, 34), (47, 47)]
            _, _, widths, stem = draw_plan(block, len(depths))
            spec = make_spec(block, depths, widths, stem, **options)
            arrays, pictures = lively(spec), random_pictures(options["in_channels"], sizes)
            answer = torch_logits(
                stages=plain_rows(spec), options=options, arrays=arrays, pictures=pictures
            )
            same_logits(answer, true_logits(spec, arrays, pictures), f"{block}, {depths}, logits")
exam.score()


# %% test="keras_network"
from shared.networks import count_parameters


@exam.question
def keras_facts(student, stages, options):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    return {
        "arrays": {f"{x.name}/{v.name}": list(v.shape) for x in model.layers for v in x.weights},
        "names": [layer.name for layer in model.layers],
        "trainable": sum(v.numpy().size for v in model.trainable_variables),
        "all": sum(v.numpy().size for v in model.variables),
    }


@exam.question
def keras_shapes(student, stages, options, names):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    return [list(model.get_layer(name).output.shape) for name in names] + [list(model.output.shape)]


@exam.question
def keras_logits(student, stages, options, arrays, pictures):
    import numpy as np

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(arrays[f"{layer.name}/{variable.name}"])
    logits = np.asarray(model(pictures, training=False))
    return {"logits": logits, "momentum": float(model.get_layer("bn1").momentum)}


def in_keras(arrays):
    """The same arrays with Keras' names and layouts."""
    kinds = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    made = {}
    for name, array in arrays.items():
        layer, kind = name.rsplit(".", 1)
        if array.ndim > 1:
            axes = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
            made[f"{layer}/kernel"] = array.transpose(axes).copy()
        elif layer == "fc":
            made["fc/bias"] = array
        else:
            made[f"{layer}/{kinds.get(kind, {'weight': 'gamma', 'bias': 'beta'}.get(kind))}"] = (
                array
            )
    return made


def check_facts(facts, spec, what):
    """Arrays, their numbers, and names of the layers without arrays."""
    empty = {name: np.empty(shape, "float32") for name, shape in shapes_of(spec).items()}
    wanted = {name: list(array.shape) for name, array in in_keras(empty).items()}
    exam.equal(facts["arrays"], wanted, f"arrays of {what}")
    exam.equal(facts["trainable"], count_parameters(spec), f"trainable numbers of {what}")
    exam.equal(facts["all"], sum(a.size for a in empty.values()), f"numbers in {what}")
    exam.require(isinstance(facts["names"], list), "names")
    for name in ("relu1", "maxpool", "avgpool"):
        exam.require(name in facts["names"], f"{what} has no layer {name}")


def check_keras_logits(plans, size):
    for block, depths in plans:
        options = draw_options()
        _, _, widths, stem = draw_plan(block, len(depths))
        spec = make_spec(block, depths, widths, stem, **options)
        arrays, pictures = lively(spec), random_pictures(options["in_channels"], [(size, size)])
        answer = keras_logits(
            stages=plain_rows(spec),
            options={**options, "size": size},
            arrays=in_keras(arrays),
            pictures=pictures[0].transpose(0, 2, 3, 1).copy(),
        )
        what = f"{block}, {depths}, {size} pixels, logits"
        same_logits([answer["logits"]], true_logits(spec, arrays, pictures), what)
        yield answer


with exam.part(
    1, "names, shapes and numbers of the arrays, with the usual widths and 1000 classes"
):
    for block in BOTH:
        spec = make_spec(block, [1, 1, 2, 1], (64, 128, 256, 512), 64)
        check_facts(keras_facts(stages=plain_rows(spec), options={}), spec, f"a network of {block}")
with exam.part(1, "names, shapes and numbers with other widths, classes and pictures"):
    for block, number in (("BasicBlock", 3), ("Bottleneck", 5)):
        options = {"num_classes": int(exam.rng.integers(2, 90)), "in_channels": 4}
        stem = int(exam.rng.integers(3, 20))
        spec = make_spec(*draw_plan(block, number, 3, stem), **options, input_size=96)
        facts = keras_facts(stages=plain_rows(spec), options={**options, "size": 96})
        check_facts(facts, spec, f"a network of {block}")
with exam.part(1, "shapes after the stem, after each stage and of the logits, for several sizes"):
    for block, size in (("BasicBlock", 49), ("BasicBlock", 128), ("Bottleneck", 70)):
        options = draw_options()
        spec = make_spec(*draw_plan(block, 4, 3), **options, input_size=size)
        rows = {row.name: row.output_shape for row in layer_table(spec, size)}
        relu = "relu2" if block == "BasicBlock" else "relu3"
        names = ["conv1", "maxpool", *(f"{stage[-1].name}.{relu}" for stage in spec.stages())]
        answer = keras_shapes(
            stages=plain_rows(spec), options={**options, "size": size}, names=names
        )
        wanted = [[None, *rows[name][1:], rows[name][0]] for name in names]
        exam.equal(
            answer, [*wanted, [None, options["num_classes"]]], f"shapes, {block}, {size} pixels"
        )
with exam.part(1, "logits where all sizes are odd; momentum of the stem"):
    for answer in check_keras_logits([("BasicBlock", [1, 2, 1]), ("Bottleneck", [1, 1, 1])], 33):
        exam.close(answer["momentum"], 0.9, "momentum of bn1", rtol=0.0, atol=1e-6)
with exam.part(2, "logits where sizes are even, too"):
    list(check_keras_logits([("BasicBlock", [1, 2, 1, 1]), ("Bottleneck", [1, 2, 1])], 64))
exam.score()


# %% test="five_networks"
from shared.networks import get_spec


@exam.question
def torch_counts(student, numbers, options):
    import torch

    counts = []
    for number in numbers:
        with torch.device("meta"):
            model = student.make_torch(number, **options)
        counts.append(sum(p.numel() for p in model.parameters()))
    return counts


@exam.question
def torch_names(student, number, options):
    import torch

    with torch.device("meta"):
        state = student.make_torch(number, **options).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def keras_network_facts(student, number, options):
    model = student.make_keras(number, **options)
    return {
        "arrays": {f"{x.name}/{v.name}": list(v.shape) for x in model.layers for v in x.weights},
        "names": [layer.name for layer in model.layers],
        "trainable": sum(v.numpy().size for v in model.trainable_variables),
        "all": sum(v.numpy().size for v in model.variables),
    }


ALL_FIVE = [18, 34, 50, 101, 152]
with exam.part(1, "parameters of the five networks, as torchvision has them"):
    exam.equal(
        torch_counts(numbers=ALL_FIVE, options={}),
        [11_689_512, 21_797_672, 25_557_032, 44_549_160, 60_192_808],
        "parameters",
    )
with exam.part(1, "parameters of the five with other classes and pictures"):
    options = draw_options()
    specs = [get_spec(f"resnet{number}", **options) for number in ALL_FIVE]
    exam.equal(
        torch_counts(numbers=ALL_FIVE, options=options),
        [count_parameters(spec) for spec in specs],
        f"parameters with {options}",
    )
with exam.part(1, "names and shapes of all arrays in ResNet-18, 50 and 101"):
    for number in (18, 50, 101):
        options = draw_options()
        answer = torch_names(number=number, options=options)
        exam.equal(answer, shapes_of(get_spec(f"resnet{number}", **options)), f"ResNet-{number}")
with exam.part(1, "ResNet-34 and 50 in Keras: names, shapes and numbers"):
    for number in (34, 50):
        options = {**draw_options(), "size": 64}
        answer = keras_network_facts(number=number, options=options)
        spec = get_spec(
            f"resnet{number}",
            num_classes=options["num_classes"],
            in_channels=options["in_channels"],
        )
        check_facts(answer, spec, f"ResNet-{number}")
exam.score()


# %% test="stage_table"
@exam.question
def table_of(student, stages, size):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    return [list(line) for line in student.stage_table(stages, size)]


def true_table(spec, size):
    """The same table from the package's list of layers."""
    layers = layer_table(spec, size)
    table = []
    for rows in spec.stages():
        stage = rows[0].name.split(".")[0]
        inside = [layer for layer in layers if layer.name.startswith(f"{stage}.")]
        channels, height, _ = inside[-1].output_shape
        table.append([stage, channels, height, sum(layer.parameters for layer in inside)])
    return table


def check_tables(block, *columns):
    """Compares some columns of the table, for random rows and sizes."""
    for number in (1, 3, 4, 5):
        size = int(exam.rng.integers(65, 300))
        spec = make_spec(*draw_plan(block, number, stem=int(exam.rng.integers(3, 20))))
        answer = table_of(stages=plain_rows(spec), size=size)
        exam.require(isinstance(answer, list), "no list")
        for at in columns:
            exam.equal(
                [line[at] for line in answer],
                [line[at] for line in true_table(spec, size)],
                f"column {at} for {spec.block}, {spec.depths}, {spec.widths}, {size} pixels",
            )


with exam.part(1, "names, channels and heights"):
    for block in BOTH:
        check_tables(block, 0, 1, 2)
with exam.part(1, "parameters of stages of BasicBlocks"):
    check_tables("BasicBlock", 3)
with exam.part(1, "parameters of stages of Bottlenecks"):
    check_tables("Bottleneck", 3)
exam.score()
