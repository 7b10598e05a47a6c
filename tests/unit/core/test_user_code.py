"""The user's own Python files: a message reports their exceptions, even if they end the program."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.files.user_code import load_module


@pytest.mark.parametrize("last_line", ["raise SystemExit(3)", "1 / 0", "import no_such_package", "def broken("])
def test_what_a_file_raises_is_the_users_error(tmp_path, last_line) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"value = 1\n{last_line}\n")
    with pytest.raises(UserError, match=r"mine\.py fails"):
        load_module(path, "model.factory", "mend it")
