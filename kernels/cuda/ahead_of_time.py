"""Ahead-of-time compilation of the kernels, without a GPU: registers, spills and memory traffic of each variant.

``python -m gabp.kernels.cuda.ahead_of_time --capability 90`` prints one JSON object per kernel and variant. Not where
``TRITON_INTERPRET`` is set: an interpreted kernel cannot be compiled.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gabp.kernels.cuda.launch import Constants, Kernel, Types
from gabp.kernels.cuda.registry import KERNELS

CAPABILITIES = (80, 90, 100)  # A100, H100 and H200, B200
_CUOBJDUMP = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "cuobjdump")
_ACCESS = re.compile(r"\b(ld|st)\.global\S*?(?:\.v(\d))?\.[bfsu](\d+)\b")
_ARITHMETIC = re.compile(r"\b(fma|add|sub|mul|div|rcp)\.\S*f(?:32|64)\b")


@dataclass(frozen=True)
class Compiled:
    """One variant of a kernel, compiled.

    Attributes
    ----------
    kernel, number, column : str
        Its name, and its types.
    constants : dict
        Its compile-time constants.
    capability : int
        90 for sm_90.
    warps : int
        Of a program.
    registers : int
        Of a thread.
    spilled, shared : int
        Bytes of local memory of a thread, and of shared memory of a program.
    bytes_in_loop : int
        Global memory that a thread reads and writes in one pass through the innermost loop.
    operations_in_loop : int
        Floating-point operations there; a fused multiply-add is two.
    """

    kernel: str
    number: str
    column: str
    constants: dict[str, int]
    capability: int
    warps: int
    registers: int
    spilled: int
    shared: int
    bytes_in_loop: int
    operations_in_loop: int


def compile_for(kernel: Kernel, types: Types, constants: Constants, capability: int) -> Compiled:
    """Compile a variant of ``kernel`` for these types."""
    signature = kernel.signature(types, constants)
    # torch's allocations are aligned
    aligned = {(i,): [["tt.divisibility", 16]] for i, type in enumerate(signature.values()) if type.startswith("*")}
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=dict(constants), attrs=aligned)
    warps = kernel.warps(constants)
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernel.options(constants))
    registers, spilled, shared = _resources(code.asm["cubin"])
    moved, operations = _loop(code.asm["ptx"])
    return Compiled(
        kernel.name, *types, dict(constants), capability, warps, registers, spilled, shared, moved, operations
    )


def compile_all(
    capability: int, columns: Collection[int] | None = None, numbers: Collection[str] = ("fp64", "fp32")
) -> Iterator[Compiled]:
    """Compile every kernel; only the variants for so many ``columns`` and for these ``numbers``, where they differ."""
    for kernel in KERNELS:
        for constants in kernel.variants:
            if columns is None or constants.get("K") is None or constants["K"] in columns:
                for types in kernel.types:
                    if types.number in numbers:
                        yield compile_for(kernel, types, constants, capability)


def _resources(cubin: bytes) -> tuple[int, int, int]:
    """Registers, bytes spilled and bytes of shared memory, as the compiler reports them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run(
            [_CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    number = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", report.stdout)}
    return number["REG"], number["STACK"] + number["LOCAL"], number["SHARED"]


def _loop(ptx: str) -> tuple[int, int]:
    """Bytes of global memory and floating-point operations in the innermost loop; zero where there is none."""
    lines = ptx.splitlines()
    label = {line.split(":")[0].strip(): i for i, line in enumerate(lines) if line.startswith("$L")}
    jumps = [(label[m[1]], i) for i, line in enumerate(lines) if (m := re.search(r"\bbra(?:\.uni)?\s+(\$L\w+);", line))]
    loops = [(first, last) for first, last in jumps if first < last]
    if not loops:
        return 0, 0
    first, last = min(loops, key=lambda loop: loop[1] - loop[0])
    body = "\n".join(lines[first:last])
    moved = sum(int(width or 1) * int(bits) // 8 for _, width, bits in _ACCESS.findall(body))
    return moved, sum(2 if name == "fma" else 1 for name in _ARITHMETIC.findall(body))


def main(argv: list[str] | None = None) -> int:
    """Compile, and print one JSON object per variant."""
    parser = argparse.ArgumentParser(prog="python -m gabp.kernels.cuda.ahead_of_time", description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=list(CAPABILITIES), help="90 for sm_90")
    parser.add_argument("--columns", type=int, nargs="+", help="right-hand sides together (default: 8, 4, 2 and 1)")
    parser.add_argument("--number", nargs="+", default=["fp64", "fp32"], help="number types (default: both)")
    arguments = parser.parse_args(argv)
    for capability in arguments.capability:
        for compiled in compile_all(capability, arguments.columns, arguments.number):
            sys.stdout.write(json.dumps(asdict(compiled)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
