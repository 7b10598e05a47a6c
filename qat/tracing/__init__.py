"""PyTorch networks as graphs: torch.fx in, ONNX out."""
