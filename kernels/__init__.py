"""Floor 0: kernels on plain tensors (torch, cpu, cuda). One literal reference and fast twins for each device."""
