"""Randomly changed bundles: manifests of any content, engine files of any bytes, plans of any header."""

from __future__ import annotations

import json
import shutil

import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.apps.inspection import inspect_layer_list
from deploy.bundle.header import header_json, header_lines
from deploy.bundle.plan_header import read_plan_header
from deploy.bundle.store import check_bundle, read_bundle
from deploy.targets import get_backend
from deploy.targets.base import BuildOptions
from tests.property.mutations import VALUES, changed, damaged, fuzz, refused_or
from tests.property.random_graphs import Builder

HEADS = st.builds(lambda magic, rest: magic + rest, st.sampled_from([b"ftrt", b"vtrt", b""]), st.binary(max_size=40))
LAYERS = {
    "Layers": [
        {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 4, 8, 8], "Format/Datatype": "Int8"}],
            "Outputs": [{"Name": "y", "Location": "Device", "Dimensions": [1, 8, 8, 8], "Format/Datatype": "Half"}],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Metadata": "[ONNX Layer: t0_Conv]",
        },
        {"Name": "reformat", "LayerType": "Reformat", "Inputs": [], "Outputs": []},
    ],
    "Bindings": ["x", "y"],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A bundle of ONNX Runtime and the text of its manifest."""
    folder = tmp_path_factory.mktemp("sound")
    builder = Builder(0)
    builder.conv(builder.x)
    onnx.save(gs.export_onnx(builder.graph()), str(folder / "net.onnx"))
    bundle = get_backend("onnxruntime").build(folder / "net.onnx", folder / "bundle", BuildOptions("fp32"))
    return bundle.dir, (bundle.dir / "manifest.json").read_bytes()


@pytest.fixture
def bundle(sound, tmp_path):
    return shutil.copytree(sound[0], tmp_path / "bundle")


def read_and_describe(folder):
    found = read_bundle(folder)
    backend = get_backend(found.backend)
    check_bundle(found, backend.version(), backend.files)
    return header_json(found), list(header_lines(found))


@fuzz(300)
@given(data=st.data())
def test_manifests(sound, bundle, data):
    content = data.draw(changed(json.loads(sound[1])))
    (bundle / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    refused_or(lambda: read_and_describe(bundle))


@fuzz(150)
@given(data=st.data())
def test_bytes_of_manifests(sound, bundle, data):
    (bundle / "manifest.json").write_bytes(data.draw(damaged(sound[1])))
    refused_or(lambda: read_and_describe(bundle))


@fuzz(60)
@given(data=st.data())
def test_a_changed_engine_is_never_accepted(sound, bundle, data):
    content = (sound[0] / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(data.draw(damaged(content).filter(lambda found: found != content)))
    assert refused_or(lambda: read_and_describe(bundle)) is None


@fuzz(150)
@given(head=HEADS)
def test_plan_headers(tmp_path, head):
    path = tmp_path / "model.plan"
    path.write_bytes(head)
    found = refused_or(lambda: read_plan_header(path))
    assert (found is None) == (head[:4] not in (b"ftrt", b"vtrt") or len(head) < 28)


@fuzz(200)
@given(value=changed(LAYERS) | VALUES)
def test_lists_of_layers(tmp_path, value):
    path = tmp_path / "layers.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    refused_or(lambda: inspect_layer_list(path))
