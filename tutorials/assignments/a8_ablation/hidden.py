"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="choice"
from dataclasses import asdict, fields

from shared.networks import get_spec
from shared.classroom.exam import exam
from shared.base import InputError
from shared.training import Recipe

NO_CHOICE = {"seed", "data", "epochs", "steps", "name", "about", "label_smoothing"}


@exam.question
def choice_of(student):
    return student.choice


def valid_value(name, value):
    """The value as a recipe holds it; fails the part if no recipe can."""
    needed = {"momentum": 0.5} if name == "nesterov" else {}
    if name == "milestones":
        needed = {"schedule": "step"}
    try:
        held = getattr(Recipe(**({"name": "any", "epochs": 1} | needed | {name: value})), name)
        if name == "model":
            get_spec(held)
    except (InputError, TypeError, ValueError) as error:
        exam.require(False, f"{name}={value!r} is not possible: {error}")
    return held


def the_choice():
    """The student's choice, checked, with its values as a recipe holds them."""
    given = choice_of()
    exam.require(
        isinstance(given, dict) and given.keys() == {"name", "with", "without"},
        "choice is no dict with the keys name, with and without",
    )
    name = given["name"]
    known = {field.name for field in fields(Recipe)}
    exam.require(isinstance(name, str) and name in known, f"{name!r} is no field of a recipe")
    exam.require(name not in NO_CHOICE, f"{name} is no design choice")
    arms = {arm: valid_value(name, given[arm]) for arm in ("with", "without")}
    exam.require(arms["with"] != arms["without"], "both arms have the same value")
    return {"name": name, **arms}


with exam.part(1, "a field of the recipe with two different values that it may have"):
    the_choice()
exam.score()


# %% test="runs"
import csv
import json
import math
import tomllib
from pathlib import PurePosixPath
from types import SimpleNamespace

from shared.training import COLUMNS

MOST = 3_000_000  # characters of one file
CACHE = {}


@exam.question
def handed_in(student, most):
    from pathlib import Path

    found = []
    for run in list(student.runs)[:64]:
        texts = {}
        for name in ("recipe.toml", "metrics.csv", "run.json"):
            path = Path(str(run["folder"])) / name
            if path.is_file() and path.stat().st_size <= most:
                texts[name] = path.read_bytes().decode("utf-8", "replace")
        entry = {key: run[key] for key in ("framework", "seed", "arm")}
        found.append([{"folder": str(run["folder"]), **entry}, texts])
    return found


def rows_of(text):
    """The rows of a metrics.csv, without its empty cells; None if it is not one."""
    lines = csv.DictReader(text.splitlines())
    if tuple(lines.fieldnames or ()) != COLUMNS:
        return None
    try:
        rows = [{key: float(value) for key, value in row.items() if value} for row in lines]
    except (ValueError, TypeError):
        return None
    needed = {"step", "epoch", "learning_rate", "train_loss", "train_accuracy"}
    sound = all(
        needed <= row.keys() <= set(COLUMNS) and all(map(math.isfinite, row.values()))
        for row in rows
    )
    return rows if rows and sound else None


def about_of(text):
    """What a run.json says of framework and images; None if it is not one."""
    try:
        about = json.loads(text)
        images = about["data"]
        numbers = [images[key] for key in ("training_images", "validation_images", "test_images")]
        sound = all(type(number) is int and number >= 0 for number in numbers)
        sound = sound and isinstance(about["framework"], str) and isinstance(images["sha256"], str)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    names = dict(zip(("training", "validation", "test"), numbers, strict=True))
    kept = {"framework": about["framework"], "sha256": images["sha256"], **names}
    return SimpleNamespace(**kept) if sound else None


def recipe_of(text):
    """The recipe in a recipe.toml; None if it is not one."""
    try:
        return Recipe(**tomllib.loads(text))
    except (
        ValueError,
        TypeError,
        RecursionError,
    ):  # TOML's and the recipe's errors are ValueErrors
        return None


def parsed():
    """What was handed in, run by run; what could not be read is None."""
    if "runs" not in CACHE:
        CACHE["runs"] = [
            SimpleNamespace(
                folder=entry["folder"],
                framework=entry["framework"],
                seed=entry["seed"],
                arm=entry["arm"],
                recipe=recipe_of(texts.get("recipe.toml", "")),
                about=about_of(texts.get("run.json", "")),
                rows=rows_of(texts.get("metrics.csv", "")),
            )
            for entry, texts in handed_in(most=MOST)
        ]
    exam.require(len(CACHE["runs"]) > 0, "there are no runs")
    for run in CACHE["runs"]:
        for name in ("recipe", "about", "rows"):
            exam.require(
                getattr(run, name) is not None, f"{run.folder}: no readable file for {name}"
            )
    return CACHE["runs"]


def steps_of(run):
    """Steps in an epoch, and steps in all."""
    per_epoch = run.about.training // run.recipe.batch_size
    exam.require(per_epoch > 0, f"{run.folder}: fewer images than a batch has")
    return per_epoch, run.recipe.total_steps(per_epoch)


def whole(share, of):
    """Whether a share is a whole number of `of` images."""
    count = share * of
    return -1e-4 <= count <= of + 1e-4 and abs(count - round(count)) < 1e-3


with exam.part(1, "all files are there, and the table says what they say"):
    folders = set()
    for run in parsed():
        where = PurePosixPath(run.folder)
        inside = not where.is_absolute() and ".." not in where.parts
        exam.require(inside, f"{run.folder}: not a folder beside the notebook")
        exam.require(where not in folders, f"{run.folder} is there twice")
        folders.add(where)
        exam.require(run.framework in ("torch", "tf"), f"{run.folder}: framework {run.framework!r}")
        exam.equal(run.framework, run.about.framework, f"{run.folder}: the table's framework")
        exam.equal(run.seed, run.recipe.seed, f"{run.folder}: the table's seed")
        exam.require(run.arm in ("with", "without"), f"{run.folder}: arm {run.arm!r}")
with exam.part(1, "every run reached its last step, after 3 epochs or more"):
    for run in parsed():
        per_epoch, total = steps_of(run)
        steps = [row["step"] for row in run.rows]
        exam.require(steps == list(range(1, total + 1)), f"{run.folder}: not all of {total} steps")
        exam.require(total > 2 * per_epoch, f"{run.folder}: fewer than 3 epochs")
        for row in run.rows:
            ends = row["step"] % per_epoch == 0 or row["step"] == total
            tested = {"test_loss", "test_accuracy"} & row.keys()
            exam.require(
                len(tested) == (2 if ends else 0), f"{run.folder}: tests in step {row['step']:g}"
            )
            epoch = (row["step"] - 1) // per_epoch + 1
            exam.require(row["epoch"] == epoch, f"{run.folder}: epoch in step {row['step']:g}")
with exam.part(2, "the arms differ in the choice, the runs of an arm in the seed, in nothing else"):
    chosen = the_choice()
    exam.require({run.arm for run in parsed()} == {"with", "without"}, "one of the arms is missing")
    others, same_images = [], {}
    for run in parsed():
        recipe = asdict(run.recipe)
        value = recipe[chosen["name"]]
        exam.require(
            value == chosen[run.arm], f"{run.folder}: {chosen['name']} is {value} in the recipe"
        )
        free = {chosen["name"], "seed", "name", "about"}
        others.append({key: item for key, item in recipe.items() if key not in free})
        differ = [key for key in others[0] if others[-1][key] != others[0][key]]
        exam.require(not differ, f"{run.folder} differs from the first run in {differ}")
        images = same_images.setdefault(run.seed, run.about.sha256)  # a seed may split a folder
        exam.require(run.about.sha256 == images, f"{run.folder} has other images than its pair")
with exam.part(1, "both frameworks, two seeds or more, each seed in each arm and framework, once"):
    kinds = [(run.framework, run.seed, run.arm) for run in parsed()]
    seeds = {run.seed for run in parsed()}
    exam.require(len(seeds) >= 2, f"only the seed {seeds}")
    wanted = [(f, s, a) for f in ("torch", "tf") for s in seeds for a in ("with", "without")]
    exam.require(len(kinds) == len(wanted) and set(kinds) == set(wanted), f"the runs are {kinds}")
with exam.part(1, "numbers that can come from these recipes, and each run has its own"):
    first_losses, seen = {}, {}
    for run in parsed():
        total = steps_of(run)[1]
        for row in run.rows:
            what = f"{run.folder}, step {row['step']:g}"
            rate = run.recipe.learning_rate_at(int(row["step"]) - 1, total)
            exam.close(row["learning_rate"], rate, f"{what}: learning rate", rtol=1e-6, atol=1e-12)
            exam.require(
                whole(row["train_accuracy"], run.recipe.batch_size)
                and whole(row.get("test_accuracy", 0.0), run.about.test),
                f"{what}: an accuracy is no whole number of images",
            )
            exam.require(row["train_loss"] >= 0 <= row.get("test_loss", 0.0), f"{what}: a loss")
        if run.recipe.data == "digits":
            images = [run.about.training + run.about.validation, run.about.test]
            exam.equal(images, [1437, 360], f"{run.folder}: the number of digits")
        losses = tuple(row["train_loss"] for row in run.rows)
        key = losses, run.framework if run.recipe.precision == "float64" else ""
        exam.require(key not in seen, f"{run.folder} has the same numbers as {seen.get(key)}")
        seen[key] = run.folder
        tolerance = 0.02 if run.recipe.precision in ("float32", "float64") else 0.1
        begins = first_losses.setdefault((run.seed, run.arm), losses[0])
        exam.require(
            abs(losses[0] - begins) <= tolerance * max(1.0, begins),
            f"{run.folder} begins with a loss of {losses[0]}, its twin with {begins}",
        )
exam.score()


# %% test="epoch_values"
import numpy as np


@exam.question
def epoch_values_of(student, files, folder, column):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        for name, text in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        epochs, values = student.epoch_values(str(Path(place) / folder), column)
    return [list(epochs), list(values)]


def invented(rng, epochs, per_epoch):
    """The rows of a run that nobody trained. Its last epoch is never its best one."""
    rows = []
    for step in range(1, epochs * per_epoch + 1):
        row = {
            "step": step,
            "epoch": (step - 1) // per_epoch + 1,
            "learning_rate": 0.1,
            "train_loss": rng.uniform(0.01, 3),
            "train_accuracy": rng.integers(0, 65) / 64,
            "seconds": float(step),
            "images_per_second": 1000.0,
        }
        if step % per_epoch == 0:
            row |= {"test_loss": rng.uniform(0.2, 3), "test_accuracy": rng.integers(9, 351) / 360}
        rows.append(row)
    best = rows[int(rng.integers(0, epochs - 1)) * per_epoch + per_epoch - 1]
    best |= {"test_loss": rng.uniform(0.01, 0.1), "test_accuracy": rng.integers(352, 361) / 360}
    return [{key: float(f"{value:.10g}") for key, value in row.items()} for row in rows]


def as_files(folder, rows, framework, seed):
    """The three files of such a run, as the package writes them."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        lines.append(",".join(f"{row[key]:.10g}" if key in row else "" for key in COLUMNS))
    recipe = Recipe(name="invented", epochs=int(rows[-1]["epoch"]), seed=seed)
    images = {"training_images": 640, "validation_images": 0, "test_images": 360, "sha256": "0"}
    about = {"framework": framework, "seed": seed, "data": images, "versions": {}}
    return {
        f"{folder}/metrics.csv": "\n".join(lines) + "\n",
        f"{folder}/recipe.toml": recipe.to_toml(),
        f"{folder}/run.json": json.dumps(about),
    }


def means_by_epoch(rows, column):
    """[epochs, means], for rows that are read already."""
    epochs = sorted({row["epoch"] for row in rows if column in row})
    kept = [[row[column] for row in rows if row["epoch"] == e and column in row] for e in epochs]
    return [epochs, [float(np.mean(each)) for each in kept]]


def check_columns(columns):
    for column in columns:
        for _ in range(3):
            rows = invented(exam.rng, int(exam.rng.integers(3, 13)), int(exam.rng.integers(2, 7)))
            files = as_files("some/run", rows, "torch", 0)
            got = epoch_values_of(files=files, folder="some/run", column=column)
            exam.close(got, means_by_epoch(rows, column), f"epoch_values of {column}", atol=1e-8)


with exam.part(1, "the test columns, with one number in each epoch"):
    check_columns(["test_accuracy", "test_loss"])
with exam.part(1, "the training columns, with a number in each step"):
    check_columns(["train_loss", "train_accuracy"])
exam.score()


# %% test="summarise"
@exam.question
def summary_of(student, files, runs, column):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        for name, text in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        table = [run | {"folder": str(Path(place) / run["folder"])} for run in runs]
        return student.summarise(table, column)


def invented_table(rng):
    """Files and table of runs that nobody trained, in any order, with the rows in the table."""
    seeds = rng.choice(100, size=int(rng.integers(3, 6)), replace=False).tolist()
    epochs, per_epoch = int(rng.integers(3, 7)), int(rng.integers(2, 5))
    files, table = {}, []
    for framework in ("torch", "tf"):
        for arm in ("with", "without"):
            for seed in seeds:
                rows = invented(rng, epochs, per_epoch)
                folder = f"run{len(table)}"  # the name says nothing
                files |= as_files(folder, rows, framework, seed)
                run = {"folder": folder, "framework": framework, "seed": seed, "arm": arm}
                table.append(run | {"rows": rows})
    return files, [table[index] for index in rng.permutation(len(table))]


def expected_summary(table, column):
    """The summary, from rows that are read already."""
    summary = {}
    for framework in ("torch", "tf"):
        final = {}
        for run in table:
            if run["framework"] == framework:
                final[run["arm"], run["seed"]] = means_by_epoch(run["rows"], column)[1][-1]
        seeds = sorted({seed for _, seed in final})
        arms = {arm: np.array([final[arm, s] for s in seeds]) for arm in ("with", "without")}
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {
                "values": values.tolist(),
                "mean": float(values.mean()),
                "std": float(values.std(ddof=1)),
            }
            for name, values in arms.items()
        }
    return summary


def plain(summary):
    """A summary in which arrays of values are lists."""
    if isinstance(summary, dict):
        return {key: plain(value) for key, value in summary.items()}
    return summary.tolist() if isinstance(summary, np.ndarray) else summary


def check_summary(names, keys):
    for column in ("test_accuracy", "test_loss"):
        files, table = invented_table(exam.rng)
        runs = [{key: run[key] for key in ("folder", "framework", "seed", "arm")} for run in table]
        got = plain(summary_of(files=files, runs=runs, column=column))
        expected = expected_summary(table, column)
        for framework in expected:
            for name in names:
                for key in keys:
                    try:
                        answer = got[framework][name][key]
                    except (KeyError, TypeError, IndexError):
                        exam.require(False, f"no {framework}, {name}, {key} in the summary")
                    exam.close(
                        answer,
                        expected[framework][name][key],
                        f"{column}: {key} of {framework}, {name}",
                        rtol=1e-6,
                        atol=1e-9,
                    )


with exam.part(1, "values and means of the arms, after the last epoch"):
    check_summary(["with", "without"], ["values", "mean"])
with exam.part(2, "differences in pairs of the same seed, and their mean"):
    check_summary(["difference"], ["values", "mean"])
with exam.part(1, "the standard deviations, of arms and differences"):
    check_summary(["with", "without", "difference"], ["std"])
exam.score()


# %% test="results"
@exam.question
def results_of(student):
    return student.results


with exam.part(1, "the numbers are those in the files"):
    kinds = [(run.framework, run.arm, run.seed) for run in parsed()]
    complete = len(set(kinds)) == len(kinds) and len({run.seed for run in parsed()}) >= 2
    for framework, _, seed in kinds:
        complete = complete and {(framework, arm, seed) for arm in ("with", "without")} <= set(
            kinds
        )
    exam.require(complete, "the runs make no pairs, or too few")
    exam.require({run.framework for run in parsed()} == {"torch", "tf"}, "a framework is missing")
    table = [vars(run) for run in parsed()]
    for run in parsed():
        exam.require("test_loss" in run.rows[-1], f"{run.folder}: no test in its last step")
    expected = {
        column: expected_summary(table, column) for column in ("test_accuracy", "test_loss")
    }
    exam.close(plain(results_of()), expected, "results", rtol=1e-6, atol=1e-9)
exam.score()


# %% test="plot_curves"
@exam.question
def figure_of(student, files, runs, column):
    import tempfile
    from pathlib import Path

    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex

    with tempfile.TemporaryDirectory() as place:
        for name, text in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        table = [run | {"folder": str(Path(place) / run["folder"])} for run in runs]
        figure = student.plot_curves(table, column)
    panels = []
    for axes in figure.axes:
        legend = axes.get_legend()
        lines = [
            {
                "x": [float(value) for value in line.get_xdata()],
                "y": [float(value) for value in line.get_ydata()],
                "label": str(line.get_label()),
                "colour": to_hex(line.get_color()),
                "look": [str(line.get_linestyle()), str(line.get_marker())],
            }
            for line in axes.lines
        ]
        panels.append(
            {
                "x": axes.get_xlabel(),
                "y": axes.get_ylabel(),
                "title": axes.get_title() + axes.get_title("left") + axes.get_title("right"),
                "legend": [text.get_text() for text in legend.get_texts()] if legend else [],
                "lines": lines,
            }
        )
    plt.close(figure)
    return panels


def drawn(column):
    """The panels for invented runs, and in each the lines of each arm; fails if a run is missing."""
    files, table = invented_table(exam.rng)
    runs = [{key: run[key] for key in ("folder", "framework", "seed", "arm")} for run in table]
    panels = figure_of(files=files, runs=runs, column=column)
    exam.require(len(panels) == 2, f"{len(panels)} panels")
    found = []
    for framework, panel in zip(("torch", "tf"), panels, strict=True):
        arms = {"with": [], "without": []}
        mine = [run for run in table if run["framework"] == framework]
        exam.require(len(panel["lines"]) == len(mine), f"{framework}: {len(panel['lines'])} lines")
        for run in mine:
            points = np.array(means_by_epoch(run["rows"], column))
            fits = [
                line
                for line in panel["lines"]
                if np.shape([line["x"], line["y"]]) == points.shape
                and np.allclose([line["x"], line["y"]], points, atol=1e-8)
            ]
            exam.require(len(fits) == 1, f"{framework}: {len(fits)} lines show one run")
            arms[run["arm"]].append(fits[0])
        found.append((panel, arms))
    return found


with exam.part(1, "each run is a line with its own numbers, in the panel of its framework"):
    for column in ("test_accuracy", "train_loss"):
        drawn(column)
with exam.part(1, "labels with units, titles, legend, and arms that differ not only in colour"):
    for column, word in (("test_accuracy", "accuracy"), ("test_loss", "loss")):
        panels = drawn(column)
        exam.require(panels[0][0]["title"] != panels[1][0]["title"], "both panels have one title")
        for panel, arms in panels:
            exam.require("epoch" in panel["x"].lower(), f"the label below is {panel['x']!r}")
            label = panel["y"].lower()
            exam.require(word in label and "(" in label, f"the label at the side is {label!r}")
            exam.require(bool(panel["title"].strip()), "a panel has no title")
            entries = []
            for lines in arms.values():
                labels = {line["label"] for line in lines if not line["label"].startswith("_")}
                exam.require(len(labels) == 1, f"the lines of one arm have the labels {labels}")
                entries += labels
                exam.require(len({line["colour"] for line in lines}) == 1, "colours in one arm")
                exam.require(len({tuple(line["look"]) for line in lines}) == 1, "styles in one arm")
            exam.require(
                len(set(entries)) == 2 and sorted(panel["legend"]) == sorted(entries),
                f"the legend has the entries {panel['legend']}",
            )
            one, other = (arms[arm][0] for arm in ("with", "without"))
            exam.require(one["colour"] != other["colour"], "both arms have one colour")
            exam.require(one["look"] != other["look"], "both arms have one line style and marker")
exam.score()
