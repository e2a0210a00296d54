"""GTSAM's Gauss–Newton on one pose graph; runs under the Python that has gtsam, with numpy alone.

``gtsam_worker.py FOLDER START RTOL`` reads ``graph.npz`` from FOLDER and writes ``estimate.npz`` and ``run.json``
there. START is ``file`` or, in space, ``chordal``. Building the factors is not counted; the second of two runs is
timed.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import gtsam
import numpy as np

ANCHOR = 1e-4  # standard deviation of the prior that holds the first pose


def pose(row: np.ndarray) -> object:
    """A pose of gtsam: x, y, angle, or x, y, z and a quaternion x, y, z, w."""
    if len(row) == 3:
        return gtsam.Pose2(*row)
    x, y, z, w = row[3:]
    return gtsam.Pose3(gtsam.Rot3.Quaternion(w, x, y, z), row[:3])


def numbers(value: object) -> np.ndarray:
    """The inverse of `pose`."""
    if isinstance(value, gtsam.Pose2):
        return np.array([value.x(), value.y(), value.theta()])
    q = value.rotation().toQuaternion()
    return np.concatenate([value.translation(), [q.x(), q.y(), q.z(), q.w()]])


def build(content: np.lib.npyio.NpzFile) -> tuple[gtsam.NonlinearFactorGraph, gtsam.Values]:
    """The factors and the values of a file."""
    planar = content["values"].shape[1] == 3
    between = gtsam.BetweenFactorPose2 if planar else gtsam.BetweenFactorPose3
    order = np.arange(3) if planar else np.array([3, 4, 5, 0, 1, 2])  # gtsam has the rotation first
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for (i, j), z, information in zip(content["edges"], content["measurement"], content["information"], strict=True):
        noise = gtsam.noiseModel.Gaussian.Information(information[np.ix_(order, order)])
        graph.add(between(int(i), int(j), pose(z), noise))
    for key, row in enumerate(content["values"]):
        values.insert(key, pose(row))
    prior = gtsam.PriorFactorPose2 if planar else gtsam.PriorFactorPose3
    noise = gtsam.noiseModel.Isotropic.Sigma(len(order), ANCHOR)
    graph.add(prior(0, pose(content["values"][0]), noise))
    return graph, values


def optimize(graph: gtsam.NonlinearFactorGraph, values: gtsam.Values, start: str, rtol: float) -> dict:
    """Initialise and optimise once, timed."""
    began = perf_counter()
    if start == "chordal":
        values = gtsam.InitializePose3.initialize(graph)
    initialised = perf_counter()
    parameters = gtsam.GaussNewtonParams()
    parameters.setRelativeErrorTol(rtol)
    parameters.setAbsoluteErrorTol(0.0)
    parameters.setMaxIterations(100)
    optimizer = gtsam.GaussNewtonOptimizer(graph, values, parameters)
    estimate = optimizer.optimize()
    done = perf_counter()
    return {
        "estimate": estimate,
        "start_seconds": initialised - began,
        "seconds": done - began,
        "iterations": optimizer.iterations(),
        "objective": graph.error(estimate),
    }


def pose_of(values: gtsam.Values, key: int) -> object:
    """A pose of either kind."""
    try:
        return values.atPose2(key)
    except (RuntimeError, ValueError):
        return values.atPose3(key)


def main() -> None:
    """Run it twice and write the second."""
    folder, start, rtol = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    graph, values = build(np.load(folder / "graph.npz"))
    optimize(graph, values, start, rtol)
    run = optimize(graph, values, start, rtol)
    estimate = run.pop("estimate")
    np.savez(folder / "estimate.npz", values=np.stack([numbers(pose_of(estimate, k)) for k in range(values.size())]))
    (folder / "run.json").write_text(json.dumps(run))


if __name__ == "__main__":
    main()
