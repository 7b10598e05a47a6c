"""Reading, cleaning and viewing ONNX graphs."""
