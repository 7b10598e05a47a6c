"""Starting points of several end-to-end tests."""

import pytest

from tests.uneven_line import trained_weights


@pytest.fixture(scope="session")
def uneven_weights(tmp_path_factory):
    """FP32 weights of the small network of tests.uneven_line, trained once."""
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("fp32"))
    try:
        return trained_weights()
    finally:
        patch.undo()
