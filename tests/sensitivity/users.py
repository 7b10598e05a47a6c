"""A user's folder: model file, weights and config of small networks, one of them with a fragile layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from qat.sensitivity.config import SensitivityConfig, load_sensitivity_config
from qat.sensitivity.user.batch import logits_of

PLAIN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv4 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.conv4(x))
        return self.fc(x.mean((2, 3)))
"""
RESIDUAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(8)
        self.conv4 = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        y = self.bn3(self.conv3(torch.relu(self.conv2(x))))
        x = torch.relu(y + self.conv4(x))
        return self.fc(x.mean((2, 3)))
"""
UNTRACEABLE = PLAIN.replace(
    "        x = torch.relu(self.conv2(x))\n",
    "        if float(x.sum()) != 0.0:\n            x = torch.nn.functional.relu(self.conv2(x))\n",
)
FUNCTIONS = """
def get_model():
    torch.manual_seed(0)
    return Net()

def get_data_loader(data_path, split="val"):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    labels = torch.load(data_path, weights_only=True)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=6)

def get_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)

def get_criterion():
    return nn.CrossEntropyLoss()
"""


def write_user(
    folder: Path, net: str, *, fragile: str = "", extra: str = "", later: str = "", **keys: Any
) -> SensitivityConfig:
    """Write everything into `folder`; the network's own answers are the labels, so it is always right in float.

    Args:
        later: additional content of the file, not used to make the float network.
    """
    source = "import torch\nfrom torch import nn\n" + net + FUNCTIONS + extra
    (folder / "my_model.py").write_text(source + later, encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "user"}
    exec(compile(source, "my_model.py", "exec"), scope)
    model = scope["get_model"]().eval()
    if fragile:
        spoil(model, fragile)
    torch.save(model.state_dict(), folder / "weights.pt")
    images = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.save(logits_of(model(images)).argmax(1), folder / "labels.pt")
    config = {
        "model_path": "weights.pt",
        "data_path": "labels.pt",
        "output_file": str(folder / "best.pt"),
        "tolerance": 0.09,
        "calibration": {"method": "max", "images": 12},
        **keys,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return load_sensitivity_config(folder / "config.yaml")


def spoil(model: nn.Module, layer: str) -> None:
    """Make a layer fragile with little change of the float network's outputs.

    One input channel becomes 2000 times as large and its weights 2000 times smaller. A scale per tensor then leaves no
    steps for the other channels; a scale per output channel leaves none for that channel's weights.
    """
    convolution = model.get_submodule(layer)
    before = model.get_submodule(f"conv{int(layer[-1]) - 1}")
    with torch.no_grad():
        before.weight[0] *= 2000
        before.bias[0] *= 2000
        convolution.weight[:, 0] /= 2000
        convolution.weight *= 3


def whole_line(text: bytes) -> bool:
    """Return True if a line of the cache is complete, not cut short by a kill."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
