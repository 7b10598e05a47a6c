"""TensorRT-RTX on NVIDIA GPUs: everything in which it differs from TensorRT, whose code builds and runs it."""
