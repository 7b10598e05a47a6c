"""The quantization plan: scales and where they come from."""
