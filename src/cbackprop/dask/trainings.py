"""Many trainings, each by itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cbackprop import validation
from cbackprop.dask.examples import open_client, release, result_of
from cbackprop.dask.library import Client, Future, as_completed
from cbackprop.dask.sources import pickled
from cbackprop.dask.tasks import Environment
from cbackprop.network import Network, with_history


def map(client: Client, trainings: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run many trainings, each as one task of a worker, and bring back what they return.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    trainings : sequence of callable
        Functions without arguments, such as ``functools.partial(train, seed)``. Futures among the
        arguments of a partial are what they stand for: data that many trainings share need be sent
        or read once.

    Returns
    -------
    list
        The results in the order of the trainings, to the bit those of calling each alone. A
        `Network` comes with its `Network.history`; one inside of something else comes as a pickle
        does, without.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, or the training that does not pickle.
    RuntimeError
        If a training fails, naming it, or a worker has another version of the package. The others
        are given up.

    Notes
    -----
    A training whose worker ends begins again on another one: it should draw nothing but from
    seeds, and write nothing but what it may write twice. One thread of a worker runs one training;
    its network's ``threads`` stay what they are.
    """
    at = open_client(client)
    here = Environment.here()
    futures: list[Future] = []
    try:
        for i, training in enumerate(_listed(trainings)):
            futures.append(_submitted(at, here, f"trainings[{i}]", training))
        places = {future.key: i for i, future in enumerate(futures)}
        results: list[Any] = [None] * len(futures)
        for future in as_completed(futures):
            i = places[future.key]
            result, history = result_of(future, f"trainings[{i}]")
            results[i] = with_history(result, history) if isinstance(result, Network) else result
            future.release()
        return results
    finally:
        release(futures)


def _listed(trainings: object) -> Sequence[object]:
    if not validation.is_list(trainings):
        raise validation.wrong_type("trainings", trainings, "a list of functions without arguments")
    return trainings


def _submitted(client: Client, here: Environment, name: str, training: object) -> Future:
    if not callable(training):
        raise validation.wrong_type(name, training, "a function without arguments")
    given: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    call: Any = training
    if issubclass(type(call), partial):  # whose arguments may be futures
        call, given, named = call.func, call.args, call.keywords
    function = pickled(name, call)
    try:
        # Not as arguments of submit, which has keywords of its own.
        return client.submit(run, here, function, list(given), dict(named), pure=False)
    except TypeError as error:
        raise TypeError(f"{name} does not pickle: {error}") from error


def run(
    environment: Environment, training: bytes, arguments: list[Any], keywords: dict[str, Any]
) -> Any:
    """On a worker: the result, and the history that a network would leave behind."""
    environment.require()
    result = pickle.loads(training)(*arguments, **keywords)
    return result, result.history if isinstance(result, Network) else None
