"""Former names of config keys and values; a former name is refused, and the message gives the new one."""

from __future__ import annotations

KEYS = {
    "placement.profile": "placement.rule_set",
    "deploy.rest": "deploy.fallback_precision",
    "deploy.trt": "deploy.tensorrt",
    "bench.gate_miou_drop": "bench.gate_drop_points",
    "search.probe_images": "search.trial_images",  # of the sensitivity analysis
}
VALUES = {"trt": "tensorrt or tensorrt_rtx"}


def renamed_key(key: str) -> str | None:
    """A sentence with the new name of `key`; None where it was never renamed."""
    return f"{key} is now {KEYS[key]}" if key in KEYS else None


def renamed_value(key: str, value: object) -> str | None:
    """A sentence with the new name of a `value` of `key`; None where it was never renamed."""
    return f"{key}: {value} is now {VALUES[value]}" if isinstance(value, str) and value in VALUES else None
