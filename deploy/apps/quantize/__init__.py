"""`python -m deploy quantize`: turns one ONNX file and a folder of pictures into engines, and compares them in a
table."""
