"""The embedded data set: street scenes that are drawn on demand."""

from qat.data.streets.dataset import DEFAULT_SIZES, Streets

__all__ = ["DEFAULT_SIZES", "Streets"]
