"""Work recorded once as a CUDA graph and replayed: what takes a thousand launches takes one."""

import logging
from collections.abc import Callable

import torch

_log = logging.getLogger("gabp")


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """``step`` as one launch; where the device cannot record it, ``step`` itself.

    Parameters
    ----------
    step : callable
        Works on the same memory every time, waits for nothing, and has run before, so that all is compiled.
    device : torch.device
        Where it works. Only CUDA records.
    """
    if device.type != "cuda":
        return step
    graph = torch.cuda.CUDAGraph()
    try:
        # other threads may go on allocating meanwhile
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    except RuntimeError as error:
        _log.warning("a step could not be recorded as a CUDA graph (%s): its kernels are launched one by one", error)
        return step
    return graph.replay
