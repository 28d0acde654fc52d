"""Networks as ONNX files, for runtimes of every language, and other programs' files as networks.

Needs onnx, which `import cbackprop` does not look for; the files run without it.
"""

from cbackprop.onnx.exporting import export
from cbackprop.onnx.loading import load

__all__ = ["export", "load"]
