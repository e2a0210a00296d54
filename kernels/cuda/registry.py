"""All Triton kernels, for ahead-of-time compilation and for the cost model."""

from types import ModuleType

from gabp.kernels.cuda import mean_kernels, multigrid_cycle_kernels, precision_kernels
from gabp.kernels.cuda.launch import Kernel


def _declared(*modules: ModuleType) -> tuple[Kernel, ...]:
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Kernel))


KERNELS = _declared(mean_kernels, precision_kernels, multigrid_cycle_kernels)
