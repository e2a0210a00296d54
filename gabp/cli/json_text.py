"""Results as JSON that every reader accepts."""

import dataclasses
import json
import math
from enum import Enum
from typing import Any

import numpy as np
import torch

__all__ = ["dataclass_record", "json_text"]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """One line of JSON: an enum member as its name, arrays as lists, NaN and infinities as null."""
    return json.dumps(_plain(value), allow_nan=False)


def dataclass_record(instance: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass instance by name, in order."""
    return {
        field.name: getattr(instance, field.name) for field in dataclasses.fields(instance) if field.name not in without
    }
