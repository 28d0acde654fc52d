"""Everything compiled: one module for each number type and SIMD level, chosen by backend.py."""
