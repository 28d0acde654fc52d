"""scikit-learn's rules of a fit's course: its losses and scores, its learning rate, its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cbackprop.functions import Array
from cbackprop.network import Network
from cbackprop.sklearn.parameters import Settings
from cbackprop.training import History

# Where scipy's L-BFGS-B takes a cost for settled: it fell by no more than this share of itself.
SETTLED = 1e7 * float(np.finfo(np.float64).eps)
LEAST_RATE = 1e-6  # at which "adaptive" gives up


class Course:
    """What the epochs of one fit come to, after those of the fits that it goes on from.

    It is told of each epoch, by a fit as its callback, and says whether the fit is over.

    Parameters
    ----------
    settings : Settings
    n : int
        Examples trained on.
    l2 : float
        The network's penalty: part of scikit-learn's loss.
    network : Network
        At its first parameters.
    scored : bool
        Whether held-out examples are scored after each epoch.
    before : mapping
        The estimator's attributes, where the fit goes on from them; its lists become longer.
    """

    def __init__(
        self,
        settings: Settings,
        n: int,
        l2: float,
        network: Network,
        scored: bool,
        before: Mapping[str, Any],
    ) -> None:
        self.settings, self.n, self.l2, self.scored = settings, n, l2, scored
        self.batches = -(-n // settings.batch_of(n))
        self.losses: list[float] = before.get("loss_curve_", [])
        self.scores: list[float] = before.get("validation_scores_") or []
        self.validation_losses: list[float] = before.get("validation_loss_curve_") or []
        self.best_loss: float = _number(before.get("best_loss_"), math.inf)
        self.best_score: float = _number(before.get("best_validation_score_"), -math.inf)
        self.count: int = before.get("_no_improvement_count", 0)
        self.seen: int = before.get("t_", 0)
        self.rate = settings.learning_rate_init
        self.epochs = 0
        # What a fit that is scored goes back to; what was the best before it is there now.
        self.best: Array | None = network.parameters if scored and self.scores else None
        self.penalty = penalty(network, l2)

    def rate_of(self, epoch: int, learning_rate: float) -> float:
        """The epoch's learning rate: a schedule."""
        return self.rate

    def after_epoch(self, network: Network, history: History) -> bool:
        """Note what the epoch came to: a callback."""
        # A loss has the penalty of the weights it is of, and an epoch's weights move from batch to
        # batch: evenly, as far as the ends tell. With one batch it is that of the first ones.
        share = (self.batches - 1) / (2 * self.batches)
        at_end = history.penalty[-1] if history.penalty else 0.0
        loss = history.cost[-1] + self.penalty + share * (at_end - self.penalty)
        self.penalty = at_end
        if history.validation_cost:
            self.validation_losses.append(history.validation_cost[-1])
        return self.note(loss, history.metrics["score"][-1] if self.scored else None, network)

    def note(self, loss: float, score: float | None, network: Network) -> bool:
        """One more epoch of this loss, and of this score where there is one; True at the end."""
        settings = self.settings
        self.epochs += 1
        self.seen += self.n
        if settings.verbose:
            print(f"Iteration {self.epochs}, loss = {loss:.8f}")
        if score is not None:
            if settings.verbose:
                print(f"Validation score: {score:f}")
            improved = not score < self.best_score + settings.tol
            self.scores.append(score)
            if score > self.best_score:
                self.best_score, self.best = score, network.parameters
        else:
            improved = not loss > self.best_loss - settings.tol
        settled = self._has_settled(loss)
        self.losses.append(loss)
        self.best_loss = min(self.best_loss, loss)
        if settings.solver == "lbfgs":
            return settled
        self.count = 0 if improved else self.count + 1
        if settings.learning_rate == "invscaling":
            self.rate = settings.learning_rate_init / (self.seen + 1) ** settings.power_t
        if self.count <= settings.n_iter_no_change:
            return False
        if settings.solver == "sgd" and settings.learning_rate == "adaptive":
            if self.rate > LEAST_RATE:
                self.rate /= 5
                self.count = 0
                if settings.verbose:
                    print(f"Learning rate {self.rate:g}")
                return False
        if settings.verbose:
            what = "Validation score" if self.scored else "Training loss"
            print(f"{what} did not improve by {settings.tol:g} for {self.count} epochs. Stopping.")
        return True

    def _has_settled(self, loss: float) -> bool:
        if self.epochs == 1:
            return False
        last = self.losses[-1]
        return last - loss <= SETTLED * max(abs(last), abs(loss), 1.0)

    def attributes(self) -> dict[str, object]:
        """The estimator's attributes after these epochs, but for its network and its loss."""
        return {
            "loss_curve_": self.losses,
            "best_loss_": None if self.scored else self.best_loss,
            "validation_scores_": self.scores if self.scored else None,
            "best_validation_score_": self.best_score if self.scored else None,
            "validation_loss_curve_": self.validation_losses or None,
            "n_iter_": self.epochs,
            "t_": self.seen,
            "_no_improvement_count": self.count,
            "_learning_rate": self.rate,
        }


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def penalty(network: Network, l2: float) -> float:
    """(l2/2) Σw² of the weights as they stand."""
    if l2 == 0:
        return 0.0
    return l2 / 2 * sum(float(np.square(W, dtype=np.float64).sum()) for W in network.weights)
