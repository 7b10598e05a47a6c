"""Pictures that are damaged, huge, misnamed or missing."""

from __future__ import annotations

import os
import shutil
import struct
import zlib

import pytest

from tests.faults.commands import files_below, finish, start

BUNDLE = "engines/openvino-fp32-mask"


def png_header(width, height):
    """A PNG whose header claims this many pixels, without data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_name_that_is_not_utf8_is_read_and_written(engines, picture, tmp_path):
    strange = os.fsencode(tmp_path) + b"/bad\xff.png"
    picture.rename(os.fsdecode(strange))
    done = finish(start("-m", "deploy", "run", BUNDLE, strange, "-o", "out", folder=tmp_path))
    assert done.code == 0, done.err
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"bad\xff.png"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", png_header(60000, 60000), png_header(40, 30)[:-20]],
    ids=["empty", "text", "60000×60000", "cut"],
)
def test_what_is_no_picture_is_named(engines, picture, command, content):
    picture.write_bytes(content)
    command("deploy.__main__", "run", BUNDLE, picture, "-o", "out").refuses(2, "photo.png cannot be read as an image")


def test_a_link_to_nothing_is_named(engines, picture, command, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").symlink_to(tmp_path / "gone.png")
    command("deploy.__main__", "run", BUNDLE, tmp_path / "folder", "-o", "out").refuses(2, "a.png", "link to nothing")


def test_a_folder_that_is_called_like_a_picture_is_none(engines, picture, command, tmp_path):
    (tmp_path / "folder" / "x.png").mkdir(parents=True)
    picture.rename(tmp_path / "folder" / "a.png")
    assert command("deploy.__main__", "run", BUNDLE, tmp_path / "folder", "-o", "out").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_result_that_is_a_folder_is_refused(engines, picture, command, tmp_path):
    (tmp_path / "out.png").mkdir()
    command("deploy.__main__", "run", BUNDLE, picture, "-o", "out.png").refuses(
        2, "out.png cannot be written", "folder"
    )
    assert files_below(tmp_path / "out.png") == {}


def test_results_whose_disk_is_full_leave_the_previous_ones(engines, picture, command, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.png").write_bytes(b"previous")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    command("deploy.__main__", "run", BUNDLE, picture, "-o", "out").refuses(3, "No space left on device", "make room")
    assert files_below(tmp_path / "out") == {"photo.png": b"previous"}


@pytest.mark.parametrize("where", ["train", "trainannot", "val", "valannot"])
def test_bad_training_and_validation_files_are_found_before_training(qat, tmp_path, where):
    split = where.removesuffix("annot")
    (tmp_path / "data" / where / f"{split}2.png").write_bytes(b"no picture")
    qat("run").refuses(2, f"{split}2.png cannot be read as an image")
    assert not (tmp_path / "runs" / "small" / "metrics.jsonl").exists()


def test_a_picture_that_is_a_folder_is_named(qat, tmp_path):
    (tmp_path / "data" / "train" / "train99.png").mkdir()
    shutil.copy(tmp_path / "data" / "trainannot" / "train0.png", tmp_path / "data" / "trainannot" / "train99.png")
    qat("run").refuses(2, "train99.png")
