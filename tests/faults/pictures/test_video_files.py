"""Videos: a result is whole or absent, and a source that ends early is an error."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import cv2
import pytest

from tests.faults.commands import finish, start

BUNDLE = "engines/openvino-fp32-mask"


def full_disk():
    """No file may grow beyond 120 kB: a writer sees the failures of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))


def test_a_full_disk_leaves_the_previous_video(engines, clip, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"the previous result")
    before = set(tmp_path.iterdir())
    process = start("-m", "deploy", "run", BUNDLE, clip, "-o", target, folder=tmp_path, before=full_disk)
    finish(process).refuses(3, "out.mp4 cannot be written")
    assert target.read_bytes() == b"the previous result"
    assert set(tmp_path.iterdir()) == before


def test_a_video_that_lost_frames_is_not_kept(engines, clip, command, monkeypatch):
    class Losing:
        """Drops every tenth frame without a word, as OpenCV's writer does on a failing disk."""

        fourcc, real = staticmethod(cv2.VideoWriter.fourcc), cv2.VideoWriter

        def __init__(self, *arguments):
            self.writer, self.seen = self.real(*arguments), 0
            self.isOpened, self.release = self.writer.isOpened, self.writer.release

        def write(self, picture):
            self.seen += 1
            if self.seen % 10:
                self.writer.write(picture)

    monkeypatch.setattr(cv2, "VideoWriter", Losing)
    done = command("deploy.__main__", "run", BUNDLE, clip, "-o", "out.mp4")
    done.refuses(3, "only 45 of its 50 frames can be read back")
    assert not Path("out.mp4").exists()


def test_a_whole_video_has_all_frames(engines, clip, command):
    assert command("deploy.__main__", "run", BUNDLE, clip, "-o", "out.mp4").code == 0
    assert cv2.VideoCapture("out.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_source_that_is_cut_short_is_an_error(engines, clip, command, tmp_path, share):
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(share * len(whole))])
    command("deploy.__main__", "run", BUNDLE, clip, "-o", "out.mp4").refuses(2, "clip ends after", "of 50 frames")
    assert not Path("out.mp4").exists()
    assert command("deploy.__main__", "run", BUNDLE, clip, "-o", "out.mp4", "--frames", "3").code == 0


def test_a_video_whose_name_is_not_utf8_is_refused(engines, clip, tmp_path):
    strange = os.fsencode(tmp_path) + b"/bad\xff.avi"
    clip.rename(os.fsdecode(strange))
    process = start("-m", "deploy", "run", BUNDLE, strange, "-o", "out.mp4", folder=tmp_path)
    finish(process).refuses(2, "is not valid UTF-8")
