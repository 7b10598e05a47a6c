"""QAT in your own training loop: partial quantization, a placement rule, calibrators by layer, learned scales.

.venv/bin/python examples/training_loop.py FOLDER        writes FOLDER/qdq.onnx and FOLDER/placed.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import CalibrationConfig, CalibrationOverride, LayerSpec, PlacementConfig, QatConfig
from deploy.apply.apply import apply
from deploy.apply.target import TargetConfig
from deploy.checks.write import write_verified
from deploy.graph.opgraph import Node, OpGraph
from deploy.placement.rule_sets import rules_of
from deploy.placement.rules.base import Match, Rule, Verdict, input_edge
from deploy.targets import target_for
from qat.api import export, prepare, quantize
from qat.export import planned
from qat.training.hooks import Hooks, NoHooks

EPOCHS, STEPS = 2, 8
OPSET = 18
EXAMPLE = torch.zeros(1, 3, 64, 96)


class TwoPaths(nn.Module):
    """A fine and a coarse path whose larger value wins; images (N, 3, H, W) to logits (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.fine = nn.Conv2d(16, 16, 3, padding=1)
        self.coarse = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.maximum(self.fine(x), self.coarse(x)))


def _both_operands(_graph: OpGraph, node: Node) -> Verdict:
    if node.kind not in ("torch.maximum", "Max"):  # its names in torch.fx and in ONNX
        return None
    return Match(edges=(input_edge(node, 0), input_edge(node, 1)), ties=((node.inputs[0], node.inputs[1]),))


MAXIMUM = Rule("maximum", "integers compare as the floats do if both have one scale", "this example", _both_operands)
PLACEMENT = PlacementConfig(layers=(LayerSpec(match="head", inputs=False),))  # of the head, only the weights
QAT = QatConfig(
    approach="calibrate",
    epochs=EPOCHS,
    learned_scales=True,
    calibration=CalibrationConfig(
        method="mse", overrides=(CalibrationOverride(match="stem.*", method="percentile", percentile=99.9),)
    ),
)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """Two images whose strongest channel is the class of a pixel: (2, 3, 64, 96) and int64 (2, 64, 96)."""
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))
    image = F.avg_pool2d(image, 5, stride=1, padding=2) * 5
    return image, image.argmax(1)


def train(model: nn.Module, epochs: int, lr: float, hooks: Hooks) -> float:
    """Train in any loop that calls `hooks` around its steps; returns the last loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    hooks.on_training_start(STEPS)
    for step in range(epochs * STEPS):
        image, label = batch(step)
        model.train()
        hooks.on_step_start(step, step // STEPS)
        loss = F.cross_entropy(model(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hooks.on_step_end(step)
    return loss.item()


def main(folder: Path) -> None:
    """Float training, quantization, fine-tuning, export, and the graph that an engine is built from."""
    torch.manual_seed(0)
    net = TwoPaths()
    print(f"float:      loss {train(net, 2 * EPOCHS, lr=0.05, hooks=NoHooks()):.3f}")
    model = quantize(net, EXAMPLE, PLACEMENT, rules=(MAXIMUM,))
    hooks = prepare(model, QAT, [batch(1000 + i)[0] for i in range(4)])
    print(f"fine-tuned: loss {train(model, EPOCHS, lr=1e-3, hooks=hooks):.3f}")
    export(model, EXAMPLE, folder / "qdq.onnx")
    graph, plan = planned(model, EXAMPLE, OPSET)
    goal = TargetConfig(target_for("tensorrt"), rules_of(PLACEMENT, own=(MAXIMUM,)), PLACEMENT.skip)
    applied = apply(graph, plan, goal)
    write_verified(applied, goal.target, folder / "placed.onnx")
    for name, tensor in applied.plan.activations.items():
        for use in tensor.uses:
            print(f"{name} → {use.node} in INT8 by {use.rule}, range {tensor.origin}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
