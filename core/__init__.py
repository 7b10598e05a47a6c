"""Shared foundation of all stages: config, artifacts, errors, console. It imports no other package of this project."""
