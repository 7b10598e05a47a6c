"""Changes the code one place at a time and sees whether a test notices; `run.py` is started by hand."""
