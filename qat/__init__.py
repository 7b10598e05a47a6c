"""The QAT stage: turns a PyTorch model and data into a trained Q/DQ ONNX graph."""
