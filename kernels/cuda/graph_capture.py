"""Work captured once as a CUDA graph and replayed: one launch in place of a thousand."""

import logging
from collections.abc import Callable

import torch

_log = logging.getLogger("gabp")


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """``step`` as one launch, or ``step`` itself where the device cannot capture it.

    Parameters
    ----------
    step : callable
        Uses the same memory every time, never waits for the device, and has run before, so that all is compiled.
    device : torch.device
        Where it runs. Only CUDA captures.
    """
    if device.type != "cuda":
        return step
    graph = torch.cuda.CUDAGraph()
    try:
        # other threads may allocate meanwhile
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    except RuntimeError as error:
        _log.warning("a step could not be recorded as a CUDA graph (%s): its kernels are launched one by one", error)
        return step
    return graph.replay
