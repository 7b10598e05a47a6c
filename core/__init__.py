"""What every stage needs and nothing of ours is imported by: config, artifacts, errors, console."""
