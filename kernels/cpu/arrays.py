"""Tensors as the compiled kernels take them."""

import numpy as np
from torch import Tensor


def arrays(*tensors: Tensor | None) -> list[np.ndarray | None]:
    """Contiguous numpy arrays on the tensors' memory: a tenth of the cost of passing the tensors themselves."""
    return [None if tensor is None else _array(tensor) for tensor in tensors]


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()
