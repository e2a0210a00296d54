"""Memory traffic of a launch, from the layout and the kernel's declaration, and the time that it takes a GPU.

Each array is counted once: gathered node vectors are fetched for every slot, but come from the second-level cache after
the first time (50 MB hold the beliefs of six million nodes in float64). Launch latency is not included.
"""

from dataclasses import dataclass

from gabp.kernels.cuda.launch import Kernel, Types
from gabp.kernels.cuda.message_layout import MessageLayout

BANDWIDTH = {"H100": 3.0e12, "H200": 4.3e12}  # bytes per second, of a large copy
_TILE_BYTES = 16  # of tile_start, tile_row and tile_base
_THREADS, _REGISTERS, _PROGRAMS, _WARP = 2048, 65536, 32, 32  # of an SM (sm_80, sm_90, sm_100)


@dataclass(frozen=True)
class Traffic:
    """Bytes that one launch moves.

    Attributes
    ----------
    edge : float
        For each directed edge, padding included.
    node : float
        For each node, padding included.
    total : int
    """

    edge: float
    node: float
    total: int

    def seconds(self, bandwidth: float) -> float:
        """The time at so many bytes per second."""
        return self.total / bandwidth


def types_of(layout: MessageLayout, number: str) -> Types:
    """The types of a sweep over ``layout`` in the number type ``"fp32"`` or ``"fp64"``."""
    return Types(number, f"i{8 * layout.matrix.column.itemsize}")


def traffic(kernel: Kernel, layout: MessageLayout, number: str, columns: int = 1) -> Traffic:
    """The traffic of a launch over all tiles, for the number type ``"fp32"`` or ``"fp64"``."""
    edges, n, types = int(layout.start[-1]), len(layout.position), types_of(layout, number)
    on_edges = layout.slots * kernel.bytes_per_slot(types, columns)
    on_nodes = layout.positions * kernel.bytes_per_node(types, columns) + layout.matrix.tiles * _TILE_BYTES
    return Traffic(on_edges / max(edges, 1), on_nodes / n, on_edges + on_nodes)


def resident_threads(registers: int, warps: int) -> int:
    """Threads of an SM that a kernel keeps resident."""
    of_a_warp = -(-registers // 8) * 8 * _WARP
    return min(_THREADS, _PROGRAMS * warps * _WARP, _REGISTERS // (of_a_warp * warps) * warps * _WARP)
