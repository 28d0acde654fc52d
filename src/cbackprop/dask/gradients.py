"""A mean gradient over chunks."""

from __future__ import annotations

import numpy as np

from cbackprop import nodes, validation
from cbackprop.dask.examples import FailedIn, OnCluster
from cbackprop.dask.library import Client
from cbackprop.dask.sources import Chunks
from cbackprop.exports import require_network
from cbackprop.gradients import Gradient
from cbackprop.network import Network
from cbackprop.quantities import Failure


def gradient(client: Client, net: Network, chunks: Chunks, *, exact: bool = False) -> Gradient:
    """∇C of the mean cost over the examples of all chunks, each computed where it is.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    net : Network
        Whose cost it is.
    chunks : sequence or pair
        What gives pairs (X, Y), X (n_k, n_0) and Y (n_k, n_L), on the workers: two Dask arrays in
        the same row chunks, or a list, each entry a function without arguments, a ``dask.delayed``
        object or two of them, a pair of paths ("X.npy", "Y.npy"), or a path of an .npz file with
        the arrays X and Y. The rows are those of all chunks in this order.
    exact : bool
        Refuse chunks whose lengths, but for the last, are no multiples of `EXAMPLES_PER_GROUP`.

    Returns
    -------
    Gradient
        With ``.vector`` (P,) and ``.cost``. To the bit `Network.gradient` of all rows in memory, if
        the chunks' lengths are such multiples; else as if each chunk's sum were added in order.

    Raises
    ------
    TypeError, ValueError
        Naming the argument or the chunk, also of a chunk that is not the same when it is read
        again.
    FloatingPointError
        If finite inputs overflow, naming the first chunk where they do.
    RuntimeError
        Of what failed on a worker, naming the chunk; if a worker has another version of the
        package.

    Warns
    -----
    UserWarning
        Of the first chunk whose length is no such multiple.
    """
    network = require_network("net", net)
    parameters = network.parameters
    with OnCluster(client, network, chunks, exact, missing=False) as examples:
        n = len(examples)
        try:
            node = examples.sum(nodes.gradient, parameters)
        except FailedIn as error:
            _explain(error.failure, network, f"in chunk {error.k}: ")
            raise
    vector = np.empty(network.n_parameters, network.dtype)
    try:
        cost = nodes.mean_gradient(node, n, vector, len(network.weights))
    except nodes.NotFinite as error:
        _explain(error.failure, network)
        raise
    return Gradient(vector, cost, network.sizes)


def _explain(failure: Failure, net: Network, where: str = "") -> None:
    """Raise as a call in memory does whose X is finite."""
    X = np.empty((0, net.sizes[0]), net.dtype)
    try:
        validation.explain_not_finite(failure, X, net.weights, net.biases)
    except FloatingPointError as error:
        raise FloatingPointError(f"{where}{error}") from None
