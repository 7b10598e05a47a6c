"""benchmarks/studies/cudnn_int8.py without a GPU: the shapes that it would time, and its refusal."""

from __future__ import annotations

import sys

import pytest

from benchmarks.studies import cudnn_int8
from benchmarks.studies.cudnn_int8 import Shape, shapes_of
from core.errors import EXIT_ENVIRONMENT


def test_shapes_are_padded_and_counted(exported):
    assert shapes_of(exported.fp32) == {
        Shape((1, 16, 32, 32), (16, 16, 3, 3), 1, 2, 1): 1,
        Shape((1, 16, 16, 16), (16, 16, 3, 3), 1, 1, 1): 4,
        Shape((1, 16, 16, 16), (16, 16, 1, 1), 0, 1, 1): 1,
    }


def test_without_a_gpu_it_says_so(exported, monkeypatch, capsys):
    if cudnn_int8.torch.cuda.is_available():
        pytest.skip("a GPU is here")
    monkeypatch.setattr(sys, "argv", ["cudnn_int8", str(exported.fp32)])
    assert cudnn_int8.main() == EXIT_ENVIRONMENT
    assert "fix: " in capsys.readouterr().err
