"""PETSc's conjugate gradients on some MPI ranks; runs under the Python that has petsc4py, with numpy alone.

``petsc_worker.py FOLDER RTOL PRECONDITIONER`` reads ``indptr``, ``indices``, ``data`` and ``b`` as ``.npy`` from
FOLDER and writes ``x.npy`` and ``times.json`` there. Where ``coordinates.npy`` is there too, of shape (N, 3), the
unknowns are the displacements of nodes: the matrix gets their block size and rigid-body modes. Assembly is not counted.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import petsc4py

OPTIONS = {
    "bjacobi-icc": ["-pc_type", "bjacobi", "-sub_pc_type", "icc"],
    "hypre": ["-pc_type", "hypre", "-pc_hypre_type", "boomeramg"],
    "gamg": ["-pc_type", "gamg"],
}

folder, rtol, preconditioner = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
petsc4py.init([sys.argv[0], *OPTIONS[preconditioner]])
from petsc4py import PETSc  # noqa: E402  (PETSc reads its options when it is imported)

indptr, indices, data, right = (
    np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("indptr", "indices", "data", "b")
)
coordinates = np.load(folder / "coordinates.npy") if (folder / "coordinates.npy").exists() else None
n, size = len(indptr) - 1, 1 if coordinates is None else coordinates.shape[1]
comm = PETSc.COMM_WORLD
rank, ranks = comm.getRank(), comm.getSize()
first, last = (size * (n // size * part // ranks) for part in (rank, rank + 1))
slots = slice(indptr[first], indptr[last])
local = (indptr[first : last + 1] - indptr[first]).astype(PETSc.IntType)
A = PETSc.Mat().createAIJ(
    size=((last - first, n), (last - first, n)),
    bsize=size,
    csr=(local, indices[slots].astype(PETSc.IntType), data[slots]),
)
A.setOption(PETSc.Mat.Option.SPD, True)
A.assemble()
if coordinates is not None:
    place = np.array(coordinates[first // size : last // size])
    points = PETSc.Vec().createWithArray(place.ravel(), size=(last - first, n), bsize=size)
    A.setNearNullSpace(PETSc.NullSpace().createRigidBody(points))
    if preconditioner == "bjacobi-icc":
        A.convert("sbaij")  # factored in blocks
b = PETSc.Vec().createWithArray(np.array(right[first:last]), size=(last - first, n))
x = b.duplicate()

solver = PETSc.KSP().create()
solver.setOperators(A)
solver.setType("cg")
solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)  # of b - A x, as everybody else
solver.setTolerances(rtol=rtol, atol=0.0, max_it=100_000)
solver.setFromOptions()
comm.barrier()
began = perf_counter()
solver.setUp()
solver.setUpOnBlocks()
comm.barrier()
ready = perf_counter()
solver.solve(b, x)
comm.barrier()
done = perf_counter()

scatter, whole = PETSc.Scatter.toZero(x)
scatter.scatter(x, whole, mode=PETSc.Scatter.Mode.FORWARD)
if rank == 0:
    np.save(folder / "x.npy", whole.getArray())
    times = {
        "setup_seconds": ready - began,
        "solve_seconds": done - ready,
        "iterations": solver.getIterationNumber(),
        "reason": solver.getConvergedReason(),
    }
    (folder / "times.json").write_text(json.dumps(times))
