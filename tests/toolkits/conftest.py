"""Fixtures of the installed toolkits; tests of missing toolkits are skipped with a hint.

Only NGC containers include pytorch-quantization, but its source is public: with PYTORCH_QUANTIZATION_SOURCE set to the
folder tools/pytorch-quantization of NVIDIA/TensorRT, it is imported from there. Stand-ins replace the results of its
build: a version, and the CUDA extension, which CPU code never calls.
"""

import os
import sys
from types import ModuleType

import pytest

from core.errors import UnsupportedEnvironment
from qat.quantization.toolkits import TOOLKITS, quantizer_class

SOURCE = os.environ.get("PYTORCH_QUANTIZATION_SOURCE")


@pytest.fixture(scope="session", autouse=True)
def _pytorch_quantization_source():
    if not SOURCE:
        return
    sys.path.insert(0, SOURCE)
    version, extension = ModuleType("pytorch_quantization.version"), ModuleType("pytorch_quantization.cuda_ext")
    version.__version__ = "source"
    sys.modules.update({module.__name__: module for module in (version, extension)})


@pytest.fixture(params=sorted(TOOLKITS))
def toolkit(request, _pytorch_quantization_source):
    """A toolkit's class of quantizers."""
    try:
        return quantizer_class(request.param)
    except UnsupportedEnvironment as error:
        pytest.skip(f"{error.why}; {error.fix}")
