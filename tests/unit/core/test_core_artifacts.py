"""core/files/artifacts.py: a reader sees the old file or the new one, and a hash identifies it."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnsupportedEnvironment, UserError
from core.files.artifacts import (
    discard_unfinished,
    read_json,
    sha256_file,
    sha256_json,
    write_atomic,
    write_json,
    write_text,
)


def test_exception_leaves_the_target_untouched_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "engine.plan"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="killed"), write_atomic(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("killed")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_exception_before_a_first_version_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), write_atomic(tmp_path / "new.onnx"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_target_keeps_its_old_content_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with write_atomic(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_is_beside_the_target_with_its_suffix(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "down" / "model.onnx"
    with write_atomic(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".onnx")
        temporary.write_text("x")
    assert target.exists()


def test_a_writer_that_wrote_nothing_is_refused_but_an_empty_text_is_not(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedEnvironment, match="cannot be written"), write_atomic(tmp_path / "a.png"):
        pass
    assert not (tmp_path / "a.png").exists()
    write_text(tmp_path / "a.txt", "")
    assert (tmp_path / "a.txt").read_text() == ""


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_json_survives_the_round_trip(tmp_path: Path) -> None:
    value = {"mIoU": 62.569, "classes": ["sky", "void → ignored"], "absent": None}
    write_json(tmp_path / "r.json", value)
    assert read_json(tmp_path / "r.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_hold(tmp_path: Path, number: float) -> None:
    target = tmp_path / "r.json"
    write_json(target, {"ok": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"iou": number})
    assert read_json(target) == {"ok": 1}


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_file_hash_at_block_edges(tmp_path: Path, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    (tmp_path / "f").write_bytes(content)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())))
def test_json_hash_does_not_depend_on_key_order(value: dict[str, object]) -> None:
    assert sha256_json(value) == sha256_json(dict(reversed(value.items())))


def test_json_hash_tells_values_apart() -> None:
    assert len({sha256_json(value) for value in (1, "1", [1], {"1": 1}, None, True)}) == 6


def test_halves_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "qat.pt"
    others = [".qat.resume.ab12cd_9.pt", ".qat.ab12cd_9.onnx", ".hidden", "qat.pt", ".qat.abc.pt"]
    for name in (*others, ".qat.ab12cd_9.pt", ".qat.zzzzzzzz.pt"):
        (tmp_path / name).write_bytes(b"half")
    discard_unfinished(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    discard_unfinished(tmp_path / "no folder" / "qat.pt")


def test_what_a_living_writer_makes_is_what_would_be_discarded(tmp_path: Path) -> None:
    target = tmp_path / "qat.resume.pt"
    with pytest.raises(FileNotFoundError), write_atomic(target) as temporary:
        discard_unfinished(target)
        assert not temporary.exists()


def test_a_target_below_a_file_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "notes.txt" / "a.txt", "text")
