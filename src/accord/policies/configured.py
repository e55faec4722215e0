"""What a network's weights don't say of it."""

from typing import Any

ELSEWHERE = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")
"""Of a configuration: where it came from, and the precision, which the weights have."""


def configuration(network: Any) -> dict[str, Any]:
    """Its settings, as plain values, and how it attends; of a network of transformers, or of any that has none."""
    config: Any = getattr(network, "config", None)
    told = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
    return _plain(told) | {"attention": getattr(config, "_attn_implementation", None)}


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, dict) else v for k, v in told.items() if k not in ELSEWHERE}
