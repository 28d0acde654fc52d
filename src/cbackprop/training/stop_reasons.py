"""Why a fit ended, as `History.stop_reason` says it."""

from typing import Final

EPOCHS: Final = "epochs"  # all that were asked for
CALLBACK: Final = "callback"
EARLY_STOPPING: Final = "early stopping"
INTERRUPTED: Final = "interrupted"  # by Ctrl-C
ERROR: Final = "error"

# Of whole-batch optimisers: nothing more to gain; no more evaluations; no step found.
CONVERGED: Final = "converged"
MAX_EVALUATIONS: Final = "max_evaluations"
MU_AT_BOUND: Final = "mu reached its bound"
