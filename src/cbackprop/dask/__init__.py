"""Gradients and fits over examples on a Dask cluster, and many trainings at a time.

Needs Dask, which `import cbackprop` does not look for.
"""

from cbackprop.dask.fitting import fit
from cbackprop.dask.gradients import gradient
from cbackprop.dask.trainings import map

__all__ = ["fit", "gradient", "map"]
