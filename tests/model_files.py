"""What the tests of files call, by one name."""

from __future__ import annotations

from cbackprop.files.checkpoint import read_checkpoint, write_checkpoint
from cbackprop.files.format import read, write
from cbackprop.files.model import model_parts

__all__ = ["model_parts", "read", "read_checkpoint", "write", "write_checkpoint"]
