"""Bundles and manifests that were changed, and builds that fail."""
