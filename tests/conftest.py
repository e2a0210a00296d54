"""Settings for all tests."""

import os

import torch

# The systems here are small: threads would only fight for the cores, with each other and with other work.
torch.set_num_threads(1)

# A warning that torch gives once per process would fail whichever test comes first, and no other.
torch.set_warn_always(True)

# Without a GPU the CUDA kernels run in Triton's interpreter, which must be on before Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
