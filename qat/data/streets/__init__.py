"""Street scenes that are drawn on demand: the embedded data set."""

from qat.data.streets.dataset import DEFAULT_SIZES, Streets

__all__ = ["DEFAULT_SIZES", "Streets"]
