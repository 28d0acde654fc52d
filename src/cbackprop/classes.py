"""The classes that targets stand for: what accuracy, class weights and a hold-out by class go by.

Nobody says of a network whether its outputs are classes; targets and output activation tell, or
they do not, and then nothing is guessed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from cbackprop.functions import ACTIVATIONS, Activation, Array, Cost


def name_of_label(label: object) -> str:
    """A class in words; 3 also for 3.0, which a column of whole numbers may have."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


class Classes(NamedTuple):
    """How the targets of an example say what it is.

    Attributes
    ----------
    kind : {"one of many", "one of two", "any of many"}
        The class is the largest of several targets; one output tells between two classes; or each
        of several outputs says yes or no to a label of its own.
    threshold : float
        Targets and outputs above it say yes.
    """

    kind: Literal["one of many", "one of two", "any of many"]
    threshold: float

    def numbers(self, Y: Array) -> Array:
        """The class of each example, (n,), from 0; one of two is 0 or 1."""
        if self.kind == "one of many":
            largest: Array = Y.argmax(axis=1)
            return largest
        assert self.kind == "one of two"
        return (Y[:, 0] > self.threshold).astype(np.intp)

    def right(self, predictions: Array, Y: Array) -> Array:
        """Whether each example's outputs say what its targets say, (n,); labels: all of them.

        Examples of which a target is missing (NaN) are left out.
        """
        known = ~np.isnan(Y).any(axis=1)
        predictions, Y = predictions[known], Y[known]
        if self.kind == "one of many":
            right: Array = predictions.argmax(axis=1) == Y.argmax(axis=1)
            return right
        agree = np.equal(predictions > self.threshold, self.threshold < Y)
        return np.asarray(agree.all(axis=1))


def classes_of(output: str | Activation, *targets: Array) -> Classes | None:
    """How these targets (n, n_L), all of one task, say what an example is; None where they do not.

    Softmax's largest target is the class, whatever the others are. Targets of other outputs are
    classes where they are all 0 or 1, or all −1 or 1: with one output of two classes, with several
    of one class each where every row has a single 1, else of any number of them. Ones alone may be
    either: then outputs between −1 and 1 decide.
    """
    n_L = targets[0].shape[1]
    if output == "softmax" and n_L > 1:
        return Classes("one of many", 0.5)
    zeros, minuses = (
        all(((Y == 1) | (Y == least) | np.isnan(Y)).all() for Y in targets) for least in (0, -1)
    )
    if not (zeros or minuses):
        return None
    threshold = 0.5 if not minuses else 0.0 if not zeros else threshold_of(output)
    if n_L == 1:
        return Classes("one of two", threshold)
    # Whether every row has a single 1, as far as it is known.
    single = all(
        (count == 1 or (count == 0 and gap))
        for Y in targets
        for count, gap in np.unique(
            np.stack([(threshold < Y).sum(axis=1), np.isnan(Y).any(axis=1)]), axis=1
        ).T
    )
    return Classes("one of many" if single else "any of many", threshold)


def are_classes(output: str | Activation, cost: str | Cost, Y: Array) -> bool:
    """Whether a network with such an output and cost is one of classes, judged by these targets.

    Counts, which poisson is for, are numbers; so are targets all alike of outputs without bounds.
    """
    if cost == "poisson" or classes_of(output, Y) is None:
        return False
    if output == "softmax" or np.isfinite(_bounds(output)).all():
        return True
    known = Y[~np.isnan(Y)]
    return bool((known != known[:1]).any())


def by_itself(output: str | Activation, n_L: int, n_names: int) -> bool:
    """Whether outputs tell one of several classes, as far as that is known without targets.

    Softmax's do, and one output with two names. Several outputs of other activations may be labels
    that do not exclude one another.
    """
    return (output == "softmax" and n_L > 1) or (n_L == 1 and n_names == 2)


def threshold_of(output: str | Activation) -> float:
    """What tells two classes apart where no targets do: 0 between −1 and 1, else ½."""
    return 0.0 if _bounds(output) == (-1, 1) else 0.5


def _bounds(output: str | Activation) -> tuple[float, float]:
    return ACTIVATIONS[output].bounds if isinstance(output, str) else (-np.inf, np.inf)
