"""Files of weights: safetensors, state dicts, and pickles, whose code never runs unless the config trusts them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from core.errors import UserError
from qat.sensitivity.network.weights import load_weights
from qat.sensitivity.pipeline import analyse
from tests.sensitivity.users import PLAIN, write_user

ROOT = Path(__file__).parents[3]


class Hostile:
    """An object that writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.file, "run")


def hostile(folder: Path, form: str) -> tuple[Path, Path]:
    """A file of weights whose code writes the second path."""
    payload, path = folder / "payload", folder / "hostile.pt"
    content = {"state_dict": {}, "extra": Hostile(payload)}
    if form == "checkpoint":
        torch.save(content, path)
    elif form == "old checkpoint":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(content))
    return path, payload


@pytest.mark.parametrize("form", ["checkpoint", "old checkpoint", "bare pickle"])
def test_code_in_a_pickle_does_not_run(tmp_path, form) -> None:
    path, payload = hostile(tmp_path, form)
    with pytest.raises(UserError) as refused:
        load_weights(nn.Linear(2, 2), path)
    assert not payload.exists()
    assert "safetensors" in refused.value.fix and "trust_pickle: true" in refused.value.fix
    assert "weights_only" not in str(refused.value) and "trust the source" not in str(refused.value)


def test_the_command_does_not_run_it_either(tmp_path) -> None:
    path, payload = hostile(tmp_path, "checkpoint")
    write_user(tmp_path, PLAIN)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"model_path": str(path)}))
    command = [sys.executable, "sensitivity_analysis.py", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not payload.exists()
    assert "trust_pickle" in done.stderr and "weights_only" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("function", ["get_model", "get_data_loader"])
def test_pytorch_s_advice_to_run_pickles_is_not_repeated_from_the_user_s_file(tmp_path, function) -> None:
    path, payload = hostile(tmp_path, "checkpoint")
    read = (
        f"    yield torch.load({str(path)!r})\n"
        if function == "get_data_loader"
        else f"    torch.load({str(path)!r})\n"
    )
    config = write_user(tmp_path, PLAIN, later=f"\ndef {function}():\n{read}")
    with pytest.raises(UserError) as refused:
        analyse(config)
    assert "weights_only" not in str(refused.value) and "Python objects" in refused.value.why and not payload.exists()


def test_a_trusted_pickle_may_be_the_network_itself(tmp_path) -> None:
    network = nn.Linear(2, 2)
    torch.save(network, tmp_path / "network.pt")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_weights(nn.Linear(2, 2), tmp_path / "network.pt")
    loaded = load_weights(nn.Linear(2, 2), tmp_path / "network.pt", trust_pickle=True)
    assert torch.equal(loaded.weight, network.weight)  # type: ignore[arg-type]


def test_safetensors_are_read(tmp_path) -> None:
    state = {name: value + 1 for name, value in nn.Linear(2, 2).state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    loaded = load_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
    (tmp_path / "damaged.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_weights(nn.Linear(2, 2), tmp_path / "damaged.safetensors")


def test_weights_must_fit_and_may_carry_the_prefix_of_data_parallel(tmp_path) -> None:
    model = nn.Linear(2, 2)
    state = {f"module.{name}": value + 1 for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    expected = {name: value + 1 for name, value in model.state_dict().items()}
    loaded = load_weights(model, tmp_path / "wrapped.pt")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in expected.items())
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "partial.pt")
    with pytest.raises(UserError, match="does not fit"):
        load_weights(model, tmp_path / "partial.pt")


def test_a_checkpoint_that_modelopt_did_not_convert_needs_no_modelopt(tmp_path) -> None:
    net = nn.Linear(2, 2)
    torch.save({"state_dict": net.state_dict(), "modelopt_state": None}, tmp_path / "w.pt")
    assert load_weights(nn.Linear(2, 2), tmp_path / "w.pt").weight.equal(net.weight)  # type: ignore[operator]
