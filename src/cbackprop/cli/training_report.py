"""What ``cbackprop train`` says, before and after."""

from __future__ import annotations

import os
import shlex
from typing import Any, NamedTuple

from cbackprop import Network
from cbackprop.cli.examples import in_words, scores
from cbackprop.cli.terminal import print_wrapped
from cbackprop.cli.training_examples import Data, Sets
from cbackprop.functions import name_of
from cbackprop.optimizers import Optimizer
from cbackprop.training import History, stop_reasons


class Report(NamedTuple):
    """A training, and what can be said of it. Scores are those of the network as it is then."""

    net: Network
    optimizer: Optimizer
    batch_size: int
    data: Data
    sets: Sets
    standardised: str  # which numbers are, in words; "" for none

    def before(self) -> None:
        """What is trained on what."""
        print_wrapped(self.data.text)
        text = f"{len(self.sets.learn[0])} training examples in batches of {self.batch_size}"
        if self.sets.judged is not None:
            text += f", {len(self.sets.judged[0])} {self.sets.name} examples"
        print(text)
        if self.standardised:
            print_wrapped(
                f"{self.standardised} standardised for the training; the model takes them as they "
                "are"
            )
        print(self.net.summary())
        print(self.optimizer, flush=True)

    def after(self, history: History) -> None:
        """How well it went."""
        print()
        text = f"{history.epochs} epoch{'' if history.epochs == 1 else 's'}"
        if history.best_epoch is not None:
            text += f", the best of them epoch {history.best_epoch + 1}"
        if history.stop_reason != stop_reasons.EPOCHS:
            text += f" ({history.stop_reason})"
        print(f"{text}; {history.seconds:.3g} s of training")
        print(f"{self.sets.final_name} {in_words(self._scores(), len(self.sets.final[0]))}")

    def next_commands(self, path: str | None, source: str, mnist: str | None) -> None:
        """Where the model is, and what to do with it."""
        if path is None:
            print("not saved; --save FILE keeps the model")
            return
        print(f"saved to {path}")
        data = {"digits": "--digits", "mnist": f"--mnist {_quoted(str(mnist))}"}
        for command in ("predict", "explain"):
            print(f"  cbackprop {command} {_quoted(path)} {data.get(source, 'DATA')}")

    def facts(self, history: History) -> dict[str, Any]:
        """What --json prints."""
        return {
            "sizes": self.net.sizes,
            "activations": [name_of(activation) for activation in self.net.activations],
            "cost": name_of(self.net.cost_function),
            "dtype": self.net.dtype.name,
            "optimizer": repr(self.optimizer),
            "batch_size": self.batch_size,
            "classes": self.data.classes,
            "standardised": bool(self.standardised),
            "training_examples": len(self.sets.learn[0]),
            "judged": self.sets.final_name,
            "judged_examples": len(self.sets.final[0]),
            **self._scores(),
            "epochs": history.epochs,
            "best_epoch": None if history.best_epoch is None else history.best_epoch + 1,
            "stop_reason": history.stop_reason,
            "seconds": history.seconds,
            "history": {
                "cost": history.cost,
                "validation_cost": history.validation_cost,
                **history.metrics,
            },
        }

    def _scores(self) -> dict[str, float]:
        return scores(self.net, *self.sets.final, self.data.classes is not None)


def _quoted(path: str) -> str:
    """A file's name as a shell takes it; one that begins with a minus is no option then."""
    return shlex.quote(os.path.join(".", path) if path.startswith("-") else path)
