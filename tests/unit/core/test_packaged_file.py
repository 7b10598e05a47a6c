"""Files inside packages by `package:path`."""

from pathlib import Path

import pytest

from core.files.packaged_file import packaged


def test_a_file_of_a_package_is_its_path():
    found = packaged("core:files/packaged_file.py")
    assert isinstance(found, Path) and found.samefile(Path(__file__).parents[3] / "core" / "files" / "packaged_file.py")


@pytest.mark.parametrize("value", ["weights.pt", "a/b:c.pt", "C:\\weights.pt", "C:/weights.pt", None, Path("a:b")])
def test_other_values_stay(value):
    assert packaged(value) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package_here:a.pt", "not installed: pip install no-such-package-here"),
        ("core:no/such.pt", "the package core has no file no/such.pt"),
    ],
)
def test_what_is_missing_is_said(value, message):
    with pytest.raises(ValueError, match=message):
        packaged(value)
