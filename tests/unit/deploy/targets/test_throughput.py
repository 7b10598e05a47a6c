"""deploy/targets/throughput.py: every backend with the mode counts its inferences and checks the bundle."""

import pytest

from core.errors import UserError
from deploy.bundle.types import BuildOptions, Bundle
from deploy.targets import get_backend
from deploy.targets.throughput import sustained
from tests.nets.exported import Exported, image


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_requests_run_side_by_side_for_the_time_given(name: str, exported: Exported, tmp_path):
    backend = get_backend(name)
    missing = backend.available("fp32")
    if missing:
        pytest.skip(missing.why)
    bundle = backend.build(exported.fp32, tmp_path / "engine", BuildOptions("fp32"))
    with backend.open(bundle) as session:
        feeds = {session.input_names[0]: image()}
    load = sustained(bundle, feeds, threads=2, limit_s=0.1)
    assert load is not None and load.seconds >= 0.1
    assert load.inferences >= load.requests >= 1
    assert load.threads == 2
    changed = next(path for path in bundle.dir.iterdir() if path.name != "manifest.json")
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(UserError, match="changed since it was built"):
        sustained(bundle, feeds, threads=2, limit_s=0.1)


def test_a_backend_without_the_mode_says_so(tmp_path):
    assert sustained(Bundle(tmp_path, "tensorrt", "int8"), {}, threads=1, limit_s=1) is None
