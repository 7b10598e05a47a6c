"""One file per toolkit; each has `quantize(source, out, **settings)`."""
