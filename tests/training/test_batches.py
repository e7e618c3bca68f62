"""Batches: a function of seed, epoch and index, the same for both frameworks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.data.dataset import Dataset, Split
from shared.data.inputs import Inputs, resize
from shared.training.batches import Batches, crop
from shared.training.recipes import get_recipe

# -- batches


def toy(n: int = 50, size: int = 8, channels: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, channels), np.uint8)
    split = Split(images=images, labels=np.arange(n) % 5)
    return Dataset(name="toy", train=split, test=split.take(slice(0, 10)), classes=tuple("abcde"))


AUGMENTED = ("batch_size=8", "crop_padding=2", "flip=yes")


def test_the_order_is_the_stated_function_of_seed_and_epoch():
    batches = Batches(toy(), get_recipe("quick", ["batch_size=8", "seed=3"]))
    expected = np.random.default_rng([3, 5]).permutation(50)
    assert np.array_equal(batches.order(5), expected)
    assert not np.array_equal(batches.order(4), expected)
    labels = np.concatenate([batches.train_batch(5, number)[1] for number in range(batches.steps_per_epoch)])
    assert batches.steps_per_epoch == 6, "the last partial batch is dropped"
    assert np.array_equal(labels, (expected % 5)[:48])


def test_a_batch_does_not_depend_on_the_batches_before_it():
    recipe = get_recipe("quick", AUGMENTED)
    one, other = Batches(toy(), recipe), Batches(toy(), recipe)
    for number in range(6):
        one.train_batch(0, number)
    assert np.array_equal(one.train_batch(2, 4)[0], other.train_batch(2, 4)[0])


def test_augmentation_is_a_function_of_the_image_whatever_the_batch_size():
    """So a run that is split over two processes sees the same pixels."""
    whole = Batches(toy(), get_recipe("quick", [*AUGMENTED, "batch_size=8"])).train_batch(1, 0)[0]
    halves = Batches(toy(), get_recipe("quick", [*AUGMENTED, "batch_size=4"]))
    assert np.array_equal(whole, np.concatenate([halves.train_batch(1, 0)[0], halves.train_batch(1, 1)[0]]))


def test_crops_and_flips_are_those_of_a_plain_loop():
    data, recipe = toy(), get_recipe("quick", [*AUGMENTED, "normalize=zero-one"])
    batches = Batches(data, recipe)
    images, _ = batches.train_batch(0, 0)
    corners, mirrored = batches.draws(0)
    padded = np.pad(data.train.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for row, index in enumerate(batches.order(0)[:8]):
        y, x = corners[index]
        expected = padded[index, y : y + 8, x : x + 8]
        expected = expected[:, ::-1] if mirrored[index] else expected
        assert np.allclose(images[row], expected / 255, atol=1e-6)
    assert len({tuple(corner) for corner in corners}) > 10
    assert 5 < mirrored.sum() < 45


def test_crop_cuts_where_it_is_told():
    image = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
    assert np.array_equal(crop(image, 1, np.array([[1, 1]])), image)
    corner = crop(image, 1, np.array([[0, 0]]))[0, :, :, 0]
    assert corner.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11]]


def test_pixels_are_normalised_by_the_training_images():
    batches = Batches(toy(400), get_recipe("quick", ["batch_size=400", "crop_padding=0"]))
    images, _ = batches.train_batch(0, 0)
    assert images.dtype == np.float32
    assert np.allclose(images.reshape(-1, 3).mean(0), 0, atol=1e-5)
    assert np.allclose(images.reshape(-1, 3).std(0), 1, atol=1e-5)
    plain = Batches(toy(), get_recipe("quick", ["batch_size=8", "normalize=zero-one"]))
    assert (plain.inputs.mean, plain.inputs.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("size", [3, 8, 13, 28])
def test_resizing_is_pillows_bilinear(size):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    theirs = image.fromarray(pixels[0, :, :, 0]).resize((size, size), image.Resampling.BILINEAR)
    assert np.abs(resize(pixels, size)[0, :, :, 0] - np.asarray(theirs)).max() < 1e-5


def test_resizing_keeps_channels_apart_and_takes_oblong_images():
    images = np.zeros((2, 4, 6, 3), np.float32)
    images[..., 1] = 5
    out = resize(images, 8)
    assert out.shape == (2, 8, 8, 3)
    assert np.allclose(out[..., 1], 5)
    assert not out[..., [0, 2]].any()


def test_validation_images_leave_the_training_images():
    data = toy(50)
    batches = Batches(data, get_recipe("quick", ["batch_size=8", "validation=0.2"]))
    assert batches.validation is not None
    assert (len(batches.validation), len(batches.train)) == (10, 40)
    together = [image.tobytes() for split in (batches.validation, batches.train) for image in split.images]
    assert Counter(together) == Counter(image.tobytes() for image in data.train.images)


def test_too_few_images_for_a_batch_are_explained():
    with pytest.raises(InputError, match="50 training images, fewer than one batch of 64; --set batch_size=12 fits"):
        Batches(toy(), get_recipe("quick"))


def test_inputs_survive_their_text_and_refuse_another():
    inputs = Batches(toy(), get_recipe("quick", ["batch_size=8"])).inputs
    assert Inputs.from_json(inputs.to_json()) == inputs
    for text in ("", "{}", "[]", inputs.to_json().replace("255", "0"), '{"classes": 3}'):
        with pytest.raises(InputError):
            Inputs.from_json(text)
