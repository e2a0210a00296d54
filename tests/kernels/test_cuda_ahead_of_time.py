"""Every CUDA kernel compiles for the GPUs it is meant for, within its registers, and moves the bytes it declares.

In a process of its own: an interpreted kernel cannot be compiled.
"""

import json
import os
import subprocess
import sys

import pytest

from gabp.kernels import cuda

from .backends import needs_triton

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
    kernels = {kernel.name: kernel for kernel in cuda.load("compiled").KERNELS}
    assert {code["kernel"] for code in compiled} == kernels.keys()
    too_much = [
        (code["kernel"], code["number"], code["constants"], code["registers"], code["spilled"])
        for code in compiled
        if code["spilled"] or code["registers"] > kernels[code["kernel"]].registers
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
    sweeps = vars(cuda.load("sweep_kernels"))
    counted, declared = {}, {}
    for code in on_h100:
        kernel, number = sweeps.get(code["kernel"]), code["number"]
        if kernel is None or code["constants"].get("K", 1) != 1:
            continue
        streamed = kernel.bytes_per_slot(number)
        if streamed:  # a pass through the innermost loop is one slot for each thread
            counted[kernel.name, number] = code["bytes_in_loop"]
            declared[kernel.name, number] = streamed + kernel.bytes_gathered(number)
    assert len(counted) > 10
    assert counted == declared


def test_a_mean_sweep_moves_no_more_than_a_product_must():
    mean = cuda.load("sweep_kernels").mean_sweep
    assert mean.bytes_per_slot("fp64") <= 28 and mean.bytes_per_node("fp64") <= 40
    assert mean.bytes_per_slot("fp32") <= 16 and mean.bytes_per_node("fp32") <= 20
