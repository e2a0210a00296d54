"""What a launch moves, counted from the layout and the kernel's declaration, and how long that takes a GPU.

The count takes each array once: gathered node vectors are fetched for every slot, but come from the second-level cache
after the first time (50 MB hold the beliefs of six million nodes in float64). Launch latency is not in it.
"""

from dataclasses import dataclass

from gabp.kernels.cuda.launch import Kernel
from gabp.kernels.cuda.tiles import Layout

BANDWIDTH = {"H100": 3.0e12, "H200": 4.3e12}  # bytes per second, of a large copy
_TILE_BYTES = 12  # where a tile starts and which rows it has
_THREADS, _REGISTERS, _PROGRAMS, _WARP = 2048, 65536, 32, 32  # what an SM holds (sm_80, sm_90, sm_100)


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
        """How long that takes at so many bytes per second."""
        return self.total / bandwidth


def traffic(kernel: Kernel, layout: Layout, number: str, columns: int = 1) -> Traffic:
    """What a launch over all tiles moves, for the number type ``"fp32"`` or ``"fp64"``."""
    edges, n = int(layout.start[-1]), len(layout.position)
    on_edges = layout.slots * kernel.bytes_per_slot(number, columns)
    on_nodes = layout.positions * kernel.bytes_per_node(number, columns) + layout.tiles * _TILE_BYTES
    return Traffic(on_edges / max(edges, 1), on_nodes / n, on_edges + on_nodes)


def resident_threads(registers: int, warps: int) -> int:
    """Threads of an SM that a kernel keeps resident."""
    of_a_warp = -(-registers // 8) * 8 * _WARP
    return min(_THREADS, _PROGRAMS * warps * _WARP, _REGISTERS // (of_a_warp * warps) * warps * _WARP)
