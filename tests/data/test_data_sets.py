"""Data sets: found, checked, the same for both frameworks."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.data import cifar10, fashion_mnist, places
from shared.data.cifar10 import read_cifar_batch
from shared.data.digits import digits_table
from shared.data.load import load_data

# -- digits


def test_digits_need_no_file_and_no_other_package():
    digits = load_data("digits")
    assert digits.train.images.shape == (1437, 8, 8, 1)
    assert digits.test.images.shape == (360, 8, 8, 1)
    assert (digits.train.images.max(), digits.highest, digits.channels) == (16, 16, 1)
    assert digits.classes == tuple("0123456789")


def test_the_shipped_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_digits()
    table = digits_table()
    assert np.array_equal(table[:, :64].reshape(-1, 8, 8), theirs.images)
    assert np.array_equal(table[:, 64], theirs.target)


# -- Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_fashion(monkeypatch, no_data):
    """Four files in the official form, small, with their own hashes in the table."""
    rng = np.random.default_rng(0)
    folder = no_data / "mine" / "fashion-mnist"
    folder.mkdir(parents=True)
    contents = {}
    for name in fashion_mnist.FASHION_FILES:
        count = 20 if name.startswith("train") else 10
        array = rng.integers(0, 256, (count, 28, 28)) if "images" in name else np.arange(count) % 10
        contents[name] = idx(array)
        (folder / name).write_bytes(gzip.compress(contents[name]))
    hashes = {
        name: (hashlib.sha256((folder / name).read_bytes()).hexdigest(), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    monkeypatch.setattr(fashion_mnist, "FASHION_FILES", hashes)
    return folder


def test_fashion_mnist_is_read_from_the_folder_that_is_named(small_fashion):
    fashion = load_data("fashion-mnist", data_dir=small_fashion.parent)
    assert fashion.train.images.shape == (20, 28, 28, 1)
    assert fashion.test.labels.tolist() == list(range(10))
    assert load_data("fashion-mnist", data_dir=small_fashion).train.images.shape == (20, 28, 28, 1)


def test_folders_are_searched_in_the_stated_order(monkeypatch, no_data):
    monkeypatch.setenv("RESNET_TWINS_DATA", str(no_data / "env"))
    (no_data / "given").mkdir()
    assert places.data_folders(no_data / "given") == [no_data / "given", no_data / "env", no_data / "cache"]
    with pytest.raises(InputError, match=r"--data-dir is .*nowhere"):
        places.data_folders(no_data / "nowhere")


@pytest.mark.parametrize("damage", ["cut", "other", "text", "empty"])
def test_a_damaged_fashion_file_is_named_with_its_hash(small_fashion, damage):
    path = small_fashion / "t10k-images-idx3-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes({"cut": good[:-200], "other": gzip.compress(b"x" * 99), "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(InputError) as caught:
        load_data("fashion-mnist", data_dir=small_fashion.parent)
    assert str(path) in str(caught.value)
    assert fashion_mnist.FASHION_FILES[path.name][1] in str(caught.value)
    assert path.exists(), "a user's file must not be deleted"


def test_the_real_fashion_mnist(real_data):
    fashion = load_data("fashion-mnist", data_dir=real_data)
    assert fashion.train.images.shape == (60_000, 28, 28, 1)
    assert fashion.test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(fashion.test.labels).tolist() == [1000] * 10
    assert fashion.classes[9] == "ankle boot"


# -- CIFAR-10


def test_cifar_records_are_a_label_and_three_planes():
    record = np.zeros((10_000, 3073), np.uint8)
    record[7] = np.concatenate([[9], np.repeat([1, 2, 3], 1024)])
    record[7, 1 + 32] = 99  # the red of the second row's first pixel
    split = read_cifar_batch(record.tobytes(), "x.bin")
    assert split.images.shape == (10_000, 32, 32, 3)
    assert split.labels[7] == 9
    assert split.images[7, 0, 0].tolist() == [1, 2, 3]
    assert split.images[7, 1, 0].tolist() == [99, 2, 3]


def test_cifar_is_read_from_the_archive_and_from_what_is_unpacked(monkeypatch, no_data):
    monkeypatch.setattr(cifar10, "CIFAR_RECORDS", 12)
    rng = np.random.default_rng(0)
    folder = no_data / "cifar-10" / cifar10.CIFAR_FOLDER
    folder.mkdir(parents=True)
    for name in (*cifar10.CIFAR_TRAIN, *cifar10.CIFAR_TEST):
        table = rng.integers(0, 256, (12, 3073), np.uint8)
        table[:, 0] %= 10
        (folder / name).write_bytes(table.tobytes())
    unpacked = load_data("cifar10", data_dir=no_data)
    assert unpacked.train.images.shape == (60, 32, 32, 3)
    archive = no_data / "packed" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, cifar10.CIFAR_FOLDER)
    packed = load_data("cifar10", data_dir=archive.parent)
    assert np.array_equal(packed.train.images, unpacked.train.images)
    assert np.array_equal(packed.test.labels, unpacked.test.labels)

    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cifar-10-binary.tar.gz is damaged or only half there"):
        load_data("cifar10", data_dir=archive.parent)
    (folder / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"data_batch_3.bin has 5 bytes; a batch of CIFAR-10 has"):
        load_data("cifar10", data_dir=no_data)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match="has no data_batch_3"):
        load_data("cifar10", data_dir=no_data)


def test_the_pickled_cifar_archive_is_not_what_is_asked_for():
    assert "binary" in cifar10.CIFAR_URL
    assert "python" not in cifar10.CIFAR_URL
