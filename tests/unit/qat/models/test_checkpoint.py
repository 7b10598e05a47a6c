"""Loading weights: all of them, or an error that names the problem."""

from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import UserError
from qat.models.checkpoint import load_state
from qat.models.pidnet import SIZES, PIDNet

SHARED = Path(__file__).parents[4].parent / "shared" / "checkpoints" / "pidnet_s_camvid_fp32.pt"


class Net(nn.Module):
    """A backbone, a head, and on demand an auxiliary head as PIDNet names it."""

    def __init__(self, *, heads=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)
        self.training_only = () if heads else ("seghead_p.",)
        if heads:
            self.seghead_p = nn.Conv2d(4, 2, 1)


@pytest.fixture
def state():
    torch.manual_seed(7)
    return Net(heads=True).state_dict()


def save(folder, content):
    torch.save(content, folder / "weights.pt")
    return folder / "weights.pt"


def message(model, path):
    with pytest.raises(UserError) as raised:
        load_state(model, path)
    return str(raised.value)


def assert_loaded(model, state):
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("heads", [True, False])
def test_plain_state_dict(tmp_path, state, heads):
    model = Net(heads=heads)
    load_state(model, save(tmp_path, state))
    assert_loaded(model, state)


def test_prefix_nesting_and_values_that_only_training_needs(tmp_path, state):
    wrapped = {f"model.{name}": value for name, value in state.items()}
    wrapped |= {"loss.weight": torch.ones(2), "sem_loss.criterion.weight": torch.ones(2)}
    model = Net(heads=True)
    load_state(model, save(tmp_path, {"state_dict": wrapped, "epoch": 3}))
    assert_loaded(model, state)


def test_network_whose_own_part_is_called_model_keeps_its_names(tmp_path):
    wrapper, other = nn.ModuleDict({"model": Net(), "loss": nn.Linear(2, 2)}), Net()
    target = nn.ModuleDict({"model": Net(), "loss": nn.Linear(2, 2)})
    load_state(target, save(tmp_path, wrapper.state_dict()))
    assert_loaded(target, wrapper.state_dict())
    load_state(other, save(tmp_path, nn.ModuleDict({"model": other}).state_dict()))


def test_each_problem_is_reported_by_name(tmp_path, state):
    del state["backbone.0.bias"]
    state["head.weight"] = torch.zeros(5, 4, 1, 1)
    state["neck.weight"] = torch.zeros(1)
    model = Net(heads=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told = message(model, save(tmp_path, state))
    assert "missing: backbone.0.bias" in told
    assert "unexpected: neck.weight" in told
    assert "other shape: head.weight (5, 4, 1, 1) for (2, 4, 1, 1)" in told
    assert_loaded(model, before)


def test_long_lists_are_cut_and_counted(tmp_path):
    told = message(Net(), save(tmp_path, {}))
    assert "backbone.0.bias" in told and "and 4 more" in told


def test_heads_may_be_left_over_but_not_missing(tmp_path, state):
    without = {name: value for name, value in state.items() if not name.startswith("seghead_")}
    assert "missing: seghead_p.bias, seghead_p.weight" in message(Net(heads=True), save(tmp_path, without))
    state["seghead_d.weight"] = torch.zeros(1)
    assert "unexpected: seghead_d.weight" in message(Net(heads=True), save(tmp_path, state))


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short", b"\x80\x02X\x01\x00\x00\x00\xff.", b"h\x05."]
)
def test_unreadable_file(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    assert "cannot be read as a PyTorch checkpoint" in message(Net(), tmp_path / "weights.pt")


def test_file_that_was_cut_in_the_middle(tmp_path, state):
    path = save(tmp_path, state)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as a PyTorch checkpoint" in message(Net(), path)


def test_no_file_and_no_state_dict(tmp_path):
    assert "no checkpoint" in message(Net(), tmp_path / "absent.pt")
    assert "holds list, not a state dict" in message(Net(), save(tmp_path, [1, 2]))


def test_published_layout_of_a_trained_pidnet():
    if not SHARED.is_file():
        pytest.skip(f"no {SHARED}")
    stored = torch.load(SHARED, weights_only=True)
    for augment in (True, False):
        model = PIDNet(SIZES["pidnet_s"], 11, augment=augment)
        load_state(model, SHARED)
        assert_loaded(model, {name.removeprefix("model."): value for name, value in stored.items()})
    assert "other shape: final_layer.conv2.bias (11,) for (19,)" in message(
        PIDNet(SIZES["pidnet_s"], 19, augment=False), SHARED
    )
