"""Triton kernels: the sweeps of the CPU on a GPU, in the same edge-local form.

Nothing is imported here: Triton takes as long to import as torch, so `gabp.kernels.dispatch` loads the engine at the
first use of a CUDA device.
"""
