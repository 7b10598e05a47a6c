"""Sensitivity of the parts of a network to INT8, measured without changing the network."""

from qat.sensitivity.network.save import load

__all__ = ["load"]
