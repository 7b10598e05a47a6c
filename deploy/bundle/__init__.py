"""Built engines on disk: files, manifest, and the meaning of their tensors."""
