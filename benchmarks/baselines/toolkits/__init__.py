"""One file a toolkit; each has `quantize(source, out, **settings)`."""
