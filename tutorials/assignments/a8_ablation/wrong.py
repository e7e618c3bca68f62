# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost. Some of them use run folders that lie beside the solution in `handed_in/other`.


# %% wrong="choice is the seed" answer="choice" loses={"choice": 1, "runs": 2}
choice = {"name": "seed", "with": 1, "without": 0}


# %% wrong="choice with values that it cannot have" answer="choice" loses={"choice": 1, "runs": 2}
choice = {"name": "crop_padding", "with": "yes", "without": "no"}


# %% wrong="arms the other way round" answer="choice" loses={"runs": 2}
choice = {"name": "crop_padding", "with": 0, "without": 1}


# %% wrong="one seed" answer="runs" loses={"runs": 1, "results": 1}
runs = [
    {"folder": f"runs/{arm}-0/{framework}", "framework": framework, "seed": 0, "arm": arm}
    for framework in ("torch", "tf")
    for arm in ("with", "without")
]


# %% wrong="one framework" answer="runs" loses={"runs": 1, "results": 1}
runs = [
    {"folder": f"runs/{arm}-{seed}/torch", "framework": "torch", "seed": seed, "arm": arm}
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]


# %% wrong="seeds that are not the same in both arms" answer="runs" loses={"runs": 1, "results": 1}
runs = [
    {"folder": f"runs/{arm}-{seed}/{framework}", "framework": framework, "seed": seed, "arm": arm}
    for framework in ("torch", "tf")
    for arm, seeds in (("with", (0, 1)), ("without", (1, 2)))
    for seed in seeds
]


# %% wrong="arms differ in two fields" answer="runs" loses={"runs": 2}
runs = [
    {"folder": f"{place}-{seed}/{framework}", "framework": framework, "seed": seed, "arm": arm}
    for framework in ("torch", "tf")
    for arm, place in (("with", "other/two-fields/with"), ("without", "runs/without"))
    for seed in (0, 1)
]


# %% wrong="a run that was stopped" answer="runs" loses={"runs": 1}
runs = [
    {"folder": f"runs/{arm}-{seed}/{framework}", "framework": framework, "seed": seed, "arm": arm}
    for framework in ("torch", "tf")
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]
for run in runs:
    if run["folder"] == "runs/without-2/torch":
        run["folder"] = "other/unfinished"


# %% wrong="a run copied under another seed" answer="runs" loses={"runs": 1}
runs = [
    {"folder": f"runs/{arm}-{seed}/{framework}", "framework": framework, "seed": seed, "arm": arm}
    for framework in ("torch", "tf")
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]
for run in runs:
    if run["folder"] == "runs/without-2/torch":
        run["folder"] = "other/copied"


# %% wrong="table with frameworks exchanged" answer="runs" loses={"runs": 1}
runs = [
    {"folder": f"runs/{arm}-{seed}/{folder}", "framework": framework, "seed": seed, "arm": arm}
    for framework, folder in (("torch", "tf"), ("tf", "torch"))
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]


# %% wrong="a folder that is not there" answer="runs" loses={"runs": 6, "results": 1}
runs = [
    {
        "folder": f"trained/{arm}-{seed}/{framework}",
        "framework": framework,
        "seed": seed,
        "arm": arm,
    }
    for framework in ("torch", "tf")
    for arm in ("with", "without")
    for seed in (0, 1, 2)
]


# %% wrong="last step in place of the mean" answer="epoch_values" loses={"epoch_values": 1, "plot_curves": 1}
def epoch_values(folder, column):
    values = {}
    for row in read_metrics(folder):
        if column in row:
            values[row["epoch"]] = row[column]
    return list(values), list(values.values())


# %% wrong="empty cells are zeros" answer="epoch_values" loses={"epoch_values": 1, "summarise": 4, "results": 1, "plot_curves": 2}
def epoch_values(folder, column):
    values = {}
    for row in read_metrics(folder):
        values.setdefault(row["epoch"], []).append(row.get(column, 0.0))
    return list(values), [sum(each) / len(each) for each in values.values()]


# %% wrong="best epoch" answer="summarise" loses={"summarise": 4, "results": 1}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            best = max if column == "test_accuracy" else min
            mine.sort(key=lambda r: r["seed"])
            arms[arm] = np.array([best(epoch_values(r["folder"], column)[1]) for r in mine])
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
            for name, v in arms.items()
        }
    return summary


# %% wrong="divided by n" answer="summarise" loses={"summarise": 1, "results": 1}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            mine.sort(key=lambda r: r["seed"])
            arms[arm] = np.array([epoch_values(r["folder"], column)[1][-1] for r in mine])
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std()} for name, v in arms.items()
        }
    return summary


# %% wrong="spread as if there were no pairs" answer="summarise" loses={"summarise": 1, "results": 1}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            mine.sort(key=lambda r: r["seed"])
            arms[arm] = np.array([epoch_values(r["folder"], column)[1][-1] for r in mine])
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
            for name, v in arms.items()
        }
        spread = arms["with"].var(ddof=1) + arms["without"].var(ddof=1)
        summary[framework]["difference"]["std"] = spread**0.5
    return summary


# %% wrong="pairs in the order of the table" answer="summarise" loses={"summarise": 4}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            arms[arm] = np.array([epoch_values(r["folder"], column)[1][-1] for r in mine])
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
            for name, v in arms.items()
        }
    return summary


# %% wrong="both frameworks in one mean" answer="summarise" loses={"summarise": 4, "results": 1}
def summarise(runs, column):
    arms = {}
    for arm in ("with", "without"):
        mine = sorted((r for r in runs if r["arm"] == arm), key=lambda r: r["seed"])
        arms[arm] = np.array([epoch_values(r["folder"], column)[1][-1] for r in mine])
    arms["difference"] = arms["with"] - arms["without"]
    both = {
        name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
        for name, v in arms.items()
    }
    return {"torch": both, "tf": both}


# %% wrong="mean over the epochs" answer="summarise" loses={"summarise": 4, "results": 1}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            mine.sort(key=lambda r: r["seed"])
            curves = np.array([epoch_values(r["folder"], column)[1] for r in mine])
            arms[arm] = curves.mean(axis=1)
        arms["difference"] = arms["with"] - arms["without"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
            for name, v in arms.items()
        }
    return summary


# %% wrong="without minus with" answer="summarise" loses={"summarise": 2, "results": 1}
def summarise(runs, column):
    summary = {}
    for framework in ("torch", "tf"):
        arms = {}
        for arm in ("with", "without"):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            mine.sort(key=lambda r: r["seed"])
            arms[arm] = np.array([epoch_values(r["folder"], column)[1][-1] for r in mine])
        arms["difference"] = arms["without"] - arms["with"]
        summary[framework] = {
            name: {"values": list(v), "mean": v.mean(), "std": v.std(ddof=1)}
            for name, v in arms.items()
        }
    return summary


# %% wrong="numbers typed in and rounded" answer="results" loses={"results": 1}
results = {column: summarise(runs, column) for column in ("test_accuracy", "test_loss")}
results["test_accuracy"]["torch"]["with"] = {
    "values": [0.978, 0.981, 0.983],
    "mean": 0.981,
    "std": 0.003,
}


# %% wrong="loss and accuracy exchanged" answer="results" loses={"results": 1}
results = {
    "test_accuracy": summarise(runs, "test_loss"),
    "test_loss": summarise(runs, "test_accuracy"),
}


# %% wrong="mean curves only" answer="plot_curves" loses={"plot_curves": 2}
def plot_curves(runs, column):
    figure, panels = plt.subplots(1, 2)
    for axes, framework in zip(panels, ("torch", "tf")):
        for arm, style in (("with", "-"), ("without", "--")):
            mine = [r for r in runs if (r["framework"], r["arm"]) == (framework, arm)]
            curves = [epoch_values(r["folder"], column) for r in mine]
            axes.plot(curves[0][0], np.mean([c[1] for c in curves], axis=0), style, label=arm)
        what = column.split("_")[1]
        axes.set(title=framework, xlabel="epoch", ylabel=f"{what} (of test images)")
        axes.legend()
    return figure


# %% wrong="a label for accuracy on every figure" answer="plot_curves" loses={"plot_curves": 1}
def plot_curves(runs, column):
    figure, panels = plt.subplots(1, 2)
    looks = {"with": ("tab:blue", "-"), "without": ("tab:orange", "--")}
    for axes, framework in zip(panels, ("torch", "tf")):
        seen = set()
        for run in runs:
            if run["framework"] == framework:
                arm = run["arm"]
                colour, style = looks[arm]
                label = None if arm in seen else arm
                seen.add(arm)
                axes.plot(*epoch_values(run["folder"], column), style, color=colour, label=label)
        axes.set(title=framework, xlabel="epoch", ylabel="accuracy (share of test images)")
        axes.legend()
    return figure


# %% wrong="only colour" answer="plot_curves" loses={"plot_curves": 1}
def plot_curves(runs, column):
    figure, panels = plt.subplots(1, 2)
    looks = {"with": "tab:blue", "without": "tab:orange"}
    for axes, framework in zip(panels, ("torch", "tf")):
        seen = set()
        for run in runs:
            if run["framework"] == framework:
                arm = run["arm"]
                label = None if arm in seen else arm
                seen.add(arm)
                axes.plot(*epoch_values(run["folder"], column), color=looks[arm], label=label)
        axes.set(title=framework, xlabel="epoch", ylabel=column.replace("_", " ") + " (unit)")
        axes.legend()
    return figure
