"""ONNX files that are damaged, or whose weights lie outside their folder."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def external(tmp_path):
    """`external(location)` writes a graph that names `location` as the file of its weight."""

    def write(location):
        weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "48")):
            weight.external_data.add(key=key, value=value)
        value = helper.make_tensor_value_info
        node = helper.make_node("Conv", ["image", "w"], ["logits"], name="conv")
        image, logits = (
            value("image", TensorProto.FLOAT, [1, 3, 8, 8]),
            value("logits", TensorProto.FLOAT, [1, 4, 8, 8]),
        )
        graph = helper.make_graph([node], "g", [image], [logits], [weight])
        path = tmp_path / "folder" / "net.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
        return path

    return write


@pytest.mark.parametrize("where", ["../secret.bin", "ABSOLUTE", "link.bin", "gone.bin"])
def test_weights_outside_the_folder_are_never_read(external, command, tmp_path, where):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.full(12, 7, np.float32).tobytes())
    path = external(str(secret) if where == "ABSOLUTE" else where)
    (path.parent / "link.bin").symlink_to(secret)
    command("deploy.__main__", "place", path, "placed.onnx").refuses(
        2, "net.onnx cannot be read as ONNX", "TensorProto"
    )
    assert not (tmp_path / "placed.onnx").exists()


@pytest.mark.parametrize("damage", ["empty", "text", "half", "a folder", "absent"])
def test_damaged_graphs(exported, command, tmp_path, damage):
    content = exported.qdq.read_bytes()
    path = tmp_path / "net.onnx"
    if damage == "a folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes({"empty": b"", "text": b"no graph", "half": content[: len(content) // 2]}[damage])
    (tmp_path / "placed.onnx").write_bytes(b"previous")
    command("deploy.__main__", "place", path, "placed.onnx").refuses(2, "net.onnx")
    assert (tmp_path / "placed.onnx").read_bytes() == b"previous"


def test_a_placed_graph_is_placed_again(exported, command, tmp_path):
    assert command("deploy.__main__", "place", exported.qdq, "once.onnx").code == 0
    assert command("deploy.__main__", "place", "once.onnx", "twice.onnx").code == 0
    once, twice = (onnx.load(tmp_path / name) for name in ("once.onnx", "twice.onnx"))
    assert sorted(node.op_type for node in once.graph.node) == sorted(node.op_type for node in twice.graph.node)
