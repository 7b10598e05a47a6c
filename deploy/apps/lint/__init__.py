"""What in a Q/DQ graph will make its TensorRT engine slow, wrong or impossible, before anyone has a GPU."""
