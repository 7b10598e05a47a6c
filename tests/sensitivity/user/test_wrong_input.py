"""Mistakes in the config and in the user's file give an error before any file of the user's is overwritten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from core.errors import UserError
from qat.sensitivity.measure.task import metric_of
from qat.sensitivity.user.data import read_images
from qat.sensitivity.user.user_file import load_user_file
from tests.sensitivity.users import PLAIN, write_user


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"output_file": "{folder}/weights.pt"}, "would replace model_path"),
        ({"output_file": "{folder}/a/../labels.pt"}, "would replace data_path"),
        ({"output_file": "{folder}/my_model.py"}, "would replace model_file"),
        ({"output_file": "{folder}/b.pt", "model_path": "{folder}/b.unmet.pt"}, "would replace model_path"),
        ({"output_file": "{folder}"}, "is a folder"),
        ({"tolerance": float("nan")}, "tolerance must be a finite number, not nan"),
    ],
)
def test_a_config_that_would_lose_something_is_refused(tmp_path, keys: dict[str, Any], message: str) -> None:
    told = {key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in keys.items()}
    with pytest.raises(UserError) as refused:
        write_user(tmp_path, PLAIN, **told)
    assert message in str(refused.value)


def test_a_file_that_exits_when_imported_is_told(tmp_path) -> None:
    config = write_user(tmp_path, PLAIN, later="import argparse\nargparse.ArgumentParser().parse_args(['--epochs'])\n")
    with pytest.raises(UserError, match=r"my_model\.py fails"):
        load_user_file(config)


def test_a_loader_that_fails_is_told_with_its_batch() -> None:
    def batches():
        yield torch.zeros(2, 3, 4, 4), torch.zeros(2)
        raise OSError("no such disk")

    with pytest.raises(UserError, match="fails at batch 1") as refused:
        read_images(batches(), None, 0)
    assert "no such disk" in str(refused.value)


def test_a_batch_without_tensors_is_told_by_its_kinds() -> None:
    with pytest.raises(UserError) as refused:
        read_images([(np.zeros((1, 3, 4, 4)), 1)], None, 0)
    assert "it gave tuple of ndarray, int" in str(refused.value)


def test_a_metric_that_is_not_a_number_is_told(tmp_path) -> None:
    source = "def evaluate(model, loader):\n    return float('nan')\n"
    user = load_user_file(write_user(tmp_path, PLAIN, later=source))
    with pytest.raises(UserError, match="returned nan"):
        user.evaluate(user.model(), [])


def test_one_logit_has_no_metric_of_classes() -> None:
    labels = torch.tensor([0, 1])
    assert metric_of(torch.zeros(2, 1), labels) == ""
    assert metric_of(torch.zeros(2, 1, 4, 4), labels[:, None, None, None].expand(2, 1, 4, 4)) == ""
    assert metric_of(torch.zeros(2, 2), labels) == "top-1"


def test_a_stream_without_a_length_is_read() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            return ((torch.full((3, 4, 4), float(index)), index) for index in range(5))

    assert len(read_images(DataLoader(Stream(), batch_size=2), None, 0)) == 5
