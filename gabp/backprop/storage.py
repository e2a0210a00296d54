"""Tensor storages: the geometry of tensors in them, and the variable that a storage contains."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """Size, stride and offset of a tensor in its storage, counted in elements."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @staticmethod
    def of(tensor: Tensor) -> "Geometry":
        return Geometry(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))

    @staticmethod
    def whole(tensor: Tensor) -> "Geometry":
        """The whole storage of ``tensor`` as a vector."""
        return Geometry((storage_length(tensor),), (1,), 0)

    def indices(self, tensor: Tensor) -> Tensor:
        """For each element of a tensor of this geometry, its index in the storage of ``tensor``; shape ``size``."""
        # with `put`, and not `as_strided_scatter`, whose derivative in its first argument torch 2.13 gets wrong
        return torch.arange(storage_length(tensor), device=tensor.device).as_strided(
            self.size, self.stride, self.offset
        )


@dataclass
class StorageContent:
    """The variable that a storage contains, its geometry there, and the number of writes to the storage."""

    variable: int
    geometry: Geometry
    version: int = 0


def storage_key(tensor: Tensor) -> int:
    """A key that tensors share if and only if they share a storage."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else -id(tensor)


def fills_storage(tensor: Tensor) -> bool:
    """Whether ``tensor`` is contiguous and its storage has no other elements."""
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def storage_length(tensor: Tensor) -> int:
    """Number of elements in the storage of ``tensor``."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()
