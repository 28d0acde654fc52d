"""Training: a plan of what was asked, the loop that carries it out, the record it leaves."""

from cbackprop.training.history import EarlyStopping, History

__all__ = ["EarlyStopping", "History"]
