"""What runs on the workers: functions of what is sent there, which any worker may do again."""

from __future__ import annotations

import pickle
import threading
from typing import Any, NamedTuple

import numpy as np

from cbackprop import backend, layout, nodes, validation
from cbackprop.dask.library import get_worker
from cbackprop.functions import Array
from cbackprop.model import Description
from cbackprop.network import Network
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import dense
from cbackprop.streams.chunks import own_memory
from cbackprop.sums import JoinedSum, Node
from cbackprop.training.fingerprint import fingerprint

Names = tuple[str, ...] | None


class Refusal(Exception):
    """What is wrong, for the client to raise as an exception of that kind."""

    def __init__(self, kind: type[Exception], text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text


class Environment(NamedTuple):
    """What decides on the bits of a result."""

    version: str
    backend: str
    fused_multiply_add: bool | None

    @classmethod
    def here(cls) -> Environment:
        """That of this process."""
        info: Any = backend.info()
        return cls(info["version"], info["backend"], info["fused_multiply_add"])

    def require(self) -> None:
        """Refuse to compute in another one."""
        here = Environment.here()
        if here != self:
            raise Refusal(
                RuntimeError,
                f"the worker {get_worker().address} has cbackprop {_text(here)}; expected "
                f"{_text(self)}, as the client has",
            )


def _text(environment: Environment) -> str:
    fma = " with" if environment.fused_multiply_add else " without"
    core = "the compiled core" + fma + " fused multiply-add"
    return f"{environment.version} and {core if environment.backend == 'compiled' else 'no core'}"


class Described(NamedTuple):
    """A network but for its parameters, and what else every task of a call has to know."""

    description: Description
    backend: str
    threads: int | str
    feature_names: Names
    class_names: Names
    missing_targets: bool
    environment: Environment

    @classmethod
    def of(cls, net: Network, missing_targets: bool) -> Described:
        description = Description(
            net.sizes, net.activations, net.cost_function, net.dtype.name, "auto"
        )
        return cls(
            description, net.backend, net.threads, net.feature_names, net.class_names,
            missing_targets, Environment.here(),
        )  # fmt: skip


class Facts(NamedTuple):
    """What the client learns of a chunk."""

    n: int
    dtypes: tuple[str, str]  # of X and Y as they came
    names: tuple[Names, Names]  # of their columns
    n_targets: int  # that are not missing
    largest: tuple[float, float]  # |x| and |y|
    warnings: tuple[str, ...]  # of targets out of reach
    fingerprint: str  # of all numbers


class Chunk(NamedTuple):
    """Examples in the network's number type."""

    X: Array
    Y: Array
    facts: Facts


class State(NamedTuple):
    """A network at the start of a step."""

    call: str  # what is described in the same way has the same word here
    described: bytes
    parameters: Array  # (P,)


def of_function(described: bytes, k: int, function: bytes) -> Chunk:
    """The chunk that a function without arguments returns."""
    pickle.loads(described).environment.require()
    return of_pair(described, k, pickle.loads(function)())


def of_pair(described: bytes, k: int, pair: object) -> Chunk:
    """The chunk of a pair (X, Y)."""
    try:
        return of_arrays(described, k, *validation.chunk(pair))
    except TypeError as error:
        raise Refusal(TypeError, f"in chunk {k}: {error}") from error


def of_arrays(described: bytes, k: int, X: object, Y: object) -> Chunk:
    """The chunk k, judged as a fit's or a gradient's examples are."""
    network: Described = pickle.loads(described)
    network.environment.require()
    try:
        return _judged(network, k, X, Y)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise Refusal(kind, f"in chunk {k}: {error}") from error


def _judged(network: Described, k: int, X: object, Y: object) -> Chunk:
    sizes, activations, cost, dtype, _ = network.description
    dtypes = str(getattr(X, "dtype", None)), str(getattr(Y, "dtype", None))
    tables = validation.table_names(network.feature_names, network.class_names, sizes, X, Y)
    X, Y = tables.pair(X, Y)
    examples = dense(validation.batch("X", X, sizes, dtype))
    validation.require_finite("X", examples)
    targets = validation.targets(
        "Y", Y, len(examples), False, sizes, dtype, cost,
        missing=network.missing_targets, class_names=network.class_names,
    )  # fmt: skip
    # In memory of their own: a loader may fill its arrays again, or map a file that changes.
    examples, targets = own_memory(examples, X), own_memory(targets, Y)
    facts = Facts(
        len(examples),
        dtypes,
        (tables.features, tables.outputs),
        int(np.isfinite(targets).sum()),
        (float(np.abs(examples).max(initial=0.0)), float(np.nanmax(np.abs(targets), initial=0.0))),
        tuple(validation.unreachable_targets(f"in chunk {k}: Y", targets, activations[-1])),
        fingerprint((examples, targets)),
    )
    return Chunk(examples, targets, facts)


def facts_of(chunk: Chunk) -> Facts:
    """What is small of it."""
    return chunk.facts


def nodes_of(
    kind: nodes.Kind,
    state: State,
    chunk: Chunk,
    k: int,
    expected: str,
    start: int,
    stop: int,
    first_leaf: int | None,
) -> list[Node]:
    """The nodes of the chunk's rows start … stop − 1, which begin with the leaf ``first_leaf``.

    Where that is None, one node: the sum over a tree of these rows by themselves.
    """
    if chunk.facts.fingerprint != expected:
        raise Refusal(
            ValueError,
            f"chunk {k} is another one now that a worker has read it again, of {chunk.facts.n} "
            "rows; expected the same numbers each time",
        )
    engine = _engine_at(state)
    # What came from another process need not lie where numbers of its size should.
    X, Y = (np.require(rows[start:stop], requirements=["C", "A"]) for rows in chunk[:2])
    made = nodes.of_leaves(kind, engine, X, Y, None, first_leaf or 0)
    if first_leaf is not None:
        return list(made)
    joined = JoinedSum()
    for node in made:
        joined.add(node)
    return [joined.total()]


class _Here(threading.local):
    """This thread's engine, kept from task to task; other threads have theirs."""

    call = ""
    engine: Engine


_here = _Here()


def _engine_at(state: State) -> Engine:
    if _here.call != state.call:
        network: Described = pickle.loads(state.described)
        network.environment.require()
        _here.engine = backend.engine(
            network.backend, *network.description[:4], threads=network.threads
        )
        _here.engine.missing_targets = network.missing_targets
        _here.call = state.call
    weights, biases, _ = _here.engine.parameter_arrays()
    layout.write(state.parameters, weights, biases)
    return _here.engine
