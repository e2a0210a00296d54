"""Times one checkout of gabp on saved systems; `bench.pairs` runs it on two of them in turn.

``python bench/pairs_worker.py FOLDER`` reads the systems ``*.npz`` there, and writes the seconds of each case as JSON.
Only the public API is used, so that older commits can be timed too.
"""

import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy.sparse as sp

import gabp

REPEATS, BUDGET = 25, 0.4  # runs of a case at most, and seconds for them
SWEEPS = 64
CASES = {  # by name: the method and its options
    "auto": ("auto", {}),
    "elimination": ("elimination", {}),
    "64 flooding sweeps": ("flooding", {"maxiter": SWEEPS, "throw": False, "rtol": 0.0}),
}
MOST_FOR_ELIMINATION = 40_000  # unknowns


def seconds(A: sp.csr_array, b: np.ndarray, method: str, options: dict) -> float:
    """The median time of set-up and solve."""
    samples: list[float] = []
    while len(samples) < REPEATS and (len(samples) < 3 or sum(samples) < BUDGET):
        began = perf_counter()
        gabp.solve(A, b, method=method, **options)
        samples.append(perf_counter() - began)
    return median(samples)


def main() -> None:
    """Time every case on every system."""
    found = {}
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        content = np.load(path)
        A = sp.csr_array((content["data"], content["indices"], content["indptr"]))
        for name, (method, options) in CASES.items():
            if name == "elimination" and A.shape[0] > MOST_FOR_ELIMINATION:
                continue
            found[f"{path.stem}: {name}"] = seconds(A, content["b"], method, options)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
