"""Floor 0: message-passing kernels on plain tensors, with one literal reference and fast twins per device."""
