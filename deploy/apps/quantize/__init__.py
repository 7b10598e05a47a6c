"""One ONNX file and a folder of pictures to engines, and a table that compares them."""
