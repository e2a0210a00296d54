"""The compiled CPU kernels, or the reason why they are missing."""

import importlib
from types import ModuleType

extension: ModuleType | None
missing_because: str | None

try:
    extension = importlib.import_module("gabp.kernels.cpu._cpu")
    missing_because = None
except ImportError as error:
    extension = None
    missing_because = str(error)
