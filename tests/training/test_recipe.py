"""Recipes: what they hold, how they are changed, and the learning rate of every step."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import tomllib

import pytest

from shared.base.errors import InputError
from shared.networks.catalog import get_spec
from shared.training.recipe import LENGTHS, Recipe, read_recipe
from shared.training.recipes import RECIPES, get_recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_named_recipe_names_a_network_and_survives_its_file(recipe, tmp_path):
    get_spec(recipe.model)
    assert recipe.about
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(path) == recipe
    assert get_recipe(str(path)) == recipe


def test_d2l_fashion_is_the_book_s():
    recipe = RECIPES["d2l-fashion"]
    spec = get_spec(recipe.model)
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.epochs) == ("sgd", 0.05, 256, 10)
    assert (spec.in_channels, recipe.image_size, recipe.momentum, recipe.schedule) == (1, 96, 0.0, "constant")
    assert "0.014" in recipe.about
    assert "0.895" in recipe.about


def test_paper_cifar_divides_by_10_at_32k_and_48k_of_64k_steps():
    recipe = RECIPES["paper-cifar"]
    assert (recipe.momentum, recipe.weight_decay, recipe.batch_size) == (0.9, 1e-4, 128)
    total = recipe.total_steps(390)
    assert total == 64_000
    rates = {step: recipe.learning_rate_at(step, total) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)}
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_blog_cifar_adam_divides_by_3_every_20_epochs():
    recipe = RECIPES["blog-cifar-adam"]
    total = recipe.total_steps(500)
    rates = [recipe.learning_rate_at(500 * epoch, total) for epoch in range(recipe.epochs)]
    assert recipe.optimizer == "adam"
    assert rates == pytest.approx([1e-3 / 3 ** (epoch // 20) for epoch in range(80)])


def test_schedules_at_hand_computed_steps():
    def rates(*changes: str) -> list[float]:
        recipe = get_recipe("quick", ["steps=10", "learning_rate=1", "warmup=0", *changes])
        return [recipe.learning_rate_at(step, 10) for step in range(10)]

    assert rates("schedule=constant") == [1.0] * 10
    assert rates("schedule=cosine") == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    assert rates("schedule=one-cycle") == pytest.approx([1 - step / 10 for step in range(10)])
    assert rates("schedule=one-cycle", "warmup=0.4")[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rates("schedule=step", "milestones=0.3,0.6", "gamma=0.5") == [1] * 3 + [0.5] * 3 + [0.25] * 4


def test_a_schedule_keeps_its_form_when_the_run_gets_shorter():
    long, short = RECIPES["paper-cifar"], get_recipe("paper-cifar", ["steps=640"])
    assert [long.learning_rate_at(100 * step, 64_000) for step in range(640)] == [
        short.learning_rate_at(step, 640) for step in range(640)
    ]


def test_changes_are_read_as_the_type_of_their_field():
    recipe = get_recipe(
        "paper-cifar", ["epochs=3", "flip=no", "milestones=0.1, 0.2", "learning-rate=1", "precision=float64"]
    )
    assert (recipe.epochs, recipe.steps, recipe.flip, recipe.milestones) == (3, 0, False, (0.1, 0.2))
    assert (recipe.learning_rate, type(recipe.learning_rate), recipe.precision) == (1.0, float, "float64")
    assert get_recipe("paper-cifar", ["schedule=cosine"]).milestones == ()
    assert get_recipe("quick", seed=7, data=None).seed == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epoch=3", "a recipe has no epoch; nearest are epochs"),
        ("epochs", "wanted is field=value"),
        ("epochs=three", "wanted is a whole number"),
        ("epochs=1.5", "wanted is a whole number"),
        ("epochs=0", "epochs is 0 and steps is 0; one of them says how long"),
        ("epochs=-1", "epochs is -1; allowed is 0 to"),
        ("flip=maybe", "wanted is true or false"),
        ("milestones=0.5", "step needs milestones, the others have none"),
        ("milestones=a", "wanted is numbers with commas between them"),
        ("learning_rate=nan", "learning_rate is nan"),
        ("learning_rate=-0.1", "learning_rate is -0.1; allowed is 0 to 1000"),
        ("optimizer=lion", "optimizer is 'lion'; allowed is one of sgd, adam, adamw"),
        ("schedule=linear", "allowed is one of constant, step, cosine, one-cycle"),
        ("precision=int8", "allowed is one of float32, bfloat16, float16, float64"),
        ("momentum=0", "nesterov needs a momentum"),
        ("momentum=1", "momentum is 1.0; allowed is 0 to 0.9999"),
        ("batch_size=0", "batch_size is 0; allowed is 1 to"),
        ("validation=0.95", "validation is 0.95; allowed is 0 to 0.9"),
    ],
)
def test_a_change_that_is_not_allowed_is_explained(change, message):
    with pytest.raises(InputError) as caught:
        get_recipe("quick", [change])
    assert message in str(caught.value)


def test_unknown_recipes_and_broken_files_are_explained(tmp_path):
    with pytest.raises(InputError, match="unknown recipe 'quik'; nearest are quick"):
        get_recipe("quik")
    broken = tmp_path / "broken.toml"
    for text, message in [
        ("epochs = = 3", "no readable recipe"),
        ('name = "x"\nfoo = 1', "unknown foo"),
        ("epochs = 3", "it has no name"),
        ('name = "x"\nepochs = "3"', "epochs is '3'; allowed is a value of type int"),
    ]:
        broken.write_text(text)
        with pytest.raises(InputError, match=message):
            get_recipe(str(broken))


START = 'name = "x"\nepochs = 3\n'
FOREIGN = {
    "a gigabyte": (lambda: "#" * 10**6, "has more than 100,000 bytes"),
    "a key of 50,000 parts": (lambda: "a." * 49_000 + "a = 1", "6,000 dots"),
    "a key of 4,000 parts": (lambda: "a." * 4000 + "a = 1", "unknown a"),
    "tables in tables": (lambda: "".join(f"[{'a.' * 900}b{number}]\n" for number in range(5)), "unknown a"),
    "brackets": (lambda: "name = " + "[" * 90_000, "no readable recipe"),
    "braces": (lambda: "name = " + "{a=" * 30_000, "no readable recipe"),
    "50,000 digits": (lambda: f"{START}seed = {'9' * 50_000}", "no readable recipe: Exceeds the limit"),
    "a number that Python does not write": (lambda: f"{START}seed = 0x{'f' * 90_000}", "too large to be shown"),
    "a share that is no float": (lambda: f"{START}gamma = 0x{'f' * 90_000}", "too large to be shown"),
    "400 digits": (lambda: f"{START}gamma = -{'9' * 400}", "allowed is 1e-06 to 1"),
    "milestones that are no floats": (lambda: f"{START}milestones = [0x{'f' * 9000}]", "too large to be shown"),
    "milestones in milestones": (lambda: f"{START}milestones = {'[' * 300}{']' * 300}", "milestones are"),
    "many milestones": (
        lambda: f"{START}schedule = 'step'\nmilestones = {[number / 999 for number in range(1, 999)]}",
        "998 milestones; allowed are 100",
    ),
    "nan": (lambda: f"{START}learning_rate = nan", "learning_rate is nan"),
    "nan among the milestones": (lambda: f"{START}milestones = [nan]", "milestones are"),
    "infinite": (lambda: f"{START}weight_decay = inf", "weight_decay is inf"),
    "a date": (lambda: "name = 1979-05-27T07:32:00Z", "allowed is a value of type str"),
    "an escape in the name": (lambda: 'name = "\\u001b[31m"\nepochs = 3', "name is"),
    "an escape in a field": (lambda: '"\\u001b[31m" = 3', r"unknown \\x1b"),
    "an escape in a text": (lambda: f'{START}about = "\\u202e"', "no plain text"),
    "a long text": (lambda: f'{START}about = "{"x" * 6000}"', "at most 1,000 characters"),
    "thousands of fields": (lambda: "".join(f"k{number} = 1\n" for number in range(9000)), "k0, .* and 8,980 more"),
    "the same field again": (lambda: "a = 1\n" * 16_000, "no readable recipe"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_recipe_of_somebody_else_is_answered_quickly_with_one_line(tmp_path, what):
    make, words = FOREIGN[what]
    (tmp_path / "r.toml").write_text(make(), encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        get_recipe(str(tmp_path / "r.toml"))
    assert time.monotonic() - started < 10
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 6000


def test_a_recipe_is_read_no_further_than_a_recipe_is_long(tmp_path):
    import tracemalloc

    with (tmp_path / "r.toml").open("wb") as file:
        file.truncate(10**9)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="has more than 100,000 bytes"):
            read_recipe(tmp_path / "r.toml")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_recipe_that_is_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "r.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("r.toml", "zero.toml"):
        with pytest.raises(InputError, match="is no plain file"):
            get_recipe(str(tmp_path / name))


def test_the_longest_recipe_that_is_allowed_survives_its_file(tmp_path):
    milestones = tuple(number / 101 for number in range(1, 101))
    for sign in (".", "\u4f60", '"', "\\", "\U0001f600"):
        texts = {name: sign * most for name, most in LENGTHS.items()} | {"name": "." * 200}
        recipe = Recipe(**texts, epochs=1, schedule="step", milestones=milestones)
        (tmp_path / "r.toml").write_text(recipe.to_toml(), encoding="utf-8")
        assert read_recipe(tmp_path / "r.toml") == recipe


def test_every_number_of_a_recipe_has_limits():
    from shared.training.recipe import LIMITS

    numbers = {field.name for field in dataclasses.fields(Recipe) if field.type in ("int", "float")}
    assert numbers == {name for name, _, _ in LIMITS}


def test_recipes_are_listed_and_shown(call):
    listed = call("recipes")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in RECIPES)
    shown = call("recipes", "fast-cifar")
    assert Recipe(**tomllib.loads(shown.stdout)) == RECIPES["fast-cifar"]
    assert call("recipes", "fast").returncode == 2
