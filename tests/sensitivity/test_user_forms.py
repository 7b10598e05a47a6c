"""The forms in which people write their file: arguments, loaders, batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from core.errors import UserError
from qat.sensitivity.measure.rehearsal import rehearse, rehearse_saving
from qat.sensitivity.network.save import Quantization
from qat.sensitivity.user.data import Images, read_images
from qat.sensitivity.user.user_file import load_user_file
from tests.sensitivity.users import PLAIN, write_user

IMAGES, LABELS = torch.arange(24.0).reshape(6, 4), torch.arange(6)
BATCH = (IMAGES, LABELS)


@pytest.mark.parametrize(
    "source",
    [
        "def get_model(config):\n    assert config['model_path'] == config.model_path\n    return Net()\n",
        "def get_model(path):\n    return Net().eval() if path.endswith('weights.pt') else None\n",
        "def get_model(checkpoint_path, device, /):\n    return Net().to(device)\n",
        "def get_model(*args, **kwargs):\n    return nn.DataParallel(Net())\n",
    ],
)
def test_get_model_may_ask_in_many_ways(tmp_path, source) -> None:
    model = load_user_file(write_user(tmp_path, PLAIN, later=source)).model()
    assert type(model).__name__ == "Net"


@pytest.mark.parametrize("head", ["model", "config, model", "params", "net, cfg", "parameters, lr=0.1"])
def test_get_optimizer_gets_the_model_wherever_it_stands(tmp_path, head) -> None:
    name = next(word for word in ("model", "params", "net", "parameters") if word in head)
    given = name if name.startswith("param") else f"{name}.parameters()"
    source = f"def get_optimizer({head}):\n    return torch.optim.SGD({given}, lr=0.1)\n"
    user = load_user_file(write_user(tmp_path, PLAIN, extra=source))
    assert len(user.optimizer(user.model()).param_groups[0]["params"]) == 12


def loaders() -> dict[str, Callable[[], Any]]:
    data = TensorDataset(IMAGES, LABELS)
    halves = [(IMAGES[:3], LABELS[:3]), (IMAGES[3:], LABELS[3:])]
    return {
        "loader": lambda: DataLoader(data, batch_size=4),
        "dataset": lambda: data,
        "one batch": lambda: BATCH,
        "list of batches": lambda: halves,
        "tuple of batches": lambda: tuple(halves),
        "generator": lambda: (batch for batch in halves),
        "pair of loaders": lambda: (DataLoader(data), DataLoader(data, batch_size=2)),
        "list of loaders": lambda: [DataLoader(data), DataLoader(data, batch_size=2)],
        "by name": lambda: {"train": DataLoader(data), "valid": DataLoader(data, batch_size=2)},
        "mapping of tensors": lambda: {"image": IMAGES, "label": LABELS},
    }


@pytest.mark.parametrize("form", loaders())
def test_every_form_of_loader_gives_the_same_images(tmp_path, form) -> None:
    user = load_user_file(write_user(tmp_path, PLAIN))
    user.functions.get_data_loader = loaders()[form]
    images = read_images(user.loader("val"), None, 0)
    pairs = [images.split(sample) for sample in images.samples]
    assert torch.equal(torch.cat([image for image, _ in pairs]), IMAGES)
    assert torch.equal(torch.cat([target for _, target in pairs]), LABELS)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_criterion():\n    return [][1]\n", r"get_criterion\(\) .* failed at line \d+"),
        ("def evaluate(model, loader, device):\n    return {'on': device}\n", "gives no number"),
    ],
)
def test_what_fails_in_the_user_s_functions_is_named(tmp_path, source, message) -> None:
    user = load_user_file(write_user(tmp_path, PLAIN, later=source))
    with pytest.raises(UserError, match=message):
        user.criterion()
        assert user.evaluate is not None
        user.evaluate(nn.Identity(), [])


def test_names_beside_the_tensors_stay_with_their_images() -> None:
    names = [f"{index}.png" for index in range(6)]
    images = read_images([(IMAGES, LABELS, names)], None, 0)
    assert images.samples[4][2] == ["4.png"]
    assert images.together([1, 4])[2] == ["1.png", "4.png"]


def net(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).eval()


def one() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(1, 3, 2, 2), torch.zeros(1, dtype=torch.long)


def test_images_that_the_network_does_not_take_are_told_at_once() -> None:
    with pytest.raises(UserError, match=r"\(1, 3, 5, 5\)"):
        rehearse(net(), torch.ones(1, 3, 5, 5), one()[1], nn.CrossEntropyLoss())


def test_a_loss_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(UserError, match="get_criterion"):
        rehearse(net(), one()[0], torch.zeros(5, dtype=torch.long), nn.CrossEntropyLoss())


def test_a_network_of_chance_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + torch.rand(1)

    with pytest.raises(UserError, match="each time"):
        rehearse(Noisy(), *one(), nn.CrossEntropyLoss())


def test_a_model_that_cannot_be_brought_back_is_refused_first() -> None:
    how = Quantization("given", one()[0])
    rehearse_saving(net(), how, net, one()[0])
    with pytest.raises(UserError, match="could not be loaded"):
        rehearse_saving(net(), how, lambda: net(4), one()[0])

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = float(torch.rand(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + self.shift

    with pytest.raises(UserError, match="computes something else"):
        rehearse_saving(Hidden(), how, Hidden, one()[0])


def test_images_of_one_shape_run_together() -> None:
    images = Images(tuple((torch.zeros(1, 3, side, side), side) for side in (4, 4, 5)), 4)
    assert images.chunks(range(3)) == [(0, 1), (2,)]


def test_a_loader_may_draw_from_any_generator() -> None:
    def batches():
        for _ in range(2):
            image = np.random.rand(1, 3, 4, 4) + random.random()
            yield torch.from_numpy(image).float() + torch.rand(1), torch.zeros(1)

    first, again, other = (read_images(batches(), None, seed).fingerprint() for seed in (3, 3, 4))
    assert first == again != other
