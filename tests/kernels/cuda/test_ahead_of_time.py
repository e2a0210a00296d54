"""Every CUDA kernel compiles for the GPUs it is meant for, within its registers, and moves the bytes it declares.

In a process of its own: an interpreted kernel cannot be compiled.
"""

import json
import os
import subprocess
import sys

import pytest

from gabp.kernels import cuda
from kernel_backends import needs_triton

pytestmark = needs_triton


def compile_all(folder, *arguments: str) -> list[dict]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "gabp.kernels.cuda.ahead_of_time", *arguments]
    done = subprocess.run(
        command,
        env=environment | {"TRITON_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def on_h100(tmp_path_factory) -> list[dict]:
    return compile_all(tmp_path_factory.mktemp("triton"), "--capability", "90", "--columns", "8", "1")


def check(compiled: list[dict]) -> None:
    kernels = {kernel.name: kernel for kernel in cuda.load("registry").KERNELS}
    assert {code["kernel"] for code in compiled} == kernels.keys()
    too_much = [
        (code["kernel"], code["number"], code["constants"], code["registers"], code["spilled"])
        for code in compiled
        if code["spilled"] or code["registers"] > kernels[code["kernel"]].registers(code["constants"])
    ]
    assert too_much == []


def test_registers_and_spills(on_h100):
    check(on_h100)


def test_single_columns_leave_half_of_the_threads_resident(on_h100):
    # programs that share one long row are few; they need not fill the device
    singles = [c for c in on_h100 if c["constants"].get("K", 1) == 1 and not c["constants"].get("LONG")]
    assert [code["kernel"] for code in singles if code["registers"] > 64] == []


@pytest.mark.parametrize("capability", ["80", "100"])
def test_other_generations(tmp_path, capability):
    check(compile_all(tmp_path, "--capability", capability, "--columns", "1", "--number", "fp64"))


@pytest.mark.slow
def test_every_variant_on_every_generation(tmp_path):
    check(compile_all(tmp_path))


def test_the_code_moves_the_bytes_that_are_declared(on_h100):
    types_of = cuda.load("launch").Types
    sweeps = {**vars(cuda.load("mean_kernels")), **vars(cuda.load("precision_kernels"))}
    counted, declared = {}, {}
    for code in on_h100:
        kernel, types = sweeps.get(code["kernel"]), types_of(code["number"], code["column"])
        if kernel is None or code["constants"].get("K", 1) != 1:
            continue
        streamed = kernel.bytes_per_slot(types)
        if streamed:  # a pass through the innermost loop is one slot for each thread
            counted[kernel.name, types] = code["bytes_in_loop"]
            declared[kernel.name, types] = streamed + kernel.bytes_gathered(types)
    assert len(counted) > 20
    assert counted == declared


def test_a_mean_sweep_moves_no_more_than_a_product_must():
    mean, types = cuda.load("mean_kernels").mean_sweep, cuda.load("launch").Types
    far, near, single = types("fp64", "i32"), types("fp64", "i16"), types("fp32", "i16")
    assert mean.bytes_per_slot(far) <= 28 and mean.bytes_per_slot(near) <= 26 and mean.bytes_per_node(far) <= 40
    assert mean.bytes_per_slot(single) <= 14 and mean.bytes_per_node(single) <= 20
