"""Baselines: other toolkits' post-training quantization of the same FP32 graph, built and measured like this
project's."""
