"""Folders and lists of pictures of somebody else."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from shared.base.errors import InputError
from shared.data import listing, pictures
from shared.data.load import load_data
from shared.data.pictures import decode, find_pictures, read_picture
from shared.twins.prediction import picture_paths
from tests.data.foreign import END, SMALL, header, member, quickly, unix, written


@unix
def test_a_folder_of_links_to_pictures_is_an_honest_data_set(folder, image):
    farm = folder.parent / "farm"
    for path in folder.rglob("*.png"):
        (farm / path.parent.name).mkdir(parents=True, exist_ok=True)
        (farm / path.parent.name / path.name).symlink_to(path)
    found = load_data(f"folder:{farm}")
    assert (len(found.train) + len(found.test), found.notes) == (4, ("4 pictures: grey ones got three equal channels",))


@unix
def test_links_in_a_folder_lead_nowhere_else_and_are_named(folder, image):
    (folder / "a" / "up").symlink_to(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "a" / "zero.png").symlink_to("/dev/zero")
    (folder / "a" / "gone.png").symlink_to("nowhere")
    (folder / "a" / "self.png").symlink_to("self.png")
    (folder / "b" / "words.png").symlink_to("/etc/passwd")
    with quickly():
        found = load_data(f"folder:{folder}")
    notes = " ".join(found.notes)
    assert "1 links to folders were not followed: a/up" in notes
    assert "4 are named like pictures but are no files" in notes
    assert "1 pictures did not decode and were skipped: b/words.png" in notes
    assert "root:" not in notes
    (folder / "c").symlink_to(folder / "a")
    with pytest.raises(InputError, match=r"no picture in the folder c; .* 2 links to folders were not followed"):
        load_data(f"folder:{folder}")


@unix
def test_a_picture_that_turns_into_a_pipe_is_not_waited_for(folder, image):
    found = find_pictures(folder)
    (folder / "a" / "0.png").unlink()
    os.mkfifo(folder / "a" / "0.png")
    with quickly():
        assert decode(found.pictures, 8, 8, 1).skipped == ("a/0.png",)


@unix
def test_a_folder_of_a_thousand_levels_is_no_error(folder):
    here = os.open(folder / "a", os.O_RDONLY)
    try:
        for _ in range(1100):
            os.mkdir("d" * 9, dir_fd=here)
            below = os.open("d" * 9, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    try:
        found = find_pictures(folder)
        assert len(found.pictures) == 4
        assert "1 folders more than 50 levels deep were not looked into" in found.notes[0]
        assert len(list(picture_paths([str(folder)]))) == 4
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)  # Python's own way calls itself for each level


@unix
def test_folders_that_cannot_be_read_and_odd_names_are_told(folder, image):
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to the system's owner")
    (folder / "a" / "closed").mkdir(mode=0)
    assert "1 folders could not be read (Permission denied): a/closed" in find_pictures(folder).notes[0]


@unix
def test_names_that_are_no_text_are_classes_like_others(folder, image):
    odd = os.fsencode(folder) + b"/\xff\x1b[31m"
    Path(os.fsdecode(odd)).mkdir()
    for number in range(2):
        Path(os.fsdecode(odd + b"/\xfe%d.png" % number)).write_bytes(SMALL)
    found = load_data(f"folder:{folder}")
    assert found.classes == ("a", "b", "\udcff\x1b[31m")
    assert len(found.sha256) == 64
    for number in range(2):
        Path(os.fsdecode(odd + b"/\xfe%d.png" % number)).write_bytes(b"no")
    with pytest.raises(InputError) as caught:
        load_data(f"folder:{folder}")
    assert str(caught.value).isprintable()


def test_too_many_files_and_too_many_classes_end_with_one_line(folder, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_CLASSES", 1)
    with pytest.raises(InputError, match="holds 2 folders with pictures; at most 1 are classes"):
        find_pictures(folder)
    monkeypatch.setattr(listing, "MOST_FILES", 5)
    with pytest.raises(InputError, match="holds more than 5 entries"):
        find_pictures(folder)


def test_many_empty_folders_are_no_product_of_folders_and_pictures(tmp_path):
    content = b"".join(header(f"c{number:05}/", 0, tarfile.DIRTYPE) for number in range(5000))
    content += b"".join(member(f"c{number:05}/1.png", SMALL) for number in range(4999))
    with quickly(60), pytest.raises(InputError, match="no picture in the folder c04999"):
        find_pictures(written(tmp_path, content + END))


def test_hidden_files_stay_hidden_in_a_data_set_and_are_pictures_where_they_are_asked_for(folder):
    (folder / "a" / ".9.png").write_bytes(SMALL)
    assert len(find_pictures(folder).pictures) == 4
    assert len(list(picture_paths([str(folder)]))) == 5


# -- lists of pictures


def test_a_list_on_standard_input_is_bounded(folder, monkeypatch):
    def given(text: str) -> list[Path]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return list(picture_paths(["-"]))

    assert given(f"{folder}\n\n-\n{folder}/a/0.png") == [*sorted(folder.rglob("*.png")), folder / "a" / "0.png"]
    with pytest.raises(InputError, match="has a line of more than 5,000 characters"):
        given("x" * 10_000_000)
    with pytest.raises(InputError, match="there is no picture"):
        given("x" * 4900)
    with pytest.raises(InputError, match="there is no picture"):
        given("a\0b")
    monkeypatch.setattr(listing, "MOST_FILES", 50)
    with pytest.raises(InputError, match="the list of pictures holds more than 50 entries"):
        given(f"{folder}\n" * 20)


@unix
def test_a_picture_that_is_a_pipe_or_never_ends_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with quickly():
        for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
            with pytest.raises(ValueError, match=r"is no plain file|is a folder|leads back|cannot be read"):
                read_picture(path)
        monkeypatch.setattr(pictures, "MOST_PICTURE", 1000)
        with pytest.raises(ValueError, match="no picture has"):
            read_picture(written(tmp_path, bytes(2000)))


@unix
def test_predict_says_what_of_a_folder_it_left_out(call, torch_twin, folder, image):
    (folder / "a" / "up").symlink_to(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    result = call("predict", folder, "--weights", "resnet8_digits", "--framework", "torch", "--top", "1")
    assert result.returncode == 0, result.stderr
    assert "1 links to folders were not followed: a/up" in result.stdout.replace("\n", " ")
    assert "1 are named like pictures but are no files: a/pipe.png" in result.stdout.replace("\n", " ")
