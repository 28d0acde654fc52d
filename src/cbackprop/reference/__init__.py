"""The core in NumPy: the specification that the compiled kernels are checked against."""
