"""`python -m deploy quantize` on input that it cannot use: one message with the fix, and nothing written."""

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.faults.commands import call, files_below
from tests.nets.picture_nets import network, pictures

ODD = helper.make_node("Odd", ["features"], ["deep"], name="odd", domain="my.ops")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """`refused(words, *options, **network)`: exit code 2, a message with `words`, and no file made or changed."""
    monkeypatch.chdir(tmp_path)
    if not (tmp_path / "data").exists():
        pictures(tmp_path / "data", 6)

    def check(words, *options, data="data", source=None, **form):
        source = source or network(tmp_path / "net.onnx", **form)
        before = files_below(tmp_path)
        code = call("deploy.__main__", "quantize", source, "--data", data, *options)
        message = capsys.readouterr().err
        assert code == 2, message
        assert message.count("error: ") == 1 and "Traceback" not in message and "fix: " in message, message
        for word in words:
            assert word in message, message
        assert files_below(tmp_path) == before

    return check


def test_no_pictures(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    refused(["no pictures in empty"], data="empty")
    refused(["no folder nowhere"], data="nowhere")


def test_one_picture_and_copies_of_one_picture(refused, tmp_path):
    refused(["one picture in one", "at least two"], data=pictures(tmp_path / "one", 1).name)
    for name in ("a.png", "b.png"):
        (tmp_path / "one" / name).write_bytes((tmp_path / "one" / "000.png").read_bytes())
    refused(["one picture in one without copies"], data="one")


def test_fewer_pictures_than_asked(refused):
    refused(["6 pictures in data", "7 asked for", "--pictures to 6"], "--pictures", "7")


def test_an_unreadable_picture_is_named(refused, tmp_path):
    (tmp_path / "data" / "003.png").write_bytes(b"\x89PNG but no more")
    refused(["003.png cannot be read as an image"])


def test_channels_that_pictures_do_not_have(refused):
    refused(["the network takes 6 channels", "NCHW"], channels=6)
    refused(["--mean and --std have 3 and 3 numbers"], "--mean", "0,0,0", "--std", "1,1,1", channels=1)


def test_ready_inputs_of_another_shape(refused, tmp_path):
    np.save(tmp_path / "ready.npy", np.ones((6, 1, 32, 32), np.float32))
    refused(["ready.npy does not fit the network", "(1, 32, 32)", "(3, 32, 32)"], data="ready.npy")


def test_an_input_that_cannot_be_guessed(refused, tmp_path):
    import onnx

    source = network(tmp_path / "net.onnx")
    model = onnx.load(source)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, tmp_path / "ids.onnx")
    refused(["the file does not say how pictures go into the network", "image int64 [1, 3, 32, 32]"], source="ids.onnx")
    del model.graph.input[0].type.tensor_type.shape.dim[2:]
    onnx.save(model, tmp_path / "flat.onnx")
    refused(["does not say how pictures go into the network", "[1, 3]"], source="flat.onnx")


def test_several_inputs(refused):
    refused(["the network has 2 inputs", "image float32", "extra_1 float32"], inputs=2)


def test_a_size_that_the_file_does_not_allow(refused):
    refused(["--shape 64x64 does not fit the network", "32x32"], "--shape", "64x64")


def test_an_operator_that_is_not_onnx_s(refused):
    refused(["operators that are not ONNX's", "my.ops:Odd"], extra=(ODD,))


def test_an_operator_that_onnx_runtime_does_not_know(refused):
    refused(
        ["ONNX Runtime cannot run the network"],
        extra=(helper.make_node("BitShift", ["features", "features"], ["deep"], name="b", direction="LEFT"),),
    )


def test_nan_is_blamed_on_the_picture(refused):
    bad = (
        helper.make_node("Sub", ["features", "features"], ["zero"], name="s"),
        helper.make_node("Div", ["zero", "zero"], ["nan"], name="d"),
        helper.make_node("Add", ["features", "nan"], ["deep"], name="a"),
    )
    refused(["output scores of the float network is NaN or infinite on 000.png"], extra=bad)


def test_a_network_that_is_quantized_already(refused, exported):
    refused(["is quantized already", " place`"], source=exported.qdq)


def test_a_model_beyond_what_one_file_can_hold(refused, monkeypatch):
    from deploy.graph import onnx_graph

    monkeypatch.setattr(onnx_graph, "MOST_BYTES", 100)
    refused(["net.onnx is too large", "2 GB"])


def test_labels_that_miss_a_picture(refused, tmp_path):
    (tmp_path / "labels.csv").write_text("000.png,1\n")
    refused(["labels.csv has no label for"], "--labels", "labels.csv")
    (tmp_path / "labels.csv").write_text("000.png,one\n001.png,2\nx\n")
    refused(["labels.csv, line "], "--labels", "labels.csv")
    refused(["no labels nowhere"], "--labels", "nowhere")


def test_coloured_label_maps(refused, tmp_path):
    (tmp_path / "masks").mkdir()
    for index in range(6):
        cv2.imwrite(str(tmp_path / "masks" / f"{index:03d}.png"), np.zeros((8, 8, 3), np.uint8))
    refused(["is not a label map"], "--labels", "masks", outputs=("map",))


def test_numbers_that_are_no_normalisation(refused):
    refused(["--mean and --std go together"], "--mean", "0")
    refused(["--std 0"], "--mean", "0", "--std", "0")


def test_targets_that_do_not_exist(refused):
    refused(["no backend 'tpu'"], "--target", "tpu")


def test_a_skip_that_names_nothing(refused):
    refused(["--skip: c9_Conv names nothing in this network", "did you mean"], "--skip", "c9_Conv")


def test_a_budget_that_is_no_number(capsys):
    with pytest.raises(SystemExit, match="2"):
        call("deploy.__main__", "quantize", "net.onnx", "--data", "data", "--snr", "nan")
    assert "argument --snr: 'nan' is not a number of decibels" in capsys.readouterr().err
