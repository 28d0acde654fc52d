"""The bundled digits, the idx reader against files written here, MNIST, one-hot targets."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from support import output_of

from cbackprop import Network
from cbackprop.datasets import classes, load_digits, load_mnist, one_hot, read_idx

MNIST_SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def idx_header(shape: tuple[int, ...], type_code: int = 0x08) -> bytes:
    """Write the header the way the format is described, with no help from the package."""
    lengths = b"".join(length.to_bytes(4, "big") for length in shape)
    return bytes([0, 0, type_code, len(shape)]) + lengths


def idx_bytes(array: np.ndarray) -> bytes:
    """Return a whole idx file of unsigned bytes."""
    return idx_header(array.shape) + array.tobytes(order="C")


def write_zeros(path: Path, shape: tuple[int, ...]) -> None:
    """Write an idx file of zeros, sparse where the file system knows how."""
    header = idx_header(shape)
    path.write_bytes(header)
    os.truncate(path, len(header) + int(np.prod(shape)))


# --- the bundled digits ---------------------------------------------------------------------------


def test_digits_are_the_uci_test_set():
    # SHA-256 of the uint8 pixels and labels of sklearn.datasets.load_digits (scikit-learn 1.9.1).
    X, labels = load_digits()
    assert (X.dtype, X.shape) == (np.float64, (1797, 64))
    assert (labels.dtype, labels.shape) == (np.int64, (1797,))
    pixels = X * 16
    assert np.array_equal(pixels, pixels.astype(np.uint8))
    assert (
        hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest()
        == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert (
        hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
        == "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )


def test_digits_counts_and_range():
    X, labels = load_digits()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X.min() == 0.0
    assert X.max() == 1.0


def test_digits_equal_those_of_scikit_learn():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    theirs = sklearn_datasets.load_digits()
    X, labels = load_digits()
    assert np.array_equal(X * 16, theirs.data)
    assert np.array_equal(labels, theirs.target)


def test_digits_are_new_arrays_each_time():
    X, labels = load_digits()
    X[:], labels[:] = -1, -1
    X_again, labels_again = load_digits()
    assert X_again.min() == 0.0
    assert labels_again.min() == 0


def test_import_leaves_the_file_readers_alone():
    code = (
        "import sys, numpy; before = set(sys.modules); import cbackprop.datasets\n"
        "late = {'gzip', 'zlib', 'importlib.resources'} & (set(sys.modules) - before)\n"
        "print(sorted(late))"
    )
    assert output_of(code, options=("-W", "ignore")) == "[]\n"


# --- idx files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 5), (4, 2, 3), (2, 1, 3, 2), (0,), (3, 0, 2), (1,) * 64]
)
def test_idx_round_trip(tmp_path, shape, compressed):
    array = np.asarray(np.random.default_rng(7).integers(0, 256, shape, np.uint8))
    content = idx_bytes(array)
    path = tmp_path / "x-idx-ubyte"
    path.write_bytes(gzip.compress(content) if compressed else content)
    back = read_idx(path)
    assert (back.dtype, back.shape) == (np.uint8, shape)
    assert np.array_equal(back, array)
    assert back.flags.writeable
    assert back.flags.c_contiguous


def test_idx_path_kinds(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(np.arange(6, dtype=np.uint8)))
    for kind in (path, str(path), os.fsencode(path)):
        assert read_idx(kind).tolist() == [0, 1, 2, 3, 4, 5]


def test_idx_compression_is_told_from_the_content(tmp_path):
    content = idx_bytes(np.arange(3, dtype=np.uint8))
    (tmp_path / "plain.gz").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    assert read_idx(tmp_path / "plain.gz").tolist() == [0, 1, 2]
    assert read_idx(tmp_path / "packed").tolist() == [0, 1, 2]


def test_idx_in_several_gzip_members(tmp_path):
    content = idx_bytes(np.arange(200, dtype=np.uint8))
    (tmp_path / "x.gz").write_bytes(gzip.compress(content[:90]) + gzip.compress(content[90:]))
    assert np.array_equal(read_idx(tmp_path / "x.gz"), np.arange(200))


WHOLE = idx_header((2, 3)) + bytes(range(6))

BAD_CONTENT = {
    "empty": (b"", "x is truncated: 0 bytes; expected a magic number of 4"),
    "half a magic number": (b"\0\0\x08", "x is truncated: 3 bytes; expected a magic number of 4"),
    "wrong magic": (
        b"\x89PNG" + WHOLE,
        "x has magic number 89 50 4e 47; expected 00 00 08 and the number of axes",
    ),
    "second byte": (
        b"\0\x01\x08\x01" + WHOLE,
        "x has magic number 00 01 08 01; expected 00 00 08 and the number of axes",
    ),
    "signed bytes": (
        idx_header((1,), 0x09) + b"\0",
        "x has type code 0x09; expected 0x08 (unsigned byte), the only one that is read",
    ),
    "float64": (
        idx_header((1,), 0x0E) + bytes(8),
        "x has type code 0x0e; expected 0x08 (unsigned byte), the only one that is read",
    ),
    "too many axes": (idx_header((1,) * 65) + b"\0", "x has 65 axes; expected at most 64"),
    "header cut": (
        WHOLE[:9],
        "x is truncated: 5 bytes of axis lengths; expected 8 for 2 axes",
    ),
    "no data": (
        idx_header((0xFFFFFFFF,) * 3),
        "x is truncated: 0 bytes of data; expected 79228162458924105385300197375 "
        "for shape (4294967295, 4294967295, 4294967295)",
    ),
    "one byte short": (
        WHOLE[:-1],
        "x is truncated: 5 bytes of data; expected 6 for shape (2, 3)",
    ),
    "one byte long": (
        WHOLE + b"\0",
        "x has 1 trailing bytes; expected 6 bytes of data for shape (2, 3)",
    ),
    "empty but huge": (
        idx_header((0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)),
        "x has shape (0, 4294967295, 4294967295, 4294967295); expected one that NumPy can hold",
    ),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
def test_idx_plain_file_refused(tmp_path, case):
    content, message = BAD_CONTENT[case]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        read_idx(tmp_path / "x")
    assert str(caught.value) == message


BAD_PACKED_CONTENT = BAD_CONTENT | {
    "no data": (
        # 43 bytes of gzip hold at most 43 * 1032 bytes: refused before an allocation
        idx_header((0x7FFFFFFF, 0x7FFFFFFF)),
        None,
    ),
    "one byte long": (
        WHOLE + b"\0",
        "x has trailing bytes; expected 6 bytes of data for shape (2, 3)",
    ),
}


@pytest.mark.parametrize("case", BAD_PACKED_CONTENT)
def test_idx_gzip_file_refused(tmp_path, case):
    content, message = BAD_PACKED_CONTENT[case]
    packed = gzip.compress(content, mtime=0)
    (tmp_path / "x").write_bytes(packed)
    if message is None:
        message = (
            f"x is truncated: at most {len(packed) * 1032 - len(content)} bytes of data; "
            "expected 4611686014132420609 for shape (2147483647, 2147483647)"
        )
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        read_idx(tmp_path / "x")
    assert str(caught.value) == message


def test_idx_highest_compression_is_not_refused(tmp_path):
    shape = (1 << 22,)
    (tmp_path / "x").write_bytes(gzip.compress(idx_bytes(np.zeros(shape, np.uint8)), 9))
    array = read_idx(tmp_path / "x")
    assert array.shape == shape
    assert not array.any()


@pytest.mark.parametrize("cut", range(2, 60, 3))
def test_idx_gzip_file_cut(tmp_path, cut):
    packed = gzip.compress(idx_bytes(np.random.default_rng(3).integers(0, 256, 40, np.uint8)))
    (tmp_path / "x").write_bytes(packed[:cut])
    with pytest.raises(ValueError, match=r"^x is (a )?truncated"):
        read_idx(tmp_path / "x")


@pytest.mark.parametrize(
    ("position", "value"),
    [(2, 0x00), (10, 0xFF), (40, 0x55), (-8, 0x55), (-1, 0x55)],
    ids=["method", "block type", "data", "CRC", "length"],
)
def test_idx_gzip_file_damaged(tmp_path, position, value):
    packed = bytearray(gzip.compress(idx_bytes(np.arange(256, dtype=np.uint8)), mtime=0))
    assert packed[position] != value
    packed[position] = value
    (tmp_path / "x").write_bytes(packed)
    with pytest.raises(ValueError, match=r"^x is a truncated or damaged gzip file; expected"):
        read_idx(tmp_path / "x")


def test_idx_gzip_file_with_bytes_after_it(tmp_path):
    (tmp_path / "x").write_bytes(gzip.compress(WHOLE) + b"more")
    with pytest.raises(ValueError, match=r"^x is a truncated or damaged gzip file; expected"):
        read_idx(tmp_path / "x")


class Unprintable:
    def __repr__(self):
        raise KeyError("no repr")


@pytest.mark.parametrize(
    "path", [None, 3, 1.5, True, ["x"], 10**5000, Unprintable()], ids="abcdefg"
)
def test_idx_path_of_the_wrong_type(path):
    with pytest.raises(TypeError, match=r"^path is .*; expected str, bytes or os.PathLike"):
        read_idx(path)


@pytest.mark.parametrize("path", ["a\0b", b"a\0b", "\ud800"])
def test_idx_path_that_cannot_be(path):
    if path == "\ud800" and os.name == "nt":
        pytest.skip("Windows file names may hold a lone surrogate")
    with pytest.raises(ValueError, match=r"^path is .*; expected a path without NUL"):
        read_idx(path)


@pytest.mark.parametrize(("call", "argument"), [(read_idx, "path"), (load_mnist, "directory")])
def test_empty_path(call, argument):
    """It is no other name of the folder one happens to be in."""
    with pytest.raises(ValueError, match=rf"^{argument} is ''; expected a path of at least one"):
        call("")


def test_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "x")


@pytest.mark.skipif(os.name == "nt", reason="Windows says PermissionError")
def test_idx_folder(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_idx_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ValueError, match=r"^x is not a regular file; expected an idx file"):
        read_idx(tmp_path / "x")


# --- MNIST ----------------------------------------------------------------------------------------


def test_mnist(mnist_directory):
    (X_train, labels_train), (X_test, labels_test) = load_mnist(mnist_directory)
    assert (X_train.dtype, X_train.shape) == (np.float32, (60_000, 784))
    assert (X_test.dtype, X_test.shape) == (np.float32, (10_000, 784))
    assert (labels_train.dtype, labels_test.dtype) == (np.int64, np.int64)
    assert np.bincount(labels_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(labels_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    pixels = np.rint(X_train * 255).astype(np.uint8)
    assert np.array_equal(X_train, pixels.astype(np.float32) / np.float32(255))
    # The published checksum is of the whole uncompressed file, its 16-byte header included.
    whole = hashlib.sha256(idx_header((60_000, 28, 28)) + pixels.tobytes()).hexdigest()
    assert whole == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"


@pytest.fixture
def small_disk_mnist(tmp_path):
    """Return the four files in their official shapes, all zero, plain, with little on the disk."""
    for name, shape in MNIST_SHAPES.items():
        write_zeros(tmp_path / name, shape)
    return tmp_path


def test_mnist_from_files_written_here(small_disk_mnist):
    images = small_disk_mnist / "t10k-images-idx3-ubyte"
    with images.open("r+b") as stream:
        stream.seek(16 + 784 * 2 + 28 * 3 + 5)  # image 2, row 3, column 5
        stream.write(bytes([51]))
    labels = small_disk_mnist / "t10k-labels-idx1-ubyte"
    values = (np.arange(10_000) % 10).astype(np.uint8)
    labels.with_name(labels.name + ".gz").write_bytes(gzip.compress(idx_bytes(values)))
    labels.unlink()

    (X_train, labels_train), (X_test, labels_test) = load_mnist(str(small_disk_mnist))
    assert (X_train.shape, X_test.shape) == ((60_000, 784), (10_000, 784))
    assert (X_train.dtype, X_test.dtype) == (np.float32, np.float32)
    assert not X_train.any()
    assert np.argwhere(X_test).tolist() == [[2, 3 * 28 + 5]]
    assert X_test[2, 3 * 28 + 5] == np.float32(51 / 255)
    assert not labels_train.any()
    assert np.array_equal(labels_test, values)
    assert labels_test.dtype == np.int64


def test_mnist_as_unpackers_and_torchvision_leave_it(small_disk_mnist):
    """7-Zip's names, files in folders of their names, torchvision's raw, and all of it mixed."""
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    (small_disk_mnist / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels))

    def as_before(folder=small_disk_mnist):
        _, (X, found) = load_mnist(folder)
        assert X.shape == (10_000, 784)
        assert np.array_equal(found, labels)

    for name in MNIST_SHAPES:
        path = small_disk_mnist / name
        path.rename(path.with_name(name.replace("-idx", ".idx")))
    as_before()
    for i, name in enumerate(MNIST_SHAPES):  # into folders: of either name, the file of either
        path = small_disk_mnist / name.replace("-idx", ".idx")
        content = path.read_bytes() if "labels" in name else None
        outer = small_disk_mnist / (path.name if i % 2 else name)
        path.rename(small_disk_mnist / "moved")
        outer.mkdir()
        (small_disk_mnist / "moved").rename(outer / (name if i < 2 else path.name))
        if content is not None and i == 1:
            inside = outer / name
            inside.with_name(f"{name}.gz").write_bytes(gzip.compress(content))
            inside.unlink()
        as_before()
    for below in ("raw", "MNIST/raw"):
        folder = small_disk_mnist.parent / f"{small_disk_mnist.name}-{below[:3]}"
        (folder / below).parent.mkdir(parents=True)
        small_disk_mnist.rename(folder / below)
        as_before(folder)
        (folder / below).rename(small_disk_mnist)
    # The folder itself comes first; what lies deeper counts where that has fewer of the files.
    (small_disk_mnist / "raw").mkdir()
    (small_disk_mnist / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"no idx file")
    as_before()


def test_mnist_folder_of_a_file_s_name_without_the_file(small_disk_mnist):
    lost = small_disk_mnist / "train-labels-idx1-ubyte"
    lost.unlink()
    lost.mkdir()
    with pytest.raises(FileNotFoundError, match=r"^directory .* lacks train-labels-idx1-ubyte; ex"):
        load_mnist(small_disk_mnist)


def test_mnist_directory_that_is_a_file(small_disk_mnist):
    with pytest.raises(NotADirectoryError, match=r"^directory .* is a file; expected the folder"):
        load_mnist(small_disk_mnist / "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize("lost", list(MNIST_SHAPES))
def test_mnist_missing_file(small_disk_mnist, lost):
    (small_disk_mnist / lost).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(small_disk_mnist)
    assert str(caught.value) == (
        f"directory {str(small_disk_mnist)!r} lacks {lost}; expected the four files "
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        "t10k-labels-idx1-ubyte, each plain or with .gz added"
    )


def test_mnist_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^directory .*nowhere' lacks train-images-idx3"):
        load_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize("directory", [None, 3, ["x"]])
def test_mnist_directory_of_the_wrong_type(directory):
    with pytest.raises(TypeError, match=r"^directory is .*; expected str, bytes or os.PathLike"):
        load_mnist(directory)


def test_mnist_directory_that_cannot_be():
    with pytest.raises(ValueError, match=r"^directory is 'a\\x00b'; expected a path without NUL"):
        load_mnist("a\0b")


@pytest.mark.parametrize("name", list(MNIST_SHAPES))
def test_mnist_file_of_another_shape(small_disk_mnist, name):
    expected = MNIST_SHAPES[name]
    write_zeros(small_disk_mnist / name, (5, *expected[1:]))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        load_mnist(small_disk_mnist)
    assert str(caught.value) == f"{name} has shape {(5, *expected[1:])}; expected {expected}"


@pytest.mark.parametrize("name", list(MNIST_SHAPES))
def test_mnist_file_cut(small_disk_mnist, name):
    path = small_disk_mnist / name
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(ValueError, match=rf"^{name} is truncated: \d+ bytes of data; expected"):
        load_mnist(small_disk_mnist)


def test_mnist_label_above_nine(small_disk_mnist):
    values = np.zeros(60_000, np.uint8)
    values[[77, 90]] = 10, 200
    (small_disk_mnist / "train-labels-idx1-ubyte").write_bytes(idx_bytes(values))
    with pytest.raises(
        ValueError, match=r"^train-labels-idx1-ubyte has label 10 at index 77; expected 0 to 9$"
    ):
        load_mnist(small_disk_mnist)


# --- one_hot --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i4", "i8", "u8"])
def test_one_hot(dtype):
    targets = one_hot(np.array([2, 0, 1, 2], dtype), 4)
    assert targets.dtype == np.float64
    assert targets.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_one_hot_inverts_argmax():
    labels = np.random.default_rng(5).integers(0, 300, 1000)
    targets = one_hot(labels, 300)
    assert targets.shape == (1000, 300)
    assert np.array_equal(targets.argmax(axis=1), labels)
    assert np.array_equal(targets.sum(axis=1), np.ones(1000))


def test_one_hot_layouts_and_kinds():
    labels = np.arange(8)
    expected = np.eye(8)
    assert np.array_equal(one_hot(labels.tolist(), 8), expected)
    assert np.array_equal(one_hot(tuple(labels), np.int8(8)), expected)
    assert np.array_equal(one_hot(labels[::-1], 8), expected[::-1])
    assert np.array_equal(one_hot(labels.astype(np.int8), 1000), np.eye(8, 1000))
    assert np.array_equal(one_hot(np.ma.MaskedArray(labels), 8), expected)


@pytest.mark.parametrize("labels", [[], (), np.zeros(0, np.int64)])
def test_one_hot_of_nothing(labels):
    assert one_hot(labels, 3).shape == (0, 3)


def test_one_hot_leaves_the_labels_alone():
    labels = np.array([1, 0], np.uint8)
    labels.flags.writeable = False
    one_hot(labels, 2)
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "k", "error", "message"),
    [
        ([0.0, 1.0], 2, TypeError, "labels has dtype float64; expected an integer dtype; use .ast"),
        (np.zeros(0), 2, TypeError, "labels has dtype float64; expected an integer dtype; use .as"),
        ([True, False], 2, TypeError, "labels has dtype bool; expected an integer dtype"),
        (["1"], 2, TypeError, f"labels has dtype {np.dtype('U1')}; expected real numbers, not"),
        ([1j], 2, TypeError, "labels has dtype complex128; expected real numbers"),
        (None, 2, TypeError, "labels is None; expected an array of numbers"),
        ({0, 1}, 2, TypeError, "labels is {0, 1} (set); expected an array of numbers"),
        ([0, None], 2, TypeError, "labels has dtype object; expected real numbers; use np.as"),
        ([10**400], 2, ValueError, "labels has an integer too large for a float; expected"),
        (np.array(["2020"], "M8[Y]"), 2, TypeError, "labels has dtype datetime64[Y]; expected"),
        (3, 5, ValueError, "labels has shape (); expected (n,)"),
        ([[0, 1]], 2, ValueError, "labels has shape (1, 2); expected (n,)"),
        ([[0], [0, 1]], 2, ValueError, "labels is [[0], [0, 1]]; expected a rectangular array"),
        ([0, -1, 7], 3, ValueError, "labels[1] is -1; expected 0 to 2 because k is 3"),
        ([0, 1, 3, -1], 3, ValueError, "labels[2] is 3; expected 0 to 2 because k is 3"),
        ([2**64 - 1], 3, ValueError, "labels[0] is 18446744073709551615; expected 0 to 2"),
        (np.ma.MaskedArray([0, 1], [0, 1]), 2, ValueError, "labels has 1 masked entry; expected"),
        ([0], 0, ValueError, "k is 0; expected at least 1"),
        ([0], -3, ValueError, "k is -3; expected at least 1"),
        ([0], 2**63, ValueError, "k is 9223372036854775808; expected at most"),
        ([], 2**63 - 1, ValueError, "k is 9223372036854775807; expected fewer"),
        ([0] * 8, 2**58, ValueError, "k is 288230376151711744; expected fewer"),
        ([0], True, TypeError, "k is True; expected an integer, not a boolean"),
        ([0], np.True_, TypeError, "k is np.True_; expected an integer, not a boolean"),
        ([0], 2.0, TypeError, "k is 2.0 (float); expected an integer"),
        ([0], "2", TypeError, "k is '2' (str); expected an integer"),
        ([0], None, TypeError, "k is None (NoneType); expected an integer"),
        pytest.param(
            [0], 10**5000, ValueError, "k is an object of type int; expected at most", id="10**5000"
        ),
        pytest.param(
            [0],
            -(10**5000),
            ValueError,
            "k is an object of type int; expected at least 1",
            id="-10**5000",
        ),
        ([0], np.ma.masked, ValueError, "k has 1 masked entry; expected none"),
        ([0], np.timedelta64(2, "s"), TypeError, "k is np.timedelta64(2,'s') (timedelta64); "),
        ([0, np.ma.masked], 2, ValueError, "labels has 1 masked entry; expected none"),
        ("01", 2, TypeError, "labels is '01' (str); expected an array of numbers"),
        ({0: 1}, 2, TypeError, "labels is {0: 1} (dict); expected an array of numbers"),
        (iter([0]), 2, TypeError, "labels is <list_iterator object at"),
        (np.zeros(2, "m8[s]"), 2, TypeError, "labels has dtype timedelta64[s]; expected"),
    ],
)
def test_one_hot_refuses(labels, k, error, message):
    with pytest.raises(error) as caught:
        one_hot(labels, k)
    assert type(caught.value) is error
    assert str(caught.value).startswith(message)


# --- classes --------------------------------------------------------------------------------------


class Column:
    """A column of a table: pandas' categories and polars' texts come as objects."""

    def __init__(self, entries):
        self.entries = np.array(entries, object)

    def __array__(self, dtype=None, copy=None):
        return self.entries if dtype is None else self.entries.astype(dtype)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        (np.array(["ü", "a", "Z"]), ("Z", "a", "ü")),
        (Column(["b", "a", "b"]), ("a", "b")),
        (("b",), ("b",)),
        ([10, 9, -1, 10], ("-1", "9", "10")),
        (np.array([2, 1], ">u2"), ("1", "2")),
        ([2.0, 1.0, 10.0], ("1", "2", "10")),
        (Column([10, np.int64(9)]), ("9", "10")),
        ([True, False, True], ("False", "True")),
        (Column([True, np.False_]), ("False", "True")),
        ([], ()),
    ],
)
def test_classes(labels, names):
    assert classes(labels) == names
    targets = one_hot(labels, names)
    words = [
        str(int(label)) if isinstance(label, float) else str(label)
        for label in np.asarray(labels).tolist()
    ]
    assert targets.shape == (len(words), max(len(names), 1))
    assert [names[place] for place in targets.argmax(axis=1)] == words
    assert (targets.sum(axis=1) == 1).all()


def test_classes_of_a_network_and_back():
    labels = np.array(["red", "blue", "green", "red"])
    names = classes(labels)
    net = Network([1, 3], "softmax", "cross_entropy", class_names=names, seed=0)
    X = np.array([[0.0], [1.0], [2.0], [0.0]])
    net.fit(X, one_hot(labels, net.class_names), epochs=300, optimizer="adam", learning_rate=0.1)
    assert np.array(names)[net.predict(X).argmax(axis=1)].tolist() == labels.tolist()
    # Other rows by the same classes, in whatever sequence they are kept.
    for k in (names, list(names), np.array(names)):
        assert one_hot(["green"], k).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("labels", "k", "error", "message"),
    [
        (["a", "x"], ("a", "b"), ValueError, "labels[1] is 'x'; expected one of 'a', 'b'"),
        ([2, 1], ("1",), ValueError, "labels[0] is '2'; expected one of '1'"),
        (["a"], (), ValueError, "labels[0] is 'a'; expected one of "),
        (["a"], ("a", "a"), ValueError, "k has 'a' 2 times; expected every name once"),
        (["a"], ["a", 1], TypeError, "k[1] is 1 (int); expected a string"),
        ([0.5], ("0.5",), TypeError, "labels has 0.5; expected texts, whole numbers or booleans"),
        (["a", None], ("a",), ValueError, "labels has missing labels, the first of them None at"),
        (Column(["a", np.nan]), ("a",), ValueError, "labels has missing labels, the first of them"),
        (Column(["a", 1]), ("a",), TypeError, "labels is "),
        (Column([b"a"]), ("a",), TypeError, "labels has b'a'; expected texts"),
        (np.array(["2020"], "M8[D]"), ("a",), TypeError, "labels has "),
        ([["a"]], ("a",), ValueError, "labels has shape (1, 1); expected (n,), a label for each"),
        ("ab", ("a",), TypeError, "labels is 'ab' (str); expected texts"),
        (None, ("a",), TypeError, "labels is None"),
    ],
)  # fmt: skip
def test_classes_refuse(labels, k, error, message):
    with pytest.raises(error) as caught:
        one_hot(labels, k)
    assert str(caught.value).startswith(message)
    if "labels has" in message:
        with pytest.raises(error) as caught:
            classes(labels)
        assert str(caught.value).startswith(message)
