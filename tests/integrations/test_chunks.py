"""fit on chunks that other libraries make."""

from __future__ import annotations

import numpy as np
import pytest
from support import Array, bits, both_dtypes, data

from cbackprop import Network

SIZES = (5, 7, 2)
X, Y = data(137, SIZES)


def trained(dtype: str = "float64") -> Network:
    net = Network(SIZES, dtype=dtype, seed=1)
    net.fit(X, Y, epochs=2, shuffle=False)
    return net


def test_tables_are_matched_by_the_names_of_the_first() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    columns, targets = list("abcde"), ["u", "v"]
    chunks = [
        (pandas.DataFrame(X[:50], columns=columns), pandas.DataFrame(Y[:50], columns=targets)),
        (
            pandas.DataFrame(X[50:], columns=columns)[columns[::-1]],
            pandas.DataFrame(Y[50:], columns=targets)[targets[::-1]],
        ),
    ]
    net = Network(SIZES, seed=1)
    net.fit(chunks, epochs=2)
    assert bits(net.parameters) == bits(trained().parameters)
    assert net.feature_names == tuple(columns)


@both_dtypes
@pytest.mark.parametrize("batch_size", [1, 10, 32, 200])
def test_a_data_loader(dtype: str, batch_size: int) -> None:
    """Of any size of batch: the steps are those of fit's own."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensors = [torch.from_numpy(array.astype(dtype)) for array in (X, Y)]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*tensors), batch_size=batch_size
    )
    net = Network(SIZES, dtype=dtype, seed=1)
    history = net.fit(loader, epochs=2)
    assert bits(net.parameters) == bits(trained(dtype).parameters)
    assert history.epochs == 2


def test_a_data_loader_shuffles_its_rows() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def loader() -> Array:
        torch.manual_seed(3)
        return torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
            batch_size=16,
            shuffle=True,
        )

    rows = [np.concatenate(parts) for parts in zip(*loader(), strict=True)]
    one, other = Network(SIZES, seed=1), Network(SIZES, seed=1)
    one.fit(loader(), epochs=1, batch_size=16)
    other.fit(*rows, epochs=1, batch_size=16, shuffle=False)
    assert bits(one.parameters) == bits(other.parameters)
    assert bits(one.parameters) != bits(trained().parameters)


def test_labels_of_a_data_loader_are_told_what_makes_targets_of_them() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(137) % 2)
    with pytest.raises(ValueError, match=r"^in chunk 0: Y has .*one_hot\(Y, 2\)"):
        Network(SIZES).fit(torch.utils.data.DataLoader(dataset, batch_size=10))
