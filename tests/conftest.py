"""What tests of several folders share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The residual network's ONNX files (see `tests.nets.exported.Exported`); tests must not change them."""
    from tests.nets.exported import export

    return export(tmp_path_factory.mktemp("exported"))
