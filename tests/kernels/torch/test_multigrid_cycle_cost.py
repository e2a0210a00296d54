"""The bytes and launches of a step on a hierarchy, counted, against those of the interpreted kernels."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gabp.kernels import cuda
from gabp.kernels.torch.multigrid_cycle_cost import Cost, CycleCost
from gabp.kernels.torch.multigrid_levels import LONG_ROW
from gabp.solvers.hierarchy import DeviceHierarchy, device
from gabp.solvers.hierarchy.device import DeviceSolve
from gabp.system import make_system, read_matrix
from kernel_backends import needs_triton
from launch_recorder import Recorder
from spd_matrices import grid, laplacian


class WithoutElimination(CycleCost):
    """Elimination is torch's own, which nobody records."""

    def eliminate(self, inverse, b, x):
        pass


def hub():
    """A grid, all of whose nodes are joined to one more."""
    A = sp.block_diag([grid(17, 18, shift=0.1), [[0.0]]], format="csr")
    n = A.shape[0]
    return sp.csr_array(A + laplacian(np.arange(n - 1), np.full(n - 1, n - 1), np.full(n - 1, 0.3), n, 0.1))


MATRICES = {"grid": lambda: grid(20, 21, shift=0.02), "thirds": lambda: grid(20, 21, shift=0.1) / 3, "hub": hub}


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="recorded in the interpreter, which is off beside a GPU")
@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_step_moves_what_is_counted(matrix, columns, monkeypatch):
    monkeypatch.setattr(device, "LARGEST_DENSE", 60)
    A = MATRICES[matrix]()
    assert matrix != "hub" or A.shape[0] > LONG_ROW
    hierarchy = DeviceHierarchy(make_system(read_matrix(A)))
    assert len(hierarchy.levels) > 1
    r, target = torch.ones(A.shape[0], columns), torch.zeros(columns)
    counter = WithoutElimination()
    DeviceSolve(hierarchy, r, target, counter).iterate()
    recorder = Recorder(monkeypatch)
    DeviceSolve(hierarchy, r, target, cuda.load("multigrid_cycle")).iterate()
    launched = [launch for launch in recorder.launches if launch.accesses]
    assert len(launched) == counter.launches
    moved = sum(_bytes(launch) for launch in launched)
    assert moved <= counter.bytes_moved <= 1.15 * moved


def _bytes(launch):
    """What a launch touches, each number once that it reads and once that it writes; tiles are left out."""
    total = 0
    for name, accesses in launch.by_argument().items():
        if name in ("tile_start", "tile_row"):
            continue
        for store in (False, True):
            parts = [elements for is_store, elements in accesses if is_store == store]
            touched = len(np.unique(np.concatenate(parts))) if parts else 0
            total += touched * launch.tensors[name].itemsize
    return total


def test_the_predicted_time_is_that_of_the_bytes_and_of_the_gaps():
    assert Cost(10, 3_000_000).seconds(3e12, 2e-6) == pytest.approx(21e-6)
