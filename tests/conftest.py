"""Settings for all tests."""

import torch

# The systems here are small: threads would only fight for the cores, with each other and with other work.
torch.set_num_threads(1)

# A warning that torch gives once per process would fail whichever test comes first, and no other.
torch.set_warn_always(True)
