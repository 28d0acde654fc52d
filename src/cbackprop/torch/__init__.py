"""Networks to PyTorch and from it, and as a node of its graphs.

Needs PyTorch 2.5 or newer, which `import cbackprop` does not look for.
"""

from cbackprop.torch.conversion import from_torch, to_torch
from cbackprop.torch.function import torch_function

__all__ = ["from_torch", "to_torch", "torch_function"]
