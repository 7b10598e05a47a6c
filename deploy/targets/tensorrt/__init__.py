"""TensorRT on NVIDIA GPUs, and the code that it shares with TensorRT-RTX."""
