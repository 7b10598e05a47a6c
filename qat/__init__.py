"""From a PyTorch model and data to a trained Q/DQ ONNX graph."""
