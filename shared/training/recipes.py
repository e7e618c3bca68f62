"""The recipes that come with the package, and how a recipe is chosen and changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from shared.base.checks import nearest
from shared.base.errors import InputError
from shared.training.recipe import Recipe, read_recipe

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="quick",
            about="digits in under a minute on two cores, for trying things out",
            epochs=30,
            batch_size=64,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            schedule="one-cycle",
            warmup=0.2,
            crop_padding=1,
        ),
        Recipe(
            name="d2l-fashion",
            about="Dive into Deep Learning 8.6; published: loss 0.014, train accuracy 0.996, test accuracy 0.895",
            data="fashion-mnist",
            model="resnet18_d2l",
            epochs=10,
            batch_size=256,
            learning_rate=0.05,
            image_size=96,
            normalize="zero-one",
        ),
        Recipe(
            name="paper-cifar",
            about="He et al. 2015, section 4.2: divided by 10 at 32k and 48k of 64k steps; published: 91.25%",
            data="cifar10",
            model="resnet20_cifar",
            steps=64_000,
            batch_size=128,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="step",
            milestones=(0.5, 0.75),
            crop_padding=4,
            flip=True,
        ),
        Recipe(
            name="blog-cifar-adam",
            about="a widespread CIFAR-10 tutorial: Adam, divided by 3 every 20 of 80 epochs",
            data="cifar10",
            model="resnet14_cifar_conv3x3",
            epochs=80,
            batch_size=100,
            optimizer="adam",
            learning_rate=1e-3,
            schedule="step",
            milestones=(0.25, 0.5, 0.75),
            gamma=1 / 3,
            crop_padding=4,
            flip=True,
        ),
        Recipe(
            name="fast-cifar",
            about="ours: a high rate that rises and falls once, little decay on kernels only, few epochs on a CPU",
            data="cifar10",
            model="resnet20_cifar",
            epochs=40,
            batch_size=128,
            learning_rate=0.2,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            decay_norm_and_bias=False,
            schedule="one-cycle",
            warmup=0.2,
            crop_padding=4,
            flip=True,
            precision="bfloat16",
        ),
        Recipe(
            name="degradation-digits",
            about="for `experiment degradation`, on digits: a constant rate, no augmentation",
            model="plain20_cifar",
            epochs=30,
            batch_size=64,
            learning_rate=0.05,
            momentum=0.9,
            weight_decay=1e-4,
        ),
        Recipe(
            name="degradation-cifar",
            about="for `experiment degradation`, on CIFAR-10: as in the paper, but shorter",
            data="cifar10",
            model="plain20_cifar",
            epochs=10,
            batch_size=128,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="step",
            milestones=(0.5, 0.75),
            crop_padding=4,
            flip=True,
            precision="bfloat16",
        ),
    )
}


def _parse(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind == "int":
            return int(text.replace("_", ""))
        if kind == "float":
            return float(text)
        if kind.startswith("tuple"):
            return tuple(float(part) for part in text.replace("[", "").replace("]", "").split(",") if part.strip())
    except (ValueError, KeyError):
        kinds = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        wanted = kinds.get(kind, "numbers with commas between them")
        raise InputError(f"--set {name}={text}: wanted is {wanted}") from None
    return text


def get_recipe(name: str | Recipe, changes: Iterable[str] = (), **fields_: Any) -> Recipe:
    """Return the recipe called `name`, or that of a `.toml` file, with changes.

    `changes` are texts like "epochs=3", as `--set` takes them; keywords are values. Changing `epochs` sets
    `steps` to 0 and the other way round. Raises `InputError` for an unknown recipe, field or value.
    """
    if isinstance(name, Recipe):
        recipe = name
    elif not isinstance(name, str):
        raise InputError(f"a recipe is given by its name or a Recipe, not by a {type(name).__name__}")
    elif name in RECIPES:
        recipe = RECIPES[name]
    elif name.endswith(".toml"):
        recipe = read_recipe(name)
    else:
        raise InputError(
            f"unknown recipe {name!r}; nearest are {', '.join(nearest(name, RECIPES))} (`resnet-twins recipes` lists "
            "all; a file ends in .toml)"
        )
    if isinstance(changes, str):
        raise InputError(f"changes are a list of texts like ['epochs=3'], not {changes!r}")
    kinds = {field.name: str(field.type) for field in fields(Recipe)}
    unknown = [key for key in fields_ if key not in kinds]
    if unknown:
        raise InputError(f"a recipe has no {unknown[0]}; nearest are {', '.join(nearest(unknown[0], kinds))}")
    values = {key: value for key, value in fields_.items() if value is not None}
    for change in changes:
        key, equals, text = change.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise InputError(f"--set {change}: wanted is field=value, like epochs=3")
        if key not in kinds:
            raise InputError(f"--set {change}: a recipe has no {key}; nearest are {', '.join(nearest(key, kinds))}")
        values[key] = _parse(key, kinds[key], text.strip())
    for key, other in (("epochs", "steps"), ("steps", "epochs")):
        if values.get(key):
            values.setdefault(other, 0)
    if values.get("schedule", "step") != "step":
        values.setdefault("milestones", ())
    return replace(recipe, **values)
