"""Folders of pictures as data sets."""

from __future__ import annotations

import contextlib
import io
import tarfile

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.data.load import load_data


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


def test_the_sign_for_the_home_folder_is_understood(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.setenv("USERPROFILE", str(photos.parent))
    data = load_data(f"folder:~/{photos.name}", image_size=8)
    assert data.train.images.shape[1:] == (8, 8, 3)
