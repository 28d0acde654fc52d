"""The examples of a call on a cluster, and sums over them."""

from __future__ import annotations

import itertools
import uuid
from concurrent.futures import CancelledError
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np

from cbackprop import nodes, validation
from cbackprop.dask import sources, tasks
from cbackprop.dask.library import Client, Future, KilledWorker, as_completed, config, delayed
from cbackprop.functions import Activation, Array, Cost
from cbackprop.network import Network
from cbackprop.quantities import Failure
from cbackprop.sums import EXAMPLES_PER_GROUP, JoinedSum, Node

# More parameters than that, in all tasks of a sum, are sent once: that takes longer to begin with.
SENT_BYTES = 1 << 20


class FailedIn(nodes.NotFinite):
    """The same, with the first of the chunks in which it is so."""

    def __init__(self, failure: Failure, k: int) -> None:
        super().__init__(failure)
        self.k = k


def open_client(client: object) -> Client:
    """TypeError, ValueError for anything else than one that takes tasks and waits for them."""
    if not isinstance(client, Client):
        raise validation.wrong_type("client", client, "a distributed.Client")
    if client.asynchronous:
        raise ValueError("client is asynchronous; expected one whose calls wait for their results")
    if client.status in ("closing", "closed"):
        raise ValueError(f"client is {client.status}; expected one that is connected")
    return client


class OnCluster:
    """Chunks, each held by a worker, others make them again should it end."""

    def __init__(
        self, client: object, net: Network, chunks: object, exact: object, missing: bool
    ) -> None:
        self.client = open_client(client)
        only_exact = validation.flag("exact", exact)
        if only_exact and net.backend == "reference":
            raise ValueError(
                "exact is True and backend of net is 'reference', whose sums are no tree; expected "
                "'compiled'"
            )
        self.call = uuid.uuid4().hex
        for l, activation in enumerate(net.activations, start=1):
            if isinstance(activation, Activation):
                sources.pickled(f"activation of layer {l} of net", activation)
        if isinstance(net.cost_function, Cost):
            sources.pickled("cost of net", net.cost_function)
        self.described = sources.pickled("net", tasks.Described.of(net, missing))
        made = sources.tasks(chunks, self.described)
        looked_at = [delayed(tasks.facts_of, pure=False)(chunk) for chunk in made]
        futures = self.client.compute([*made, *looked_at])
        self.chunks, of_facts = futures[: len(made)], futures[len(made) :]
        try:
            self.facts: list[tasks.Facts] = [
                result_of(future, f"chunk {k}") for k, future in enumerate(of_facts)
            ]
            # The row with which each begins, and the number of all.
            self.starts = [0, *itertools.accumulate(facts.n for facts in self.facts)]
            self._require_alike()
            self.whole_leaves = self._whole_leaves(only_exact)
        except BaseException:
            self.release()
            raise
        finally:
            release(of_facts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let the workers forget the chunks."""
        release(self.chunks)

    def __len__(self) -> int:
        return self.starts[-1]

    def _require_alike(self) -> None:
        first = next((facts for facts in self.facts if facts.n > 0), self.facts[0])
        number = self.facts.index(first)
        self.names = first.names
        for k, facts in enumerate(self.facts):
            if facts.n == 0:
                continue
            for i, name in enumerate("XY"):
                if facts.dtypes[i] != first.dtypes[i]:
                    raise TypeError(
                        f"in chunk {k}: {name} has dtype {facts.dtypes[i]}; expected "
                        f"{first.dtypes[i]} as in chunk {number}"
                    )
                if facts.names[i] != first.names[i]:
                    raise ValueError(
                        f"in chunk {k}: {name} has the columns {validation.shown(facts.names[i])}; "
                        f"expected {validation.shown(first.names[i])} as in chunk {number}"
                    )
        validation.whole_pass(
            "chunks", "Y of chunks", len(self), sum(facts.n_targets for facts in self.facts)
        )

    def _whole_leaves(self, only_exact: bool) -> bool:
        """Whether every chunk begins with a leaf of the tree over all rows."""
        last = 0
        for k, (start, facts) in enumerate(zip(self.starts, self.facts, strict=False)):
            if facts.n == 0:
                continue
            if start % EXAMPLES_PER_GROUP:
                self._say_where(last, start, only_exact)
                return False
            last = k
        return True

    def _say_where(self, k: int, stop: int, only_exact: bool) -> None:
        """Of the first chunk whose end is inside a leaf."""
        text = (
            f"chunk {k} ends before row {stop}, which is no multiple of "
            f"cbackprop.EXAMPLES_PER_GROUP ({EXAMPLES_PER_GROUP})"
        )
        cure = "chunks of such multiples, as X.rechunk({0: 25600}) makes them"
        if only_exact:
            raise ValueError(f"{text}; expected {cure}, because exact is True")
        validation.warn(
            f"{text}: the result depends on the chunks, not on the workers, and differs by "
            f"rounding from that of all rows in memory; for its bits take {cure}"
        )

    def sum(
        self, kind: nodes.Kind, parameters: Array, start: int = 0, stop: int | None = None
    ) -> Node:
        """Over the rows start … stop − 1, the first of which begins a leaf, in a tree of their own.

        Raises
        ------
        FailedIn
            Where it is not finite.
        """
        stop = len(self) if stop is None else stop
        parts: list[tuple[Any, ...]] = []  # arguments of tasks.nodes_of
        for k, (facts, first) in enumerate(zip(self.facts, self.starts, strict=False)):
            begin, end = max(start - first, 0), min(stop - first, facts.n)
            if begin < end:
                leaf = (first + begin - start) // EXAMPLES_PER_GROUP if self.whole_leaves else None
                parts.append((self.chunks[k], k, facts.fingerprint, begin, end, leaf))
        states = self._states(parameters, len(parts))
        futures = self.client.map(
            partial(tasks.nodes_of, kind), states, *zip(*parts, strict=True), pure=False
        )
        places = {future.key: place for place, future in enumerate(futures)}
        total, failed = JoinedSum(), dict[int, Failure]()
        try:
            for future in as_completed(futures):
                place = places[future.key]
                k = parts[place][1]
                try:
                    made: list[Node] = result_of(future, f"chunk {k}")
                except nodes.NotFinite as error:
                    failed[k] = error.failure  # which is the first of them, all will tell
                    continue
                for node in made:
                    # To add to: what came from elsewhere may be read-only.
                    arrays = tuple(np.require(array, requirements="W") for array in node.arrays)
                    node = node._replace(arrays=arrays)
                    total.add(node if self.whole_leaves else node._replace(place=place, level=0))
                future.release()
        finally:
            release(futures)
        if failed:
            raise FailedIn(failed[min(failed)], min(failed))
        return total.total()

    def _states(self, parameters: Array, n: int) -> list[Any]:
        """For n tasks: the same one, or one that workers get from one another where it is large."""
        state = tasks.State(self.call, self.described, parameters)
        if n * (parameters.nbytes + len(self.described)) <= SENT_BYTES:
            return [state] * n
        # Dask warns of what should be read by the workers; parameters are nowhere else.
        with config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return [self.client.submit(tasks.State, *state, pure=False)] * n


def result_of(future: Future, what: str) -> Any:
    """What a task returned.

    Raises
    ------
    NotFinite
        As it was raised there.
    TypeError, ValueError, RuntimeError
        What the worker refused.
    RuntimeError
        Of anything else, naming what failed; its cause is what was raised there.
    """
    try:
        return future.result()
    except tasks.Refusal as refusal:
        raise refusal.kind(refusal.text) from None
    except nodes.NotFinite:
        raise
    except KilledWorker as error:
        raise RuntimeError(
            f"{what} ended every worker that took it, {error.allowed_failures + 1} in all, mostly "
            f"a sign that their memory is too small for it (the last one: {error.last_worker})"
        ) from error
    except CancelledError as error:
        raise RuntimeError(f"{what} was given up: the client has lost its scheduler") from error
    except Exception as error:
        raise RuntimeError(f"{what} failed: {type(error).__name__}: {error}") from error


def release(futures: list[Future]) -> None:
    """Before the last reference has gone, which an exception may keep."""
    for future in futures:
        future.release()
