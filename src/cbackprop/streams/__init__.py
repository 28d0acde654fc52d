"""Examples that are not all in memory: they are read a piece at a time, ahead of what computes."""
