"""Which parts of a network suffer from INT8, measured without changing the network."""

from qat.sensitivity.network.save import load

__all__ = ["load"]
