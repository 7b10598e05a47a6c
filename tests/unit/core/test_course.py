"""core/course.py: numbered stages, folded where they are up to date."""

import logging

import pytest

from core.console import LOGGER
from core.course import brief, course, current


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr("core.course.say", lines.append)
    return lines


def test_stages_are_counted_and_those_up_to_date_share_a_line(said):
    with course(["weights", "export", "qat", "apply", "engine", "report"]):
        current().is_current("weights")
        current().is_current("export")
        current().starts("qat", ["qat.lr: 1 → 2"])
        current().starts("bake", ["bake.onnx not made yet"])  # a step of a stage
        current().is_current("export")  # looked at again
        current().is_current("apply")
        current().is_current("engine", "kept by hand")
        current().starts("report")
    assert said == [
        "stages 1-2/6 up to date: weights, export",
        "stage 3/6 qat: qat.lr: 1 → 2",
        "  bake",
        "engine: kept by hand",
        "stages 4-5/6 up to date: apply, engine",
        "stage 6/6 report",
    ]


def test_what_is_up_to_date_at_the_end_is_said_at_the_end_even_after_an_error(said):
    with pytest.raises(ValueError), course(["one"]):
        current().is_current("one")
        raise ValueError
    assert said == ["stage 1/1 up to date: one"]


def test_a_course_inside_another_counts_for_the_outer_one(said):
    with course(["one", "two"]):
        with course(["two"]):
            current().starts("two")
        current().starts("one")
    assert said == ["stage 2/2 two", "stage 1/2 one"]


def test_without_a_course_stages_are_not_counted_and_current_ones_are_a_detail(caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    current().is_current("one")
    current().starts("two", ["a: 1 → 2"])
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels[:2] == [("DEBUG", "one: up to date"), ("INFO", "two: a: 1 → 2")]


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["manifest.json not made yet"], ""),
        (["code: 'abc' → 'def'"], "the code changed"),
        ([f"placement.skip: {['x'] * 40} → []"], "placement.skip changed"),
        ([f"train.images: '{'0a' * 32}' → None"], "train.images changed"),
        (["a.onnx changed", "lr: 1 → 2"], "lr: 1 → 2"),
        (["options.placement.skips: 1 → 2"], "options.placement.skips: 1 → 2"),
        (["a.onnx changed", "options.placement.skips: 1 → 2"], "a.onnx changed"),
        (["a", "b", "c", "d"], "a; b; and 2 more"),
        ([], ""),
    ],
)
def test_reasons_are_short(reasons, told):
    assert brief(reasons) == told
