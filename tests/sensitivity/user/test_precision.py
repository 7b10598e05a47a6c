"""Networks, images and losses of half precision are analysed in float32."""

from __future__ import annotations

import pytest
import torch

from core.errors import UserError
from qat.sensitivity import load
from qat.sensitivity.finish import finish
from qat.sensitivity.measure.preflight import check_forward
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.user.data import read_images
from tests.sensitivity.users import RESIDUAL, write_user

LATER = """
_float, _batches = get_model, get_data_loader

def get_model():
    return _float().to(torch.{dtype})

def get_data_loader(data_path):
    return [(images.to(torch.{images}), labels) for images, labels in _batches(data_path)]

def get_criterion():
    return nn.CrossEntropyLoss(weight=torch.ones(4, dtype=torch.{dtype}))

def evaluate(model, loader):
    return sum(float((model(images).argmax(1) == labels).sum()) for images, labels in loader)
"""
QUICK = {"exact_top": 2, "full_top": 0, "recover": {"steps": 2}, "tolerance": 10.0}


@pytest.mark.parametrize(("dtype", "images"), [("bfloat16", "float32"), ("float16", "float16")])
def test_a_network_of_half_precision_is_analysed_in_float32(tmp_path, monkeypatch, dtype, images) -> None:
    said: list[str] = []
    monkeypatch.setattr("qat.sensitivity.pipeline.say", said.append)
    later = LATER.replace("{dtype}", dtype).replace("{images}", images)
    config = write_user(tmp_path, RESIDUAL, fragile="conv3", later=later, engine=None, **QUICK)
    found = analyse(config)
    assert found.ranking.groups[0].group == "conv3"
    assert any(f"is in {dtype}" in line and "float32" in line for line in said)
    assert {value.dtype for value in found.subject.model.parameters()} == {torch.float32}
    done = finish(found)
    loaded, image = load(done.model, found.user.model()), torch.ones(1, 3, 8, 8)
    with found.subject.only(found.evaluator.everything):
        assert torch.equal(loaded(image), found.subject.model(image))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_that_casts_to_half_precision_itself_is_told(dtype) -> None:
    class Casts(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.to(dtype))

    with pytest.raises(UserError) as caught:
        check_forward(Casts(3, 4, 1), torch.ones(1, 3, 2, 2), torch.zeros(1), torch.nn.MSELoss())
    assert "cast to half" in caught.value.fix


def test_images_of_half_precision_are_read_as_float32() -> None:
    batches = [{"image": torch.ones(2, 3, dtype=torch.bfloat16), "target": torch.arange(2), "name": ["a", "b"]}]
    images = read_images(batches, None, 0)
    batch = next(iter(images.loader(range(2))))
    assert batch["image"].dtype is torch.float32 and batch["target"].dtype is torch.int64
    assert len(images.fingerprint()) == 64
