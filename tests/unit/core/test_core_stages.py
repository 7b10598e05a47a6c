"""core/stages.py: a stage runs again when something it depends on changed, and says what."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.files.artifacts import read_json, write_json
from core.stages import Stage, edited_since, ensure, stale_reasons


class Line:
    """A two-file stage in a folder of its own: `in.txt` → `out.txt`, counting how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.source, self.product, self.manifest = folder / "in.txt", folder / "out.txt", folder / "manifest.json"
        self.source.write_text("1")
        self.runs = 0

    def stage(self, **params: Any) -> Stage:
        return Stage("double", outputs=[self.product], inputs=[self.source], params=params)

    def build(self) -> None:
        self.runs += 1
        self.product.write_text(self.source.read_text() * 2)

    def ensure(self, **params: Any) -> bool:
        return ensure(self.stage(**params), self.manifest, self.build)

    def reasons(self, **params: Any) -> list[str]:
        return stale_reasons(self.stage(**params), self.manifest)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_first_time_it_runs_second_time_it_does_not(line: Line) -> None:
    assert line.reasons() == ["out.txt not made yet"]
    assert (line.ensure(), line.ensure(), line.runs) == (True, False, 1)
    assert line.reasons() == []


def test_an_output_of_unknown_origin_is_not_trusted(line: Line) -> None:
    line.product.write_text("from somewhere")
    assert line.reasons() == ["no record of how it was made"]


CHANGES: list[tuple[str, Callable[[Line], object], str]] = [
    ("input", lambda line: line.source.write_text("2"), "in.txt changed"),
    ("output", lambda line: line.product.write_text("tampered"), "out.txt changed"),
    ("deleted output", lambda line: line.product.unlink(), "out.txt missing"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_changed_file_is_named(line: Line, change: Callable[[Line], object], reason: str) -> None:
    line.ensure()
    change(line)
    assert line.reasons() == [reason]
    assert line.ensure()
    assert line.reasons() == []


def test_rewriting_the_same_bytes_changes_nothing(line: Line) -> None:
    line.ensure()
    line.source.write_text("1")
    assert line.reasons() == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ({"train": {"lr": 0.1, "epochs": 2}}, {"train": {"lr": 0.2, "epochs": 2}}, "train.lr: 0.1 → 0.2"),
        (
            {"qat": {"calibration": {"images": 8}}},
            {"qat": {"calibration": {"images": 16}}},
            "qat.calibration.images: 8 → 16",
        ),
        ({"rules": 1}, {"rules": 2}, "rules: 1 → 2"),
        ({"rules": 1}, {}, "rules: 1 → None"),
        ({}, {"torch": "2.13"}, "torch: None → '2.13'"),
        ({"train": {}}, {"train": {"flip": False}}, "train.flip: None → False"),
    ],
)
def test_the_innermost_changed_key_is_named(line: Line, old: dict[str, Any], new: dict[str, Any], reason: str) -> None:
    line.ensure(**old)
    assert line.reasons(**new) == [reason]


def test_every_changed_thing_is_named(line: Line) -> None:
    line.ensure(a=1, b=1, c=1)
    line.source.write_text("2")
    assert line.reasons(a=2, b=1, c=2) == ["in.txt changed", "a: 1 → 2", "c: 1 → 2"]


def test_tuples_compare_equal_to_the_lists_json_makes_of_them(line: Line) -> None:
    line.ensure(mean=(0.1, 0.2))
    assert line.reasons(mean=(0.1, 0.2)) == []


def test_a_stage_that_fails_is_not_recorded(line: Line) -> None:
    def fails() -> None:
        line.product.write_text("half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        ensure(line.stage(), line.manifest, fails)
    assert line.reasons() == ["no record of how it was made"]


def test_stages_share_a_manifest(line: Line, tmp_path: Path) -> None:
    other = replace(line.stage(), name="copy", outputs=[tmp_path / "copy.txt"], inputs=[line.product])
    line.ensure()
    ensure(other, line.manifest, lambda: other.outputs[0].write_text("x"))
    assert sorted(read_json(line.manifest)["stages"]) == ["copy", "double"]
    line.source.write_text("2")
    line.ensure()
    assert stale_reasons(other, line.manifest) == ["out.txt changed"]


def test_a_manifest_of_another_schema_is_started_afresh(line: Line) -> None:
    line.ensure()
    write_json(line.manifest, {**read_json(line.manifest), "schema": 0})
    assert line.reasons() == ["no record of how it was made"]


def test_it_says_why_it_runs(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("core.course.say", said.append)
    line.ensure(lr=1)
    line.ensure(lr=2)
    line.ensure(lr=2)
    assert said == ["double", "double: lr: 1 → 2"]


def test_a_missing_input_is_the_users_to_mend(line: Line) -> None:
    line.ensure()
    line.source.unlink()
    with pytest.raises(UserError, match=r"double needs .*in\.txt"):
        line.ensure()


def test_a_long_value_does_not_fill_the_screen(line: Line) -> None:
    line.ensure(classes=["road"])
    (reason,) = line.reasons(classes=["road"] * 500)
    assert reason.startswith("classes: ['road'] → ['road', 'road'") and reason.endswith("…") and len(reason) < 120


def test_an_editable_output_may_be_changed_by_hand_and_is_put_aside_when_the_stage_runs_again(line: Line) -> None:
    def make(source: str) -> bool:
        line.source.write_text(source)
        return ensure(replace(line.stage(), editable=[line.product]), line.manifest, line.build)

    assert make("1")
    assert not edited_since(line.product, line.manifest)
    line.product.write_text("mine")
    assert edited_since(line.product, line.manifest)
    assert not make("1")
    assert line.product.read_text() == "mine"

    assert make("2")
    assert line.product.read_text() == "22"
    assert line.product.with_name("out.edited.txt").read_text() == "mine"
    assert not edited_since(line.product, line.manifest)


def test_a_deleted_editable_output_is_made_again(line: Line) -> None:
    stage = replace(line.stage(), editable=[line.product])
    ensure(stage, line.manifest, line.build)
    line.product.unlink()
    assert ensure(stage, line.manifest, line.build)
