"""The documented contract of the user's file: arguments, results, loaders, batches; and the preflight checks."""

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
from qat.sensitivity.measure.preflight import check_forward, check_saving
from qat.sensitivity.network.save import Quantization
from qat.sensitivity.user.batch import input_and_target
from qat.sensitivity.user.data import Images, read_images
from qat.sensitivity.user.user_file import load_user_file
from tests.sensitivity.users import PLAIN, write_user

IMAGES, LABELS = torch.arange(24.0).reshape(6, 4), torch.arange(6)


@pytest.mark.parametrize(
    "source",
    [
        "def get_model(config):\n    assert config.seed == 0\n    return Net()\n",
        "def get_model(model_path):\n    return Net().eval() if model_path.endswith('weights.pt') else None\n",
        "def get_model(device, seed, width=3):\n    return Net().to(device) if (seed, width) == (0, 3) else None\n",
        "def get_model(*args, **kwargs):\n    return nn.DataParallel(Net())\n",
    ],
)
def test_functions_take_the_documented_arguments_by_name(tmp_path, source) -> None:
    model = load_user_file(write_user(tmp_path, PLAIN, later=source)).model()
    assert type(model).__name__ == "Net"


@pytest.mark.parametrize(
    ("source", "nearest"),
    [
        ("def get_model(modelpath):\n    pass\n", "did you mean model_path?"),
        ("def get_model(model_path, /):\n    pass\n", "did you mean model_path?"),
        ("def get_model(*, flavour):\n    pass\n", "rename it"),
    ],
)
def test_a_parameter_that_nothing_is_given_for_is_named_with_the_nearest(tmp_path, source, nearest) -> None:
    with pytest.raises(UserError, match=r"parameter '(modelpath|model_path|flavour)'") as refused:
        load_user_file(write_user(tmp_path, PLAIN, later=source)).model()
    assert nearest in refused.value.fix and "data_path, config" in refused.value.why


def test_get_optimizer_takes_the_model(tmp_path) -> None:
    source = "def get_optimizer(config, model):\n    return torch.optim.SGD(model.parameters(), lr=0.1)\n"
    user = load_user_file(write_user(tmp_path, PLAIN, extra=source))
    assert len(user.optimizer(user.model()).param_groups[0]["params"]) == 12


def test_class_names_are_optional_and_each_class_has_one(tmp_path) -> None:
    def names(source: str) -> tuple[str, ...]:
        return load_user_file(write_user(tmp_path, PLAIN, extra=source)).class_names()

    assert names("") == ()
    assert names("def get_class_names(data_path):\n    return ['road', 'car']\n") == ("road", "car")
    for wrong in ("['car', 'car']", "'car'", "[1, 2]"):
        with pytest.raises(UserError, match=r"get_class_names\(\) in .* returned"):
            names(f"def get_class_names():\n    return {wrong}\n")


@pytest.mark.parametrize("name", ["get_model", "get_data_loader", "get_criterion", "get_optimizer"])
def test_another_result_than_the_documented_one_is_refused(tmp_path, name) -> None:
    user = load_user_file(write_user(tmp_path, PLAIN, later=f"def {name}():\n    return 3\n"))
    calls: dict[str, Callable[[], Any]] = {
        "get_model": user.model,
        "get_data_loader": lambda: user.loader("val"),
        "get_criterion": user.criterion,
        "get_optimizer": lambda: user.optimizer(nn.Linear(1, 1)),
    }
    with pytest.raises(UserError, match=rf"{name}\(\) in .* returned int"):
        calls[name]()


@pytest.mark.parametrize("loader", ["TensorDataset(torch.ones(2, 1))", "torch.ones(2, 1)", "{'val': []}"])
def test_a_dataset_or_a_mapping_is_no_loader(tmp_path, loader) -> None:
    source = f"from torch.utils.data import TensorDataset\ndef get_data_loader():\n    return {loader}\n"
    with pytest.raises(UserError, match="returned") as refused:
        load_user_file(write_user(tmp_path, PLAIN, later=source)).loader("val")
    assert "DataLoader" in refused.value.fix


def loaders() -> dict[str, Any]:
    halves = [(IMAGES[:3], LABELS[:3]), (IMAGES[3:], LABELS[3:])]
    return {
        "loader": DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4),
        "list of batches": halves,
        "generator": (batch for batch in halves),
        "dicts": [{"x": images, "target": labels} for images, labels in halves],
    }


@pytest.mark.parametrize("form", loaders())
def test_every_form_of_loader_gives_the_same_images(form) -> None:
    images = read_images(loaders()[form], None, 0)
    pairs = [input_and_target(sample) for sample in images.samples]
    inputs = [image["x"] if isinstance(image, dict) else image for image, _ in pairs]
    assert torch.equal(torch.cat(inputs), IMAGES)
    assert torch.equal(torch.cat([target for _, target in pairs]), LABELS)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_criterion():\n    return [][1]\n", r"get_criterion\(\) .* failed at line \d+"),
        ("def evaluate(model, loader, device):\n    return {'on': device}\n", "returned dict"),
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
        check_forward(net(), torch.ones(1, 3, 5, 5), one()[1], nn.CrossEntropyLoss())


def test_a_loss_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(UserError, match="get_criterion"):
        check_forward(net(), one()[0], torch.zeros(5, dtype=torch.long), nn.CrossEntropyLoss())


def test_a_network_of_chance_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + torch.rand(1)

    with pytest.raises(UserError, match="each time"):
        check_forward(Noisy(), *one(), nn.CrossEntropyLoss())


def test_a_model_that_cannot_be_brought_back_is_refused_first() -> None:
    how = Quantization("given", one()[0])
    check_saving(net(), how, net, one()[0])
    with pytest.raises(UserError, match="could not be loaded"):
        check_saving(net(), how, lambda: net(4), one()[0])

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = float(torch.rand(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + self.shift

    with pytest.raises(UserError, match="computes something else"):
        check_saving(Hidden(), how, Hidden, one()[0])


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
