"""Inferences launched as one CUDA graph, against recording doubles."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from core.errors import UnsupportedEnvironment
from deploy.targets.tensorrt.cuda_graph import CudaGraph
from tests.unit.deploy.targets.tensorrt.trt_clean import assert_clean
from tests.unit.deploy.targets.tensorrt.trt_doubles import IMAGE, STREAM, Machine


def test_graph_is_captured_once_and_launched_for_every_run(opened):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        before = len(machine.calls)
        for factor in (1, 2):
            result = session.run({"image": factor * IMAGE})
            assert (result["logits"] == factor * IMAGE.sum()).all()
        calls = machine.calls[before:]
    capture = ["execute on 7", "capture 7 thread local", "execute on 7", "captured", "destroy graph"]
    launch = ["launch on 7", "copy out", "copy out", "synchronize"]
    assert calls == ["copy in", *capture, *launch, "copy in", *launch]
    assert machine.count("destroy executable graph") == 1
    assert_clean(machine)


def test_time_of_a_graph_has_no_capture_in_it(opened):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        samples = session.time_ms({"image": IMAGE}, runs=2)
        calls = machine.calls[machine.calls.index("record") :]
    np.testing.assert_allclose(samples, [2.5, 2.5])
    assert calls == ["record", "launch on 7", "record", "event synchronize"] * 2


def test_another_batch_gets_a_graph_of_its_own(opened):
    machine = Machine(dynamic=True)
    with opened(machine, cuda_graph=True) as session:
        for batch in (1, 3):
            images = np.repeat(IMAGE, batch, axis=0)
            assert (session.run({"image": images})["logits"] == images.sum()).all()
    assert machine.count("captured") == machine.count("destroy executable graph") == 2
    assert_clean(machine)


def test_stream_that_cannot_be_captured_names_the_way_out(opened):
    machine = Machine(captures=False)
    with (
        pytest.raises(UnsupportedEnvironment, match="CUDA graph") as caught,
        opened(machine, cuda_graph=True) as session,
    ):
        session.run({"image": IMAGE})
    assert "CAPTURE_UNSUPPORTED" in caught.value.why
    assert "deploy.tensorrt.cuda_graph" in caught.value.fix
    assert machine.allocated == {}
    assert machine.calls[-2:] == ["pop", "detach"]


def test_graph_without_cuda_python_says_what_to_install(opened, monkeypatch):
    machine = Machine()
    with opened(machine, cuda_graph=True) as session:
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
        with pytest.raises(UnsupportedEnvironment, match="cuda-python") as caught:
            session.run({"image": IMAGE})
    assert "pip install cuda-bindings" in caught.value.fix
    assert_clean(machine)


@pytest.mark.parametrize("graph", [False, True])
def test_rtx_captures_graphs_itself(opened, graph):
    machine = Machine(rtx=True)
    with opened(machine, cuda_graph=graph) as session:
        assert (session.run({"image": IMAGE})["logits"] == IMAGE.sum()).all()
    assert machine.count("graphs: WHOLE_GRAPH_CAPTURE") == graph
    assert machine.count("captured") == 0
    assert_clean(machine)


def test_capture_ends_when_what_is_captured_fails(opened):
    machine = Machine()

    def fail():
        raise RuntimeError("elsewhere")

    with opened(machine):
        with pytest.raises(RuntimeError, match="elsewhere"):
            CudaGraph(STREAM, fail)
        assert machine.capturing is None
