"""Data sets: found, checked, decoded; batches the same for both frameworks; downloads that survive what goes wrong."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import struct
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.data import cifar10, fashion_mnist, places
from shared.data.cifar10 import CIFAR_JPEG, read_cifar_batch
from shared.data.dataset import Dataset, Split
from shared.data.digits import digits_table
from shared.data.download import Download, fetch
from shared.data.inputs import Inputs, resize
from shared.data.load import find_local, load_data
from shared.training.batches import Batches, crop
from shared.training.recipes import get_recipe


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """Neither $RESNET_TWINS_DATA nor a cache with anything in it, and no network."""
    monkeypatch.delenv("RESNET_TWINS_DATA", raising=False)
    for module in (places, fashion_mnist, cifar10):
        monkeypatch.setattr(module, "data_cache", lambda: tmp_path / "cache")
    return tmp_path


def picture(path, size=(8, 8), mode="RGB", colour=None):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    colour = colour or (200, 100, 50, 0)[:channels]
    image.new(mode, size, colour if channels > 1 else colour[0]).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes with five pictures each, without train and test."""
    for name in ("cat", "dog"):
        for number in range(5):
            picture(tmp_path / "photos" / name / f"{number}.png", colour=(40 * number, 10, 0))
    return tmp_path / "photos"


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


# -- folders of pictures


def test_a_folder_without_train_and_test_is_split_by_the_seed(photos):
    first, again = load_data(f"folder:{photos}"), load_data(f"folder:{photos}")
    other = load_data(f"folder:{photos}", seed=1)
    assert first.classes == ("cat", "dog")
    assert (len(first.train), len(first.test)) == (8, 2)
    assert sorted(first.test.labels) == [0, 1], "each class is in the test images"
    assert np.array_equal(first.test.images, again.test.images)
    assert not np.array_equal(first.test.images, other.test.images)


def test_train_and_test_folders_are_used_as_they_are(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("a", "b"):
            for number in range(count):
                picture(tmp_path / "set" / split / name / f"{number}.png")
    found = load_data(f"folder:{tmp_path / 'set'}")
    assert (len(found.train), len(found.test)) == (6, 4)
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "set", "set")
    packed = load_data(f"folder:{archive}")
    assert np.array_equal(packed.train.images, found.train.images)


def test_hidden_files_are_no_pictures_but_a_hidden_place_is_a_place(photos):
    (photos / "cat" / "._0.png").write_bytes(b"what a Mac puts beside a file")
    (photos / ".thumbnails").mkdir()
    hidden = photos.rename(photos.parent / ".photos")
    found = load_data(f"folder:{hidden}")
    assert (found.classes, found.notes) == (("cat", "dog"), ())
    archive = photos.parent / "photos.tar"
    with tarfile.open(archive, "w") as file:
        file.add(hidden, ".")
    assert len(load_data(f"folder:{archive}").train) == 8


def test_a_folder_is_also_looked_for_where_data_sets_lie(photos, no_data):
    assert load_data("folder:photos", data_dir=photos.parent).classes == ("cat", "dog")


def test_broken_grey_and_transparent_pictures_are_counted_and_named(photos):
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    half = (photos / "cat" / "1.png").read_bytes()[:45]
    (photos / "dog" / "half.png").write_bytes(half)
    picture(photos / "cat" / "grey.png", mode="L")
    picture(photos / "dog" / "ghost.png", mode="RGBA")
    (photos / "dog" / "readme.txt").write_text("no picture, and none is claimed")
    found = load_data(f"folder:{photos}")
    notes = " ".join(found.notes)
    assert "2 pictures did not decode and were skipped: cat/broken.jpg, dog/half.png" in notes
    assert "1 pictures: grey ones got three equal channels" in notes
    assert "1 pictures: with transparency were put on white" in notes
    every = np.concatenate([found.train.images, found.test.images])
    assert len(every) == 12
    assert (every == 255).all(axis=(1, 2, 3)).sum() == 1, "the wholly transparent picture is white"
    assert (every == 200).all(axis=(1, 2, 3)).sum() == 1, "the grey picture is grey"


def test_pictures_of_different_sizes_are_cut_to_a_square_and_resized(photos):
    picture(photos / "dog" / "wide.png", size=(40, 20))
    with pytest.raises(InputError, match=r"--set image_size=64"):
        load_data(f"folder:{photos}")
    assert load_data(f"folder:{photos}", default_size=16).train.images.shape[1:] == (16, 16, 3)
    assert load_data(f"folder:{photos}", image_size=24, default_size=16).train.images.shape[1:] == (24, 24, 3)


def test_sixteen_bits_a_pixel_are_scaled_not_cut_off(photos):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image.fromarray(np.full((8, 8), 257 * 77, np.uint16)).save(photos / "cat" / "deep.png")
    found = load_data(f"folder:{photos}")
    every = np.concatenate([found.train.images, found.test.images])
    assert (every == 77).all(axis=(1, 2, 3)).sum() == 1
    assert any("16 bits" in note for note in found.notes)


def test_a_network_for_grey_images_gets_grey_ones(photos):
    found = load_data(f"folder:{photos}", channels=1)
    assert found.train.images.shape == (8, 8, 8, 1)
    assert any("coloured ones became grey" in note for note in found.notes)


@pytest.mark.parametrize("packing", ["w:gz", "w:xz"])
def test_a_damaged_archive_is_explained_wherever_the_damage_is(photos, packing):
    archive = photos.parent / "photos.tar"
    with tarfile.open(archive, packing) as file:
        file.add(photos, "photos")
    good = bytearray(archive.read_bytes())
    for place in range(60, len(good) - 20, max(1, len(good) // 15)):
        damaged = bytearray(good)
        damaged[place : place + 12] = bytes(12)
        archive.write_bytes(damaged)
        with contextlib.suppress(InputError):  # any other error is a traceback; some damage only spoils a picture
            load_data(f"folder:{archive}")


def test_damaged_exif_data_cost_one_picture_at_most(photos):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    from shared.data.pictures import open_picture

    exif = image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    image.new("RGB", (8, 8), (200, 10, 10)).save(content, "JPEG", exif=exif)
    good = content.getvalue()
    start = good.index(b"Exif")
    for place in range(start, start + 40):
        for value in (0, 255):
            damaged = bytearray(good)
            damaged[place] = value
            with contextlib.suppress(ValueError):  # which is a skip; any other error would end the run
                assert open_picture(bytes(damaged), 3).mode == "RGB"


def test_the_middle_of_a_wide_picture_is_kept():
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    from shared.data.pictures import to_square

    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    assert (np.asarray(to_square(image.fromarray(pixels), 5)) == 255).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("one class", "in 1 classes; wanted is a folder or tar archive"),
        ("empty class", "no picture in the folder bird; fill it, or remove it"),
        ("only broken", "class 'bird' has no readable picture"),
        ("nothing", "holds 0 pictures in 0 classes"),
        ("missing", "there is no such folder or archive"),
        ("no archive", "is no readable folder or tar archive"),
        ("one picture", "class 'bird' has no readable picture for train; it needs two or more"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_explained(photos, tmp_path, change, message):
    place = photos
    if change == "one class":
        place = tmp_path / "one"
        picture(place / "cat" / "0.png")
    elif change == "empty class":
        (photos / "bird").mkdir()
    elif change == "only broken":
        (photos / "bird").mkdir()
        (photos / "bird" / "x.png").write_bytes(b"no")
    elif change == "nothing":
        place = tmp_path / "empty"
        place.mkdir()
    elif change == "missing":
        place = tmp_path / "nowhere"
    elif change == "no archive":
        place = tmp_path / "file.tar"
        place.write_bytes(b"no archive")
    elif change == "one picture":
        picture(photos / "bird" / "0.png")
    with pytest.raises(InputError) as caught:
        load_data(f"folder:{place}", default_size=8)
    assert message in str(caught.value)


def test_train_and_test_with_different_classes_are_refused(tmp_path):
    for where in ("train/a", "train/b", "test/a", "test/c"):
        picture(tmp_path / "set" / where / "0.png")
    with pytest.raises(InputError, match="train/ and test/ have different classes; in one only: b, c"):
        load_data(f"folder:{tmp_path / 'set'}")


def test_a_picture_of_a_billion_pixels_is_not_decoded(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    from shared.data.pictures import open_picture

    content = io.BytesIO()
    image.new("1", (12_000, 12_000)).save(content, "PNG")
    assert len(content.getvalue()) < 100_000
    with pytest.raises(ValueError, match="pixels"):
        open_picture(content.getvalue(), 3)


def test_unknown_data_sets_are_explained():
    with pytest.raises(InputError, match=r"unknown data set 'fashion'.*nearest: fashion-mnist"):
        load_data("fashion")
    with pytest.raises(InputError, match="unknown data set 'folder:'"):
        load_data("folder:")


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


# -- downloads, from a server on this machine

CONTENT = bytes(range(256)) * 2000


class Server(BaseHTTPRequestHandler):
    """Serves `CONTENT` with resume, and every kind of trouble."""

    trouble = ""
    ranges: list[str] = []  # noqa: RUF012 (the handler's class is made anew for every test)

    def do_GET(self) -> None:
        if self.trouble == "gone":
            self.send_error(404)
            return
        start = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0])
        self.ranges.append(self.headers.get("Range", ""))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if self.trouble != "wrong" else b"x" * len(CONTENT)
        body = body[:1000] if self.trouble == "truncated" else body
        self.send_response(206 if start and self.trouble != "wrong" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.trouble == "interrupted" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    pytest.importorskip("pooch", reason="pooch is not installed")
    handler = type("Handler", (Server,), {"ranges": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01), daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{running.server_address[1]}/file.bin"
        yield handler
        running.shutdown()


@pytest.fixture
def wanted(server, tmp_path):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Download(url=server.url, sha256=sha256, path=tmp_path / "cache" / "set" / "file.bin")


def test_a_good_download_arrives_once_and_reports_progress(server, wanted):
    seen = []
    assert fetch(wanted, lambda *news: seen.append(news)).read_bytes() == CONTENT
    assert seen[-1] == ("downloading file.bin", len(CONTENT), len(CONTENT))
    fetch(wanted)
    assert len(server.ranges) == 1, "what is there is not fetched again"
    assert [path.name for path in wanted.path.parent.iterdir()] == ["file.bin"]


def test_an_interrupted_download_goes_on_where_it_ended(server, wanted):
    server.trouble = "interrupted"
    with pytest.raises(InputError) as caught:
        fetch(wanted)
    assert "cannot download" in str(caught.value)
    assert not wanted.path.exists(), "half a file must not pass for a whole one"
    server.trouble = ""
    assert fetch(wanted).read_bytes() == CONTENT
    first, second = server.ranges
    assert (first, int(second.strip("bytes=-")) > len(CONTENT) // 3) == ("", True)


@pytest.mark.parametrize("trouble", ["wrong", "truncated"])
def test_a_wrong_or_truncated_file_is_refused_and_not_kept(server, wanted, trouble):
    server.trouble = trouble
    with pytest.raises(InputError, match="is another file than expected") as caught:
        fetch(wanted)
    assert wanted.sha256 in str(caught.value)
    assert not wanted.path.parent.exists(), "nor an empty folder"
    server.trouble = ""
    assert fetch(wanted).read_bytes() == CONTENT


def test_a_leftover_that_is_too_long_is_thrown_away(server, wanted):
    wanted.path.parent.mkdir(parents=True)
    wanted.path.with_name("file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(wanted).read_bytes() == CONTENT


def test_without_network_one_line_says_what_is_wanted_from_where_and_where_to_put_it(monkeypatch, no_data):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(fashion_mnist, "FASHION_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(cifar10, "CIFAR_URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    for name, file, sha256 in [
        ("fashion-mnist", "train-images-idx3-ubyte.gz", fashion_mnist.FASHION_FILES["train-images-idx3-ubyte.gz"][0]),
        ("cifar10", "cifar-10-binary.tar.gz", cifar10.CIFAR_SHA256),
    ]:
        with pytest.raises(InputError) as caught:
            load_data(name)
        text = str(caught.value)
        assert f"wanted is {file} from http://127.0.0.1:9/{file} (SHA-256 {sha256})" in text
        assert str(no_data / "cache") in text
        assert "or into the folder that --data-dir or $RESNET_TWINS_DATA names" in text
        assert "\n" not in text
    assert not (no_data / "cache").exists(), "no empty folder is left behind"


@pytest.mark.parametrize("option", [True, False], ids=["--data-dir", "$RESNET_TWINS_DATA"])
def test_a_file_that_was_fetched_by_hand_is_found_where_the_message_says(monkeypatch, no_data, option):
    (no_data / "mine").mkdir()
    (no_data / "mine" / cifar10.CIFAR_ARCHIVE).write_bytes(b"half of it")
    if not option:
        monkeypatch.setenv("RESNET_TWINS_DATA", str(no_data / "mine"))
    with pytest.raises(InputError, match=r"mine/cifar-10-binary.tar.gz is damaged"):
        load_data("cifar10", data_dir=no_data / "mine" if option else None)


def test_a_server_that_lost_the_file_is_explained(server, wanted):
    server.trouble = "gone"
    with pytest.raises(InputError, match="404"):
        fetch(wanted)


def test_a_data_set_is_found_without_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNET_TWINS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (places, fashion_mnist, cifar10):
        monkeypatch.setattr(module, "data_cache", lambda: tmp_path / "cache")
    assert find_local("digits") == "digits"
    assert find_local("fashion-mnist") is None
    assert find_local("cifar10") is None
    (tmp_path / "cifar-10").mkdir()
    (tmp_path / CIFAR_JPEG).touch()
    assert find_local("cifar10") == f"folder:{CIFAR_JPEG}"
    (tmp_path / "cifar-10" / "cifar-10-batches-bin").mkdir()
    assert find_local("cifar10") == "cifar10"
    for name in fashion_mnist.FASHION_FILES:
        assert find_local("fashion-mnist") is None
        (tmp_path / name).touch()
    assert find_local("fashion-mnist") == "fashion-mnist"
    with pytest.raises(InputError, match="unknown data set 'imagenet'"):
        find_local("imagenet")
