"""TensorRT-RTX on NVIDIA GPUs: its differences from TensorRT, whose code builds and runs it."""
