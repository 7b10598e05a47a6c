"""Train the example's classifier for a few seconds and save its weights beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # any Python can start it: it continues in the project's environment
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

import torch
from my_model import get_criterion, get_model, shapes

STEPS, BATCH = 150, 64


def main() -> None:
    """Write fp32.pt."""
    torch.manual_seed(0)
    model, criterion = get_model(), get_criterion()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(STEPS):
        images, labels = shapes(BATCH, seed=1000 + step)
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    path = Path(__file__).with_name("fp32.pt")
    torch.save(model.state_dict(), path)
    print(f"{path}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
