"""Names of models as people write them."""

from __future__ import annotations


def same_model(wanted: str, name: str) -> bool:
    """Whether a model is meant by its name, or by the last part of it in any case as presets are named
    (``qwen3-8b``, ``pro-deepseek-v3``)."""
    low, pro = name.lower(), "pro-" if name.startswith("Pro/") else ""
    return wanted.lower() in (low, pro + low.rpartition("/")[2])
