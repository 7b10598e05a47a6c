from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from core.config import BenchConfig
from core.errors import UnsupportedEnvironment
from deploy.placement.rule_sets import select
from qat.quantization.insert import insert
from qat.quantization.quantizers import Mode, quantizers
from qat.sensitivity.decide.engine_check import engine_check
from qat.sensitivity.decide.engines import Engines
from qat.tracing import fx_graph

pytest.importorskip("openvino")
QUICK = BenchConfig(rounds=2, runs_per_round=2, warmup_ms=0)


def test_the_engine_scores_like_its_simulation_and_the_named_layer_is_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 16, 16)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    model = fx_graph.trace(copy.deepcopy(net), image)
    insert(model, select())
    for quantizer in quantizers(model).values():
        quantizer.set_mode(Mode.QUANTIZE)
        if quantizer.axis is None:
            quantizer.set_amax(4.0, "test")
    engines = Engines(model, image, "openvino", tmp_path, QUICK)
    batch = torch.randn(3, 3, 16, 16)
    expected = net(batch).detach()

    def score(candidate: nn.Module) -> tuple[float, float | None]:
        with torch.no_grad():
            return float((candidate(batch) - expected).square().mean()), None

    found = engine_check(engines, ("2",), model, score)
    assert found["convs_total"] == 3 and found["convs_int8"] == 2
    assert 0 < found["loss"] < 1.1 * found["simulated_loss"] and found["metric"] is None
    assert set(found["latency_ms"]) == {"chosen", "int8", "float"}
    with engines.backend.open(engines.bundle(("*",))) as session:
        outputs = session.run({session.input_names[0]: image.numpy()})
        assert np.allclose(outputs[session.output_names[0]], net(image).detach().numpy(), atol=1e-4)


def test_a_backend_that_cannot_run_here_is_an_environment_error(tmp_path: Path) -> None:
    from deploy.targets import get_backend, title_of

    backend = get_backend("tensorrt")
    if not (backend.available("int8") or backend.runnable("int8")):
        pytest.skip("TensorRT runs on this machine")
    with pytest.raises(UnsupportedEnvironment, match=f"{title_of('tensorrt')} engines"):
        Engines(fx.symbolic_trace(nn.ReLU()), torch.ones(1, 3, 4, 4), "tensorrt", tmp_path, QUICK)
