"""A fit whose steps are sums over examples on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cbackprop import nodes, validation
from cbackprop.dask.examples import OnCluster
from cbackprop.dask.library import Client
from cbackprop.dask.sources import Chunks
from cbackprop.exports import require_network
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.network import Network
from cbackprop.optimizers import Optimizer, OptimizerName
from cbackprop.streams.stream import Pair, PassOrder, PassResult, Stream
from cbackprop.sums import EXAMPLES_PER_GROUP, NO_COST, Join, Node, added, joined_costs
from cbackprop.training.history import EarlyStopping, History
from cbackprop.training.metrics import Metric, MetricName
from cbackprop.update_rules import StepOptions


def fit(
    client: Client,
    net: Network,
    chunks: Chunks,
    *,
    epochs: int = 10,
    batch_size: int | None = None,
    optimizer: OptimizerName | Optimizer = "sgd",
    learning_rate: float | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    max_norm: float | None = None,
    clip_gradient_norm: float | None = None,
    frozen: Iterable[int] = (),
    missing_targets: bool = False,
    validation_data: object = None,
    metrics: Sequence[MetricName | Metric] = (),
    early_stopping: EarlyStopping | int | None = None,
    schedule: Callable[[int, float], float] | None = None,
    callbacks: Sequence[Callable[[Network, History], object]] = (),
    progress: bool | None = None,
    checkpoint: validation.PathLike | None = None,
    resume: bool = False,
    exact: bool = False,
) -> History:
    """Train on the examples of all chunks, each step along a sum that the workers make.

    To the bit `Network.fit` with ``shuffle=False`` on all rows in memory, where `gradient` has its
    bits.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    net : Network
        Which is trained, here: workers get its parameters for each sum.
    chunks : sequence or pair
        As for `gradient`. Their workers keep them until the fit is over.
    epochs : int
        Passes over the data, ≥ 0, or steps of a whole-batch optimiser.
    batch_size : int, optional
        Examples a step, in the order of the rows: a multiple of `EXAMPLES_PER_GROUP`. None for all.
        Each step is a round trip to the workers.
    optimizer : str or object
        This and all that is not here as `Network.fit`'s. `LevenbergMarquardt` needs at least as
        many targets as parameters.
    learning_rate : float, optional
        In place of the optimiser's own.
    l1, l2 : float
        Penalties of weights.
    max_norm : float, optional
        Of each neuron's incoming weights.
    clip_gradient_norm : float, optional
        Of a step's mean gradient.
    frozen : sequence of int
        Layers that do not learn.
    missing_targets : bool
        Whether NaN in Y stands for a target that is not there.
    validation_data : (X, Y), optional
        Judged here, by the client, after each epoch: arrays in its memory, or files that it reads.
    metrics : sequence, optional
        Of the validation data.
    early_stopping : EarlyStopping or int, optional
        An int is the patience.
    schedule : callable, optional
        f(epoch, learning_rate) returns the epoch's rate.
    callbacks : sequence of callable, optional
        Each called as f(network, history) after each epoch.
    progress : bool, optional
        Show the epochs on stderr.
    checkpoint : path, optional
        A file written after each epoch.
    resume : bool
        Go on from it, on any cluster, with the same chunks: their fingerprints are in the file.
    exact : bool
        As `gradient`'s.

    Returns
    -------
    History
        The costs and metrics of each epoch, and why the fit ended.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `gradient` and `Network.fit`.
    ModelFileError, OSError
        If a checkpoint cannot be read or written.
    FloatingPointError
        If training diverges, naming the epoch. After this or any other error in an epoch everything
        is as it was at the start of that epoch.

    Warns
    -----
    UserWarning
        As `gradient`, and of targets that the output activation cannot reach.

    Notes
    -----
    What draws random numbers or looks at single examples is no sum: there is no shuffling, dropout,
    noise, or clipping of examples. Weights, shares held out and standardising are not there either.
    """
    network = require_network("net", net)
    missing = validation.flag("missing_targets", missing_targets)
    size = None if batch_size is None else validation.integer("batch_size", batch_size, 1)
    with OnCluster(client, network, chunks, exact, missing) as examples:
        source: Any = _Passes(examples)
        return network.fit(
            source,
            epochs=epochs,
            batch_size=_whole_groups(size, len(examples)),
            optimizer=optimizer,
            learning_rate=learning_rate,
            shuffle=False,
            l1=l1,
            l2=l2,
            max_norm=max_norm,
            clip_gradient_norm=clip_gradient_norm,
            frozen=frozen,
            missing_targets=missing,
            validation_data=validation_data,  # type: ignore[arg-type]  # judged there
            metrics=metrics,
            early_stopping=early_stopping,
            schedule=schedule,
            callbacks=callbacks,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
        )


def _whole_groups(batch_size: int | None, n: int) -> int:
    """The examples of a step."""
    if batch_size is None or batch_size >= n:
        return n
    if batch_size % EXAMPLES_PER_GROUP:
        raise ValueError(
            f"batch_size is {batch_size}; expected a multiple of cbackprop.EXAMPLES_PER_GROUP "
            f"({EXAMPLES_PER_GROUP}), or None for all {n} examples"
        )
    return batch_size


class _Passes(Stream):
    """Passes over examples that stay where they are."""

    def __init__(self, cluster: OnCluster) -> None:
        self.cluster = cluster
        self.n = len(cluster)
        self.tables = validation.TableNames(*cluster.names)

    def judge_options(
        self, asked: Mapping[str, object], is_whole_batch: bool, scales: object
    ) -> None:
        """As `Stream.judge_options`: what `fit` above does not take cannot be there."""
        validation.options_with_chunks(asked, False, None)
        if scales is not None:
            raise ValueError(
                "net keeps scales, in which it is trained; expected one without: train a copy of "
                "its parameters, or use Network.fit"
            )

    def contents(self, model: Model) -> Pair:
        """Fingerprints of the chunks, which stand for the numbers of all rows."""
        known = "".join(facts.fingerprint for facts in self.cluster.facts)
        return np.empty((len(self.cluster), 0)), np.frombuffer(known.encode(), np.uint8)

    def joined(
        self,
        model: Model,
        kind: nodes.Kind,
        weight: Array | None = None,
        join: Join = added,
        missing: bool | None = None,
        trains: bool = False,
    ) -> Node:
        """As `Stream.joined`."""
        assert weight is None
        assert join is added
        return self._sum(model, kind)

    def train(
        self,
        model: Model,
        batch_size: int,
        order: Array | PassOrder | None,
        sample_weight: Array | None,
        options: StepOptions | None,
        key: int,
    ) -> PassResult:
        """As `Stream.train`."""
        assert sample_weight is None
        assert order is None
        n, cost, failure = 0, NO_COST, None
        while n < len(self.cluster) and failure is None:
            try:
                node = self._sum(model, nodes.gradient, n, n + batch_size)
            except nodes.NotFinite as error:
                failure = error.failure
                break
            failure = model.engine.step_along(node.arrays[0], node.cost, float(node.n), options)
            n, cost = n + node.n, joined_costs(cost, node.cost)
        return PassResult(failure, cost, n, self._largest(model))

    def _sum(self, model: Model, kind: nodes.Kind, start: int = 0, stop: int | None = None) -> Node:
        facts = self.cluster.facts
        if not self.has_warned:
            self.has_warned = True
            for text in next((one.warnings for one in facts if one.warnings), ()):
                validation.warn(text)
        return self.cluster.sum(kind, model.parameters(), start, stop)

    def _largest(self, model: Model) -> Pair:
        """An example of numbers as large as there are, for advice."""
        X, Y = (np.max([facts.largest[i] for facts in self.cluster.facts]) for i in (0, 1))
        sizes = model.sizes
        return np.full((1, sizes[0]), X, model.dtype), np.full((1, sizes[-1]), Y, model.dtype)
