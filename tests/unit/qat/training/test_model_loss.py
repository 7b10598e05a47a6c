"""The deployed output, and the loss of a network with several outputs."""

import pytest
import torch
from torch import nn

from core.config import load_config
from core.errors import UserError
from qat.models.outputs import head_of
from qat.tasks.losses import ClassificationLoss, SegmentationLoss
from qat.training.model_loss import build_loss
from qat.training.pidnet_loss import PIDNetLoss
from tests.small_line import CONFIG

A, B = torch.zeros(1), torch.ones(1)


@pytest.mark.parametrize(
    ("outputs", "key", "found"),
    [
        (A, None, A),
        (A, 3, A),
        ((A,), None, A),
        ([A], 0, A),
        ({"out": A}, None, A),
        ((A, B), 1, B),
        ({"out": A, "aux": B}, "out", A),
        ({0: A, 1: B}, 1, B),
        ({"0": A, "1": B}, 1, B),
        (((A,), B), 0, (A,)),
    ],
)
def test_the_one_head_or_the_named_one(outputs, key, found):
    got = head_of(outputs, key)
    assert got is found or got == found


@pytest.mark.parametrize(
    ("outputs", "key", "message"),
    [
        ((A, B), None, "the network returns 2 outputs"),
        ({"out": A, "aux": B}, None, "the network returns 2 outputs"),
        ((A, B), 2, "model.output: 2 is not an output"),
        ((A, B), "out", "model.output: out is not an output"),
        ({"out": A, "aux": B}, "main", "model.output: main"),
    ],
)
def test_which_one_is_asked_for_with_their_names(outputs, key, message):
    with pytest.raises(UserError, match=message) as error:
        head_of(outputs, key)
    listed = "out, aux" if isinstance(outputs, dict) else "0, 1"
    assert error.value.fix == f"set model.output to one of {listed}"


def test_the_loss_is_the_user_s_the_network_s_or_the_task_s(tmp_path):
    file = tmp_path / "losses.py"
    file.write_text(
        "def heads(outputs, label):\n    return {'loss': outputs['out'].sum() + label.sum(), 'x': label.sum()}\n"
    )

    def of(*overrides):
        return build_loss(load_config(CONFIG, list(overrides)))

    assert isinstance(of(), PIDNetLoss)
    custom = ("model.name=custom", "model.factory=net.py:net")
    assert isinstance(of(*custom), SegmentationLoss)
    assert isinstance(of(*custom, "task=classification", "data.name=flat"), ClassificationLoss)
    mine = of(*custom, f"model.loss={file}:heads")({"out": B}, torch.tensor([4, 5]), torch.zeros(2))
    assert (float(mine["loss"]), float(mine["x"])) == (10, 9)


def test_a_loss_that_is_no_number_is_refused(tmp_path):
    file = tmp_path / "losses.py"
    file.write_text(
        "def nothing(outputs, label):\n    return None\n\n\ndef many(outputs, label):\n    return outputs\n"
    )
    for name in ("nothing", "many"):
        loss = build_loss(load_config(CONFIG, [f"model.loss={file}:{name}"]))
        with pytest.raises(UserError, match=r"model\.loss: .* returned"):
            loss(torch.zeros(3), torch.zeros(1))


def test_segmentation_s_loss_takes_the_evaluated_head_of_several():
    config = load_config(CONFIG).train
    label = torch.randint(0, 3, (2, 8, 8))
    heads = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2)
    alone = SegmentationLoss(config)(heads[0], label)["loss"]
    assert torch.equal(SegmentationLoss(config, 0)(heads, label)["loss"], alone)
    assert torch.equal(SegmentationLoss(config)((heads[0],), label)["loss"], alone)
    with pytest.raises(UserError, match="returns 2 outputs"):
        SegmentationLoss(config)(heads, label)


def test_classification_s_loss_is_cross_entropy_over_images_with_a_class():
    logits, label = torch.randn(3, 700), torch.tensor([699, -1, 256])
    expected = nn.functional.cross_entropy(logits[[0, 2]], label[[0, 2]])
    assert torch.allclose(ClassificationLoss()(logits, label)["loss"], expected)
