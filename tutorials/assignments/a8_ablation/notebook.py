# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
import csv
import json
import shutil
import statistics
import tempfile
import tomllib
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath

import matplotlib.pyplot as plt
import numpy as np

from shared.training import Recipe, read_metrics, read_recipe

# %% [markdown]
# An **ablation** takes one part away and looks what is missing. You choose one part of the training
# or of the network. You train **with** it and **without** it: these are the two **arms** of the
# experiment. Everything else stays as it is. Then you write down what you found, in words and
# numbers.
#
# In this assignment the package is your tool: you may use everything in it. You hand in this
# notebook **and the folder `runs`** beside it, with three small files of each run.
#
# One rule before you begin: **this notebook never trains.** You train in a terminal, or in another
# notebook. This one reads the files. When it is graded, it runs again from the top, and then there
# is no time for training.
#
# ## Task 1: `choice`
#
# Choose **one** field of the recipe, and two values for it. Some ideas:
#
# | question | field | with | without |
# | --- | --- | --- | --- |
# | Do shifted images help? | `crop_padding` | 1 | 0 |
# | Do mirrored images help? With digits? | `flip` | True | False |
# | Does the rate have to rise slowly at first? | `warmup` | 0.2 | 0.0 |
# | Does weight decay help? | `weight_decay` | 0.0005 | 0.0 |
# | Must BatchNorm decay as well? | `decay_norm_and_bias` | True | False |
# | What does momentum do? | `momentum` | 0.9 | 0.0 |
# | Must the rate fall in the end? | `schedule` | "one-cycle" | "constant" |
# | Do the pixels need a mean of 0? | `normalize` | "mean-std" | "zero-one" |
# | Do shortcuts help at 20 layers? | `model` | "resnet20_cifar" | "plain20_cifar" |
#
# The list is not complete: `shared/training/recipe.py` names all fields, and `resnet-twins models` all
# networks. Five rules:
#
# - What both arms need must be the same in both arms. Momentum 0 does not go with Nesterov, so an
#   ablation of momentum has `--set nesterov=false` in **both** arms.
# - The field must do something in your recipe. `beta1` does nothing where the optimizer is SGD.
# - `seed`, `data`, `epochs` and `steps` are no design choices. `name` and `about` are labels.
# - A schedule of `"step"` needs milestones too. That would be two fields, so it is not possible.
# - The examples below use `label_smoothing`. Choose something else.
#
# `choice` is a dict with the keys `"name"` (the field), `"with"` and `"without"` (its two values).

# %% answer="choice"
### BEGIN SOLUTION
choice = {"name": "crop_padding", "with": 1, "without": 0}
### END SOLUTION

# %% test="choice" points=1
assert isinstance(choice, dict) and set(choice) == {"name", "with", "without"}, (
    'choice must be a dict with the three keys "name", "with" and "without".'
)
assert choice["name"] in {field.name for field in fields(Recipe)}, (
    f"{choice['name']!r} is no field of a recipe. `shared/training/recipe.py` names them all."
)
assert choice["name"] not in ("seed", "data", "epochs", "steps", "name", "about"), (
    f"{choice['name']} is no design choice: read the rules above."
)
assert choice["name"] != "label_smoothing", "That is the example. Choose something else."
assert choice["with"] != choice["without"], "Both arms have the same value."

# %% [markdown]
# ## Task 2: `hypothesis`
#
# Write this **before you train**, and leave it as it is afterwards. A hypothesis that was wrong
# costs nothing. About 100 words:
#
# - The question: what is the part that you take away, and what is it there for?
# - What do you expect for the test accuracy, and about how large is the difference, in points of
#   percent? Why?
# - What would you have to see to say that you were wrong?

# %% [markdown] written="hypothesis" points=3
# **Question.** In training, each digit is shifted by up to one pixel before the network sees it
# (`crop_padding=1`). It is meant to help against overfitting: the network rarely sees exactly the
# same image twice. Does it help here, with 1,437 training images and only 10 epochs?
#
# **Expectation.** With shifts, the training accuracy is lower, because the task is harder. The test
# accuracy is higher by 0.5 to 1 points, in both frameworks: people do not write in the middle of
# the box, so a network that has seen shifted digits should know more of what is in the test images.
#
# **I am wrong if** the test accuracy with shifts is not higher: if the mean of the differences
# (with minus without, in pairs of the same seed) is 0 or below, in either framework.

# %% [markdown]
# ## Train
#
# Train both arms with **at least two seeds** and in **both frameworks**: eight runs or more. Three
# seeds are better. `--framework both` trains the twins one after the other, from the same weights
# and on the same batches. Each run needs at least 3 epochs, and it must reach its end.
#
# With the digits, a short recipe is enough. These two commands make four runs of an ablation of
# `label_smoothing`, in about a minute on two cores:
#
# ```sh
# resnet-twins train --framework both --epochs 10 --set label_smoothing=0.1 --seed 0 -o trained/with-0
# resnet-twins train --framework both --epochs 10 --set label_smoothing=0 --seed 0 -o trained/without-0
# ```
#
# Then the same with `--seed 1` and `trained/with-1`, and so on. Or all at once in Python. (Take one of
# the two ways for all runs: a run that is started in another way can end a little differently.)
#
#     from shared.training import get_recipe, train
#
#     for seed in (0, 1, 2):
#         for arm, value in (("with", 0.1), ("without", 0.0)):
#             recipe = get_recipe("quick", epochs=10, label_smoothing=value, seed=seed)
#             train(recipe, framework="both", output=f"trained/{arm}-{seed}")
#
# `trained/with-0/torch` and `trained/with-0/tf` are then two run folders. Look into one of them:
#
# - `recipe.toml` says how it was trained, all fields of it;
# - `metrics.csv` has one row for each **step** (each batch). The test columns are filled only in the
#   last row of each epoch, because only then the test images are asked;
# - `run.json` says which framework it was, on which images, with which versions, and also on which
#   machine and by which command;
# - the weights and figures are not needed here.
#
# The next cell copies what you hand in from `trained` to `runs`. Of `run.json` it leaves out what
# is nobody's business, such as your machine and your folders. Run the cell when you have trained.


# %%
def collect(trained, target):
    """Copies the small files of all runs in the folder `trained` to the folder `target`."""
    for metrics in sorted(Path(trained).rglob("metrics.csv")):
        place = Path(target) / metrics.parent.relative_to(trained)
        place.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.csv", "recipe.toml"):
            shutil.copyfile(metrics.parent / name, place / name)
        about = json.loads((metrics.parent / "run.json").read_text(encoding="utf-8"))
        images = ("training_images", "validation_images", "test_images", "sha256")
        kept = {
            "framework": about["framework"],
            "seed": about["seed"],
            "data": {key: about["data"][key] for key in images},
            "versions": about["versions"],
        }
        (place / "run.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if Path("trained").is_dir():
    collect("trained", "runs")
for metrics in sorted(Path("runs").rglob("metrics.csv")):
    print(metrics.parent.as_posix(), f"{metrics.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## Task 3: `runs`
#
# Make the table of your runs: a list with one dict for each run. The keys are
#
# - `"folder"`: where its files are, seen from this notebook, like `"runs/with-0/torch"` (with `/`,
#   on Windows too);
# - `"framework"`: `"torch"` or `"tf"`;
# - `"seed"`: a whole number;
# - `"arm"`: `"with"` or `"without"`.
#
# You may write it by hand or with a loop. The files are graded together with the table:
#
# - all files are there, and they say the same as the table;
# - each run reached its last step;
# - the recipes of all runs are the same, but for your choice (which is as `choice` says) and the
#   seed;
# - both frameworks and at least two seeds are there, each seed in each arm and each framework, once;
# - the numbers can come from this recipe (learning rates, whole numbers of right answers, and twins
#   of one seed that begin with about the same loss), and no two runs have the same numbers.

# %% answer="runs"
### BEGIN SOLUTION
runs = [
    {
        "folder": f"runs/{arm}-{seed}/{framework}",
        "framework": framework,
        "seed": seed,
        "arm": arm,
    }
    for framework in ("torch", "tf")
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]
### END SOLUTION

# %% test="runs" points=6
assert isinstance(runs, list) and runs, "runs must be a list with a dict for each run."
recipes = []
for run in runs:
    assert {"folder", "framework", "seed", "arm"} <= set(run), (
        f"{run}: each run needs the keys folder, framework, seed and arm."
    )
    assert "\\" not in run["folder"] and not PurePosixPath(run["folder"]).is_absolute(), (
        f"{run['folder']}: write the folder as seen from this notebook, with /."
    )
    for name in ("recipe.toml", "metrics.csv", "run.json"):
        assert (Path(run["folder"]) / name).is_file(), (
            f"{run['folder']} has no {name}. Is the folder's name right? Did you run the cell that "
            "copies the files?"
        )
    about = json.loads((Path(run["folder"]) / "run.json").read_text(encoding="utf-8"))
    recipe = read_recipe(Path(run["folder"]) / "recipe.toml")
    recipes.append(asdict(recipe))
    assert about["framework"] == run["framework"], (
        f"{run['folder']}: its run.json says {about['framework']}, your table {run['framework']}."
    )
    assert recipe.seed == run["seed"], (
        f"{run['folder']}: its recipe has seed {recipe.seed}, your table {run['seed']}."
    )
    assert run["arm"] in ("with", "without"), f"{run['folder']}: the arm is with or without."
    value = getattr(recipe, choice["name"])
    assert value == choice[run["arm"]], (
        f"{run['folder']}: {choice['name']} is {value} in its recipe. Is that the arm {run['arm']}?"
    )
    last = read_metrics(run["folder"])[-1]
    steps_per_epoch = about["data"]["training_images"] // recipe.batch_size
    assert last["step"] == recipe.total_steps(steps_per_epoch) and last["epoch"] >= 3, (
        f"{run['folder']} ends at step {last['step']:g}, in epoch {last['epoch']:g}. Was it stopped? "
        "`resnet-twins train --resume` goes on with it."
    )
differ = {key for key in recipes[0] if any(recipe[key] != recipes[0][key] for recipe in recipes)}
assert differ <= {choice["name"], "seed", "name", "about"}, (
    f"the recipes differ in {', '.join(sorted(differ))}. Only your choice and the seed may differ."
)
seeds = {run["seed"] for run in runs}
assert len(seeds) >= 2, "One seed is one throw of a die: train with at least two."
kinds = {(run["framework"], run["seed"], run["arm"]) for run in runs}
assert len(kinds) == len(runs), "Two runs have the same framework, seed and arm."
assert len(runs) == 4 * len(seeds), (
    f"{len(runs)} runs with {len(seeds)} seeds: each seed is needed in two arms and two frameworks."
)

# %% [markdown]
# ## A small example
#
# To try your functions before you have runs, here are eight runs that nobody trained: 2 epochs of 2
# steps each. The numbers are made up so that you can compute everything on paper.


# %%
def write_example(place):
    """Writes eight small run folders below `place`; returns their table."""
    table = []
    for framework in ("torch", "tf"):
        for arm in ("without", "with"):
            for seed in (4, 1) if arm == "with" else (1, 4):
                folder = Path(place) / f"{arm}-{seed}" / framework
                folder.mkdir(parents=True)
                end = 0.5 + (0.25 if arm == "with" else 0.0) + 0.03125 * seed
                end -= 0.125 if framework == "tf" else 0.0
                tests = [("", ""), (1.5, 0.96875), ("", ""), (2 - 2 * end, end)]
                lines = [
                    "step,epoch,learning_rate,train_loss,train_accuracy,validation_loss,"
                    "validation_accuracy,test_loss,test_accuracy,seconds,images_per_second"
                ]
                for step, (loss, accuracy) in enumerate(tests, 1):
                    train = f"{2.5 - 0.25 * step},{0.125 * step}"
                    lines.append(
                        f"{step},{(step + 1) // 2},0.1,{train},,,{loss},{accuracy},{step},64"
                    )
                (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
                (folder / "recipe.toml").write_text(
                    f'name = "example"\nsteps = 4\nseed = {seed}\n', encoding="utf-8"
                )
                (folder / "run.json").write_text(
                    json.dumps({"framework": framework, "seed": seed}), encoding="utf-8"
                )
                entry = {"folder": str(folder), "framework": framework, "seed": seed, "arm": arm}
                table.append(entry)
    return table


with tempfile.TemporaryDirectory() as place:
    example = write_example(place)
    print((Path(example[0]["folder"]) / "metrics.csv").read_text(encoding="utf-8"))

# %% [markdown]
# ## Task 4: `epoch_values`
#
# Read one column of `folder/metrics.csv`, for example `"test_accuracy"` or `"train_loss"`. Return
# two lists of equal length:
#
# - the numbers of the epochs, in order;
# - for each epoch the **mean of the column over the rows of this epoch that have a value**. In a
#   training column all rows have one. In a test column only one row has one. An empty cell is not a
#   zero.


# %% answer="epoch_values"
def epoch_values(folder, column):
    """The epochs of a run, and the column's mean over each of them."""
    ### BEGIN SOLUTION
    values = {}
    with (Path(folder) / "metrics.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row[column]:
                values.setdefault(int(float(row["epoch"])), []).append(float(row[column]))
    return list(values), [statistics.fmean(each) for each in values.values()]
    ### END SOLUTION


# %% test="epoch_values" points=2
with tempfile.TemporaryDirectory() as place:
    folder = write_example(place)[0]["folder"]
    epochs, values = epoch_values(folder, "test_accuracy")
    assert list(epochs) == [1, 2], f"the epochs are 1 and 2, yours {list(epochs)}."
    assert np.allclose(values, [0.96875, 0.53125]), (
        f"the test accuracy in the first run of the example is {list(values)} by your function. In "
        "the file printed above, each epoch has one number, and an empty cell is no number."
    )
    epochs, values = epoch_values(folder, "train_loss")
    assert np.allclose(values, [2.125, 1.625]), (
        f"the training loss is {list(values)} by your function. Each epoch has two rows here: 2.25 "
        "and 2.0, then 1.75 and 1.5."
    )

# %% [markdown]
# ## Task 5: `summarise`
#
# Put the runs of a table together. `column` is `"test_accuracy"` or `"test_loss"`. The number of a
# run is its value **after the last epoch**. (The best epoch would be chosen by the test images
# themselves, and that always looks a little too good.) Return
#
#     {"torch": {"with": {"values": [...], "mean": ..., "std": ...},
#                "without": {"values": [...], "mean": ..., "std": ...},
#                "difference": {"values": [...], "mean": ..., "std": ...}},
#      "tf": {the same}}
#
# - `values` of an arm: the numbers of its runs, in the order of **growing seeds**.
# - `values` of the difference: for each seed, the number **with** minus the number **without**, in
#   the same order. Two runs of one seed see the images in the same order, so they are a pair.
# - `mean` and `std` are those of the values beside them. `std` is the standard deviation of a
#   **sample**: the sum of squares is divided by n - 1, not by n.
#
# The table may be in any order. Do not round.


# %% answer="summarise"
def summarise(runs, column):
    """Values, mean and standard deviation of each arm, and of the differences in pairs."""
    ### BEGIN SOLUTION

    def describe(values):
        return {
            "values": values,
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values),
        }

    summary = {}
    for framework in ("torch", "tf"):
        final = {"with": {}, "without": {}}
        for run in runs:
            if run["framework"] == framework:
                final[run["arm"]][run["seed"]] = epoch_values(run["folder"], column)[1][-1]
        seeds = sorted(final["with"])
        arms = {arm: [final[arm][seed] for seed in seeds] for arm in final}
        pairs = zip(arms["with"], arms["without"], strict=True)
        arms["difference"] = [a - b for a, b in pairs]
        summary[framework] = {name: describe(values) for name, values in arms.items()}
    return summary
    ### END SOLUTION


# %% test="summarise" points=4
with tempfile.TemporaryDirectory() as place:
    summary = summarise(write_example(place), "test_accuracy")
assert set(summary) == {"torch", "tf"}, "summarise returns a dict with the keys torch and tf."
assert set(summary["torch"]) == {"with", "without", "difference"}, (
    "For each framework there are three dicts: with, without and difference."
)
for framework, arm, expected in [
    ("torch", "without", [0.53125, 0.625]),
    ("tf", "with", [0.65625, 0.75]),
]:
    values = summary[framework][arm]["values"]
    assert np.allclose(values, expected), (
        f"in the example, {framework} {arm} has the values {values}. Wanted are those after the last "
        "epoch, the run with seed 1 first, then seed 4."
    )
values = summary["torch"]["difference"]["values"]
assert np.allclose(values, [0.25, 0.25]), (
    f"in the example, the differences of torch are {values}. The arm with is better by the same "
    "amount for each seed. Which runs are a pair?"
)
assert np.isclose(summary["tf"]["with"]["mean"], 0.703125), "Look at the mean of tf with: 0.703125."
assert abs(summary["tf"]["with"]["std"] - 0.0663) < 1e-4, (
    f"the std of tf with is {summary['tf']['with']['std']:.4f}, it should be 0.0663. Each value is "
    "0.046875 away from the mean. By what do you divide the sum of the two squares?"
)
assert abs(summary["torch"]["difference"]["std"]) < 1e-9, (
    "In the example both differences of torch are the same: what is their standard deviation?"
)


# %% [markdown]
# ## Task 6: `results`
#
# Now your own runs. `results` is a dict with two keys, `"test_accuracy"` and `"test_loss"`; each
# value is the summary of that column. It must be equal to what the grading computes from your
# files.

# %% answer="results"
### BEGIN SOLUTION
results = {column: summarise(runs, column) for column in ("test_accuracy", "test_loss")}
for column, summary in results.items():
    for framework, arms in summary.items():
        for arm, numbers in arms.items():
            values = " ".join(f"{value:8.4f}" for value in numbers["values"])
            spread = f"mean {numbers['mean']:8.4f}  std {numbers['std']:.4f}"
            print(f"{column:13}  {framework:5}  {arm:10}  {values}   {spread}")
### END SOLUTION

# %% test="results" points=1
assert isinstance(results, dict) and set(results) == {"test_accuracy", "test_loss"}, (
    "results must be a dict with the keys test_accuracy and test_loss."
)
for column, summary in results.items():
    for framework in ("torch", "tf"):
        count = len({run["seed"] for run in runs})
        assert len(summary[framework]["difference"]["values"]) == count, (
            f"{column}, {framework}: there should be one difference for each of the {count} seeds."
        )
        recomputed = summarise(runs, column)[framework]["difference"]["mean"]
        assert np.isclose(summary[framework]["difference"]["mean"], recomputed), (
            f"{column}, {framework}: these are not the numbers that summarise finds in your files."
        )


# %% [markdown]
# ## Task 7: `plot_curves`
#
# Draw one column of all runs over the epochs, in **one figure with two panels**: first the runs of
# `"torch"`, then those of `"tf"`. Return the **figure**.
#
# - Each run is a line of its own: the epochs and `epoch_values`, as they are in the file (a share
#   from 0 to 1, not percent). A spread that everybody sees is better than a mean alone.
# - All lines of one arm look alike. The two arms differ in **colour** and also in **line style or
#   marker**, for eyes and printers that see no colours.
# - Each panel has a title that says which framework it is, and a legend with **two** entries, one for
#   each arm. (A line with the label `None` has no entry.)
# - The horizontal axis says "epoch". The vertical axis says what it is, "accuracy" or "loss" as the
#   column is, and its unit in brackets, like "(share of test images)" or "(nats per image)".


# %% answer="plot_curves"
def plot_curves(runs, column):
    """A figure with a panel for each framework, and a line for each run."""
    ### BEGIN SOLUTION
    split, what = column.split("_")
    unit = {"accuracy": f"share of {split} images", "loss": "nats per image"}[what]
    looks = {"with": ("tab:blue", "-", "o"), "without": ("tab:orange", "--", "s")}
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    names = {"torch": "PyTorch", "tf": "Keras"}
    for axes, (framework, name) in zip(panels, names.items(), strict=True):
        labelled = set()
        for run in runs:
            if run["framework"] != framework:
                continue
            colour, line, marker = looks[run["arm"]]
            epochs, values = epoch_values(run["folder"], column)
            axes.plot(
                epochs,
                values,
                linestyle=line,
                marker=marker,
                markersize=4,
                color=colour,
                alpha=0.7,
                label=None if run["arm"] in labelled else run["arm"],
            )
            labelled.add(run["arm"])
        axes.set(title=name, xlabel="epoch", ylabel=f"{split} {what} ({unit})")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure
    ### END SOLUTION


# %% test="plot_curves" points=2
with tempfile.TemporaryDirectory() as place:
    figure = plot_curves(write_example(place), "test_accuracy")
assert len(figure.axes) == 2, f"the figure has {len(figure.axes)} panels, it should have two."
for axes in figure.axes:
    assert len(axes.lines) == 4, f"a panel has {len(axes.lines)} lines for four runs."
    assert "epoch" in axes.get_xlabel() and "accuracy" in axes.get_ylabel(), (
        f"the axes say {axes.get_xlabel()!r} and {axes.get_ylabel()!r}: what do they show?"
    )
    assert "(" in axes.get_ylabel(), "The unit is missing, in brackets, on the vertical axis."
    assert axes.get_title(), "A panel has no title: which framework is it?"
    assert axes.get_legend() and len(axes.get_legend().get_texts()) == 2, (
        "Each panel needs a legend with two entries, one for each arm."
    )
    for line in axes.lines:
        assert np.max(line.get_ydata()) <= 1, "Draw the values as they are in the file, no percent."
    assert len({line.get_color() for line in axes.lines}) == 2, "Two arms, two colours."
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(looks) == 2, "The arms must differ in line style or marker, too."
plt.close(figure)
figure = plot_curves(runs, "test_accuracy")


# %% [markdown]
# ## Task 8: `method`
#
# The report. Write so that somebody who has this package could repeat your experiment without
# asking you. About 100 words: the network, the data (how many images to train and to test), the
# recipe and what you changed in it, the commands, the seeds, the frameworks, and how many runs. Which
# number stands for a run, and how did you put the runs together? What is the same in the two runs of
# a pair?

# %% [markdown] written="method" points=3
# The network is `resnet8_digits`, the data are the digits of the package: 1,437 images to train, 360
# to test. The recipe is `quick` (SGD with Nesterov momentum, one-cycle rate) with 10 epochs and
# batches of 128, that is 110 steps. The arms differ in `crop_padding`: 1 (with) and 0 (without).
# Three seeds (0, 1, 2), two arms, two frameworks: 12 runs, made by six commands. All begin with
#
#     resnet-twins train --framework both --epochs 10 --set batch_size=128
#
# and go on with, for seed 0 (and in the same way for 1 and 2),
#
#     --set crop_padding=1 --seed 0 --output trained/with-0
#     --set crop_padding=0 --seed 0 --output trained/without-0
#
# The number of a run is its test accuracy after the last epoch (not the best one). For each
# framework I give the mean and the standard deviation (n - 1) over the seeds, and the differences
# with minus without in pairs of the same seed. The two runs of a pair begin with the same weights and
# have the same images in each batch, in the same order; only the shifts differ.

# %% [markdown]
# ## Task 9: `finding`
#
# What came out? About 100 words, with numbers from `results` and a look at your figure:
#
# - the mean of both arms and their difference, for each framework, **with its uncertainty** and the
#   number of seeds, and with no more digits than make sense;
# - is the difference large beside the spread over the seeds? Do the pairs agree in sign? Do the
#   frameworks agree? Does the test loss say the same?
# - what became of your hypothesis? Say it plainly, also if it was wrong.

# %% [markdown] written="finding" points=4
# Means over three seeds: with shifts 98.06% (PyTorch) and 97.96% (Keras) of the test images are
# right, without them 98.61% in both. In each arm the standard deviation over the seeds is about 0.3
# points.
#
# The difference, with minus without, in pairs: **-0.56 points in PyTorch (std 0.28, n = 3) and -0.65
# in Keras (std 0.16, n = 3)**. One image of 360 is 0.28 points, so this is about two images. All six
# pairs have the same sign, and the frameworks agree. But three pairs are few: a 95% interval (t with
# 2 degrees of freedom) is -0.56 ± 0.69 in PyTorch, which includes 0, and -0.65 ± 0.40 in Keras. The
# test loss shows no difference: +0.002 (std 0.010) and +0.003 (std 0.007).
#
# My hypothesis was wrong here: the test accuracy is lower with shifts. Only the training accuracy did
# what I expected: about 98.8% with shifts, 100% without. In the figure the arm without is flat after
# epoch 5. The arm with is below it in most epochs and still rises a little at the end.

# %% [markdown]
# ## Task 10: `threats`
#
# Why could your conclusion be wrong, or not hold elsewhere? Name **three** reasons that fit **your**
# experiment. For each: what could it do to your result, and which further runs would tell? Some
# questions that may help: what does the seed change, and what stays the same in all runs? Are PyTorch
# and Keras two independent repetitions, when both begin with the same weights? Would you have
# tuned the learning rate for each arm? What does one test image more or less do to the accuracy?

# %% [markdown] written="threats" points=4
# 1. **One small test set.** All 12 runs are asked about the same 360 images. The spread over seeds
#    contains the luck of weights, order and shifts, not the luck of these images: at 98.3% right that
#    alone is a standard error of about 0.7 points for one network. Two images could be two unusual
#    digits. To tell: hold out another fifth of the digits, or use Fashion-MNIST, with 10,000 test
#    images.
# 2. **Ten epochs.** The arm with shifts is slower and was perhaps not finished. "Shifts do harm"
#    would then be "shifts need more time". To tell: both arms with `--epochs 30` and `--epochs 100`.
# 3. **Three repetitions, not six.** The twins of a seed begin with the same weights and see the same
#    batches. That both frameworks agree shows that there is no mistake in one of them. It does not
#    double the number of seeds. To tell: ten seeds or more.
# 4. **One learning rate.** Rate and weight decay of `quick` were not tuned for each arm. To tell: tune
#    both arms on validation images (`--set validation=0.2`), with the same number of tries.
