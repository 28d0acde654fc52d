"""Small data sets: the bundled 8x8 digits, MNIST from its official files, one-hot targets; and rows
in several .npy files.

The idx format, as described with the original MNIST files: a magic number of four bytes (0, 0, the
type code, the number of axes), then each axis length as a big-endian 32-bit unsigned integer, then
the elements in C order.

What reads files is imported by the function that needs it.
"""

from __future__ import annotations

import math
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import validation
from cbackprop.classes import name_of_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from gzip import GzipFile
    from io import BufferedReader

    from numpy.typing import ArrayLike, NDArray

    from cbackprop.shards import Shards as Shards
    from cbackprop.shards import open_npy as open_npy

__all__ = ["Shards", "classes", "load_digits", "load_mnist", "one_hot", "open_npy", "read_idx"]

_PATHS = "str, bytes or os.PathLike"
_IDX_UINT8 = 0x08
_MAX_AXES = 64  # NumPy's own limit
_MAX_DEFLATE_RATIO = 1032  # 258 bytes from 2 bits; zlib's technical notes give 1030 to 1032

_MNIST_FILES = (
    ("train-images-idx3-ubyte", (60_000, 28, 28)),
    ("train-labels-idx1-ubyte", (60_000,)),
    ("t10k-images-idx3-ubyte", (10_000, 28, 28)),
    ("t10k-labels-idx1-ubyte", (10_000,)),
)
# Where the files lie in a folder that was given: there, or where torchvision put them.
_MNIST_PLACES = ("", "raw", os.path.join("MNIST", "raw"))


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Load the bundled handwritten digits: 1,797 images of 8x8 pixels.

    Returns
    -------
    X : ndarray, shape (1797, 64), float64
        Pixels row by row, scaled from 0..16 to [0, 1]; the division by 16 is exact.
    labels : ndarray, shape (1797,), int64
        The digit shown, 0 to 9.

    Notes
    -----
    Both arrays are new at each call, so the caller may write to them.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", the test set, UCI
    Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0.
    """
    from importlib.resources import files

    with (
        (files("cbackprop") / "data" / "digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        return arrays["images"] / 16.0, arrays["labels"].astype(np.int64)


def load_mnist(
    directory: validation.PathLike,
) -> tuple[
    tuple[NDArray[np.float32], NDArray[np.int64]],
    tuple[NDArray[np.float32], NDArray[np.int64]],
]:
    """Read the MNIST digits from the four official files.

    Nothing is downloaded. Each file may be plain or compressed (``.gz`` added to its name); the
    plain one is taken if both are there. Sets published in the same form, such as Fashion-MNIST,
    can be read too.

    Parameters
    ----------
    directory : path
        Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte. What unpackers make of these is found, too: train-images.idx3-ubyte
        with a dot, and a file inside a folder of its own name; and so are the files in raw or
        MNIST/raw below, where torchvision keeps them.

    Returns
    -------
    (X_train, labels_train) : tuple of ndarray
        X: float32, shape (60000, 784), pixels row by row, uint8 / 255 and so in [0, 1].
        labels: int64, shape (60000,), values 0 to 9.
    (X_test, labels_test) : tuple of ndarray
        Likewise, shapes (10000, 784) and (10000,).

    Raises
    ------
    TypeError
        `directory` is not a path.
    FileNotFoundError
        A file is missing; the message names the folder and what is expected in it.
    NotADirectoryError
        `directory` is a file.
    ValueError
        `directory` cannot be a path, or a file is not what its name says: see `read_idx`; or its
        shape is not the official one, or a label is above 9.

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998.
    """
    folder = validation.file_path("directory", directory, _PATHS)
    if os.path.isfile(folder):
        raise NotADirectoryError(f"directory {folder!r} is a file; expected the folder it is in")
    # The place that has most of them, the first of several.
    paths = max((_mnist_paths(os.path.join(folder, place)) for place in _MNIST_PLACES), key=len)
    missing = [name for name, _ in _MNIST_FILES if name not in paths]
    if missing:
        raise FileNotFoundError(
            f"directory {folder!r} lacks {', '.join(missing)}; expected the four files "
            f"{', '.join(name for name, _ in _MNIST_FILES)}, each plain or with .gz added"
        )
    # The small label files first: a wrong folder is found out before the large ones are read.
    arrays = {
        name: _read_idx(paths[name], shape)
        for name, shape in sorted(_MNIST_FILES, key=lambda item: len(item[1]))
    }
    pairs: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for (images, _), (labels, _) in (_MNIST_FILES[:2], _MNIST_FILES[2:]):
        wrong = np.flatnonzero(arrays[labels] > 9)
        if wrong.size:
            raise ValueError(
                f"{os.path.basename(paths[labels])} has label {arrays[labels][wrong[0]]} at index "
                f"{wrong[0]}; expected 0 to 9"
            )
        pixels = arrays.pop(images).reshape(-1, 784)
        X = np.divide(pixels, np.float32(255), dtype=np.float32)
        pairs.append((X, arrays[labels].astype(np.int64)))
    return pairs[0], pairs[1]


def read_idx(path: validation.PathLike) -> NDArray[np.uint8]:
    """Read one idx file of unsigned bytes, plain or gzip-compressed.

    Compression is told from the content, not from the name. The length of a plain file is compared
    with its header before anything is allocated; for a compressed one, the shape in the header is
    first compared with the most that a file of its size can hold.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray, uint8
        The shape is the header's; any number of axes up to NumPy's 64.

    Raises
    ------
    TypeError
        `path` is not a path.
    OSError
        The file cannot be opened, as raised by `open` (FileNotFoundError, IsADirectoryError, …).
    ValueError
        `path` cannot be a path, or, beginning with the file's name: not a regular file, a wrong
        magic number, a type code other than 0x08, a truncated or damaged file, bytes after the end.
    """
    return _read_idx(validation.file_path("path", path, _PATHS))


def classes(labels: ArrayLike) -> tuple[str, ...]:
    """The names of the classes among labels of any kind, in their order.

    ``one_hot(labels, names)`` makes targets of them, a network takes them as its class_names, and
    ``np.array(names)[net.predict(X).argmax(axis=1)]`` are labels again.

    Parameters
    ----------
    labels : array-like, shape (n,)
        Texts, whole numbers or booleans; a column of pandas, also a categorical one, of polars or
        of pyarrow.

    Returns
    -------
    tuple of str
        Each once: texts in the order of the alphabet, numbers by their size, False before True.

    Raises
    ------
    TypeError
        `labels` are not that, dates for one, or are texts and numbers.
    ValueError
        `labels` is not one-dimensional, or an example has none.
    """
    return tuple(_told_apart(labels)[0])


def one_hot(labels: ArrayLike, k: int | Sequence[str]) -> NDArray[np.float64]:
    """Turn class labels into targets: row i is 1 in column ``labels[i]`` and 0 elsewhere.

    Parameters
    ----------
    labels : array-like, shape (n,)
        Integers, 0 to k - 1; or what `classes` takes, with the names of the classes as k.
    k : int or sequence of str
        Number of classes, at least 1; or their names, in the order of the columns.

    Returns
    -------
    ndarray, shape (n, k), float64
        A new array, 0 but for the n ones.

    Raises
    ------
    TypeError
        `labels` are not integers (booleans are not), or `k` is not an integer and no names.
    ValueError
        `labels` is not one-dimensional, has masked entries or a value outside 0..k-1, or a class
        that is not among the names; `k` is below 1, or so large that the result could not be
        addressed, or has a name twice.
    """
    if validation.is_list(k) or (hasattr(k, "__array__") and np.ndim(k) > 0):
        names = validation.names("k", k)
        indices: NDArray[np.integer[Any]] = _places(labels, names)
        k = max(len(names), 1)
    else:
        k = validation.integer("k", k, 1)
        indices = validation.class_labels("labels", labels)
    if max(len(indices), 1) * k > validation.LARGEST_ARRAY:
        raise ValueError(
            f"k is {k}; expected fewer, because ({len(indices)}, {k}) float64 values are more "
            "than this machine can address"
        )
    wrong = np.flatnonzero((indices < 0) | (indices >= k))
    if wrong.size:
        raise ValueError(
            f"labels[{wrong[0]}] is {indices[wrong[0]]}; expected 0 to {k - 1} because k is {k}"
        )
    targets = np.zeros((len(indices), k))
    targets[np.arange(len(indices)), indices.astype(np.intp)] = 1.0
    return targets


def _places(labels: ArrayLike, names: tuple[str, ...]) -> NDArray[np.intp]:
    """Where each label's class stands among the names."""
    found, numbers = _told_apart(labels)
    known = {name: place for place, name in enumerate(names)}
    places = np.array([known.get(name, -1) for name in found], np.intp)[numbers]
    unknown = np.flatnonzero(places < 0)
    if unknown.size:
        name = found[numbers[unknown[0]]]
        raise ValueError(
            f"labels[{unknown[0]}] is {validation.shown(name)}; expected one of "
            f"{validation.some(names)}{validation.did_you_mean(name, names[:1000])}"
        )
    return places


def _told_apart(labels: ArrayLike) -> tuple[list[str], NDArray[np.intp]]:
    """The names of the classes in their order, and of each label the number of its class."""
    expected = "texts, whole numbers or booleans, a label for each example"
    array = validation.any_labels("labels", labels, expected)
    values: list[object]
    if array.dtype.kind in "biuf":
        distinct, numbers = np.unique(array, return_inverse=True)
        values, numbers = distinct.tolist(), numbers.reshape(-1)
    else:
        entries = array.tolist()
        values = sorted(set(entries))
        place = {value: number for number, value in enumerate(values)}
        numbers = np.array([place[entry] for entry in entries], np.intp)
    for value in values:
        if not _is_label(value):
            raise TypeError(f"labels has {validation.shown(value)}; expected {expected}")
    return [name_of_label(value) for value in values], numbers


def _is_label(value: object) -> bool:
    """Whether it is a text or a whole number."""
    is_whole = isinstance(value, (int, np.integer, np.bool_))
    return is_whole or isinstance(value, str) or (isinstance(value, float) and value.is_integer())


def _mnist_paths(folder: str) -> dict[str, str]:
    """Those of the four files that a folder has, by their official names."""
    paths: dict[str, str] = {}
    for name, _ in _MNIST_FILES:
        names = [name, name.replace("-idx", ".idx")]
        names += [f"{each}.gz" for each in names]
        # Unpacked into a folder of its own, which has any of these names without .gz.
        names += [os.path.join(outer, inner) for outer in names[:2] for inner in names]
        for path in (os.path.join(folder, each) for each in names):
            if os.path.exists(path) and not os.path.isdir(path):
                paths[name] = path
                break
    return paths


def _read_idx(path: str, expected_shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Read an idx file; a shape other than `expected_shape` is refused before its data is read."""
    name = os.path.basename(path)
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # open() refuses a folder in its own words
        raise ValueError(f"{name} is not a regular file; expected an idx file, plain or gzip")
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        compressed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if not compressed:
            return _parse_idx(stream, name, expected_shape, size, exact=True)

        import gzip
        import zlib

        try:
            with gzip.GzipFile(fileobj=stream, mode="rb") as content:
                limit = size * _MAX_DEFLATE_RATIO
                return _parse_idx(content, name, expected_shape, limit, exact=False)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{name} is a truncated or damaged gzip file; expected a whole one: {error}"
            ) from None


def _parse_idx(
    stream: BufferedReader | GzipFile,
    name: str,
    expected_shape: tuple[int, ...] | None,
    size: int,
    *,
    exact: bool,
) -> NDArray[np.uint8]:
    """Parse uncompressed idx content; `size` is its length, or a bound on it if not `exact`."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"{name} is truncated: {len(magic)} bytes; expected a magic number of 4")
    if magic[:2] != b"\0\0":
        raise ValueError(
            f"{name} has magic number {magic.hex(' ')}; expected 00 00 08 and the number of axes"
        )
    if magic[2] != _IDX_UINT8:
        raise ValueError(
            f"{name} has type code 0x{magic[2]:02x}; expected 0x08 (unsigned byte), the only one "
            "that is read"
        )
    rank = magic[3]
    if rank > _MAX_AXES:
        raise ValueError(f"{name} has {rank} axes; expected at most {_MAX_AXES}")
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(
            f"{name} is truncated: {len(header)} bytes of axis lengths; expected {4 * rank} "
            f"for {rank} axes"
        )
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    if expected_shape is not None and shape != expected_shape:
        raise ValueError(f"{name} has shape {shape}; expected {expected_shape}")
    n_bytes = math.prod(shape)
    available = size - 4 - 4 * rank
    if n_bytes > available:
        bound = "" if exact else "at most "
        raise ValueError(
            f"{name} is truncated: {bound}{available} bytes of data; expected {n_bytes} "
            f"for shape {shape}"
        )
    if exact and n_bytes < available:
        raise ValueError(
            f"{name} has {available - n_bytes} trailing bytes; expected {n_bytes} bytes of data "
            f"for shape {shape}"
        )
    if math.prod(max(length, 1) for length in shape) > sys.maxsize:  # some axis is 0, others huge
        raise ValueError(f"{name} has shape {shape}; expected one that NumPy can hold")

    data = np.empty(n_bytes, np.uint8)
    done = 0
    while done < n_bytes:
        count = stream.readinto(data[done:].data)
        if not count:
            raise ValueError(
                f"{name} is truncated: {done} bytes of data; expected {n_bytes} for shape {shape}"
            )
        done += count
    if stream.read(1):  # for gzip this also checks the CRC
        raise ValueError(
            f"{name} has trailing bytes; expected {n_bytes} bytes of data for shape {shape}"
        )
    return data.reshape(shape)


def __getattr__(name: str) -> Any:
    """What few programs need is imported by those that do."""
    if name in ("Shards", "open_npy"):
        from cbackprop import shards

        return getattr(shards, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
