"""Options that every command shares."""

import argparse

import pytest

from core.cli.options import count, percent, points, seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_count_below_one_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        count(text)


@pytest.mark.parametrize("text", ["-1", "100.1", "nan", "most"])
def test_a_percentage_outside_its_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 100"):
        percent(text)


def test_numbers_in_range_are_taken() -> None:
    assert (count("3"), percent("0"), percent("99.5"), percent("100")) == (3, 0.0, 99.5, 100.0)


@pytest.mark.parametrize(("text", "value"), [("90s", 90.0), ("20m", 1200.0), ("1.5h", 5400.0)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "20", "m", "-1m", "0s", "infs", "nanm", "20 days"])
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "half"])
def test_what_is_not_a_number_of_points(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        points(text)
    assert points("0.5") == 0.5
