"""Additions to msgspec's JSON schemas: Pydantic models, and the limits of llama.cpp.

Tools and formats use them. Pydantic models are recognized by two of their methods, so that nothing
here imports Pydantic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["model_from", "models_into", "without_false_items"]


def models_into(shared: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A `schema_hook` of msgspec for models; their own definitions are added to `shared`."""

    def model_schema(model: Any) -> dict[str, Any]:
        if not hasattr(model, "model_json_schema"):
            raise TypeError(f"JSON has nothing for {getattr(model, '__name__', model)}")
        schema: dict[str, Any] = model.model_json_schema()
        shared.update(schema.pop("$defs", {}))
        return schema

    return model_schema


def model_from(kind: Any, value: Any) -> Any:
    """A `dec_hook` of msgspec: makes a model of its part of the JSON."""
    return kind.model_validate_json(msgspec.json.encode(value))


def without_false_items(schema: Any) -> Any:
    """The schema without `"items": false`, which llama.cpp refuses; `maxItems` says the same."""
    if isinstance(schema, list):
        return [without_false_items(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_false_items(value)
        for key, value in schema.items()
        if not (key == "items" and value is False)
    }
