"""Latency, accuracy and INT8 proof of built engines, each against FP32."""
