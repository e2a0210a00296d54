"""Tensor operations: every kernel in plain torch, on any device, without a compiler."""
