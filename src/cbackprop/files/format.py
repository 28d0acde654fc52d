"""The file itself: tensors and texts in the layout of safetensors; of networks it knows nothing.

It is written whole or not at all, and read strictly.

a) Eight bytes, little-endian: the header's length. The header: JSON in ASCII, padded with spaces to
   whole eight bytes. Then the tensors, little-endian, C order, in the header's order, no holes.
b) The header's ``__metadata__`` holds text only. Its last entry is a checksum: SHA-256 over the
   header without that entry, padded likewise, and the tensors' bytes.
c) A header has one form, the one that is written here. A file in any other is refused, and so is
   one whose length is not what its header says: before memory is taken for its numbers.
d) Values among the texts are JSON in one form, too. Numbers that JSON does not have, infinities and
   NaN, are {"float": "inf"} in it.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from typing import NoReturn, TypeAlias, TypeGuard

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array

FORMAT = "cbackprop"
FORMAT_VERSION = "2"  # what is written
VERSION_WITH_SCALES = "3"  # of a network that has some: what reads 2 alone would lose them
KNOWN_VERSIONS = ("1", FORMAT_VERSION, VERSION_WITH_SCALES)  # what is read
LONGEST_HEADER = 1 << 20
CHUNK = 1 << 20  # bytes read, and then hashed, at a time
NUMBER_TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "U8": "|u1"}

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

Tensors = dict[str, Array]
Metadata = dict[str, str]
JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Entry = tuple[str, tuple[int, ...]]  # a tensor's number type and shape


class ModelFileError(ValueError):
    """A file that is no whole and unchanged model file, or contents that cannot become one.

    The message says which file, what came and what was expected.
    """


@contextmanager
def naming(path: str) -> Generator[None, None, None]:
    """Say which file a message is about."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"path is {path!r}: {error}") from None


# ---- the file: tensors and text ------------------------------------------------------------------


def write(path: str, tensors: Tensors, metadata: Metadata) -> None:
    """Write a file that `read` gives back: the old one or this one stands at ``path``, whole.

    Raises
    ------
    ModelFileError
        If `read` would refuse it, or ``path`` is neither free nor a regular file.
    OSError
        If the system cannot write it. The old file is as it was, and no other is left.
    """
    with naming(path):
        _replace(path, _pieces(tensors, metadata))


def require_writable(path: str, tensors: Tensors, metadata: Metadata) -> None:
    """What `write` would find wrong before its first byte; nothing is written.

    Raises
    ------
    ModelFileError, OSError
        As `write`.
    """
    with naming(path):
        _pieces(tensors, metadata)
        status = _status_of_old(path)
    if status is None or not stat.S_ISCHR(status.st_mode):
        folder = os.path.dirname(os.path.realpath(path))
        os.stat(folder)
        _require_access(folder)


def read(path: str) -> tuple[Tensors, Metadata]:
    """The tensors and the metadata of a file that `write` wrote, and of no other.

    Raises
    ------
    ModelFileError
        Naming the path, what came and what was expected.
    OSError
        If there is no such file, or it cannot be read.
    """
    with naming(path):
        return _contents(path)


def write_bytes(path: str, data: bytes) -> None:
    """Write a file of another format, likewise whole or not at all.

    Raises
    ------
    ModelFileError, OSError
        As `write`.
    """
    with naming(path):
        _replace(path, [data])


def read_bytes(path: str, most: int) -> bytes:
    """All of a regular file of at most ``most`` bytes; its form is looked at by who reads it.

    Raises
    ------
    ModelFileError, OSError
        As `read`.
    """
    with naming(path), _opened(path) as (file, size):
        if size > most:
            raise ModelFileError(f"it has {size} bytes; expected at most {most}")
        data = bytearray(size)
        _fill(file, data)
    return bytes(data)


def _pieces(tensors: Tensors, metadata: Metadata) -> list[bytes | memoryview]:
    """The file's bytes: the header with its length before it, and each tensor."""
    from hashlib import sha256

    entries: dict[str, Entry] = {}
    numbers: list[memoryview] = []
    for name, tensor in tensors.items():
        number_type = tensor.dtype.newbyteorder("<").str
        words = [word for word, known in NUMBER_TYPES.items() if known == number_type]
        if not words:
            raise ModelFileError(
                f"tensor {validation.shown(name)} has dtype {tensor.dtype}; "
                f"expected one of {', '.join(NUMBER_TYPES)}"
            )
        entries[name] = words[0], tensor.shape
        little = np.asarray(tensor, dtype=number_type, order="C")
        numbers.append(little.reshape(-1).view(np.uint8).data)
    if "checksum" in metadata:
        raise ModelFileError("metadata has a checksum; expected none: it is made of the rest")
    checksum = sha256(_header(entries, metadata))
    for piece in numbers:
        checksum.update(piece)
    header = _header(entries, {**metadata, "checksum": checksum.hexdigest()})
    if len(header) > LONGEST_HEADER:
        longest = max(metadata, key=lambda name: len(metadata[name]), default="")
        raise ModelFileError(
            f"its header has {len(header)} bytes; expected at most {LONGEST_HEADER}: "
            f"{longest!r} alone has {len(metadata.get(longest, ''))}"
        )
    # What could not be read again is not written.
    _described_header(header, sum(piece.nbytes for piece in numbers))
    return [len(header).to_bytes(8, "little") + header, *numbers]


def _header(entries: dict[str, Entry], metadata: Metadata) -> bytes:
    """The one form of a header."""
    header: dict[str, object] = {"__metadata__": metadata}
    start = 0
    for name, (word, shape) in entries.items():
        stop = start + _n_bytes(word, shape)
        header[name] = {"dtype": word, "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json_text(header)
    return text.ljust(-(-len(text) // 8) * 8).encode("ascii")


def _n_bytes(word: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(NUMBER_TYPES[word]).itemsize


def _replace(path: str, pieces: list[bytes | memoryview]) -> None:
    """Put a new file at ``path`` in one instant."""
    target = os.path.realpath(path)
    mode = None
    status = _status_of_old(path)
    if status is not None:
        if stat.S_ISCHR(status.st_mode):  # /dev/stdout, /dev/full: there is nothing to replace
            try:
                with open(path, "wb", buffering=0) as file:
                    _write_all(file, pieces)
            except OSError as error:
                raise _with_path(error, path) from None
            return
        mode = stat.S_IMODE(status.st_mode) & 0o777
    folder = os.path.dirname(target)
    # As long as any: a name made of the target's could become longer than names may be.
    temporary = os.path.join(folder, f".cbackprop-{os.urandom(12).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # As open() would make it: the umask takes away what it says.
        descriptor = os.open(temporary, flags, 0o666 if mode is None else mode)
        with open(descriptor, "wb", buffering=0) as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            _write_all(file, pieces)
            os.fsync(descriptor)
        _move(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _with_path(error, path) from None
        raise
    _sync_folder(folder)


def _move(temporary: str, target: str) -> None:
    """In one instant. Windows refuses while somebody has either file open: they get a second."""
    last = time.monotonic() + 1
    while True:
        try:
            os.replace(temporary, target)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() > last:
                raise
            time.sleep(0.01)


def _status_of_old(path: str) -> os.stat_result | None:
    """That of what stands at ``path``, which may be written to; None where nothing does."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if not os.path.basename(path):  # no name at all, or a folder's that is not there
            raise
        return None
    if not stat.S_ISCHR(status.st_mode):
        _require_regular(path, status)
        # Replacing asks for no right to the old file itself, but who took it away meant something.
        _require_access(path)
    return status


def _require_access(path: str) -> None:
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _with_path(error: OSError, path: str) -> OSError:
    """The error with the name that the caller knows."""
    if error.errno is None:
        return error
    return OSError(error.errno, os.strerror(error.errno), path)


def _write_all(file: FileIO, pieces: list[bytes | memoryview]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]


def _sync_folder(folder: str) -> None:
    """See to it that the new name outlives a power failure, where the system can."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, and not be listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError("it is a device, a pipe or a socket; expected a regular file")


@contextmanager
def _opened(path: str) -> Generator[tuple[FileIO, int], None, None]:
    """A regular file, and its size."""
    # Opening alone can do something to a device, and can wait for ever on a pipe.
    _require_regular(path, os.stat(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        _require_regular(path, status)
        yield file, status.st_size


def _contents(path: str) -> tuple[Tensors, Metadata]:
    from hashlib import sha256

    with _opened(path) as (file, size):
        length = _header_length(file, size)
        header = bytearray(length)
        _fill(file, header)
        entries, metadata = _described_header(bytes(header), size - 8 - length)
        expected = metadata.pop("checksum")
        checksum = sha256(_header(entries, metadata))
        tensors: Tensors = {}
        for name, (word, shape) in entries.items():
            tensor = np.empty(shape, NUMBER_TYPES[word])
            rest = tensor.reshape(-1).view(np.uint8).data
            while rest:
                _fill(file, rest[:CHUNK])
                checksum.update(rest[:CHUNK])
                rest = rest[CHUNK:]
            tensors[name] = tensor.astype(tensor.dtype.newbyteorder("="), copy=False)
        if file.read(1):
            raise ModelFileError("it has grown while it was read; expected a file at rest")
    if checksum.hexdigest() != expected:
        raise ModelFileError(
            f"its contents have the checksum {checksum.hexdigest()}; expected {expected}: "
            "it was changed after it was written"
        )
    return tensors, metadata


def _header_length(file: FileIO, size: int) -> int:
    if size < 8:
        raise ModelFileError(f"it has {size} bytes; expected a header's length in the first 8")
    first = bytearray(8)
    _fill(file, first)
    length = int.from_bytes(first, "little")
    if first[-1] > 0:
        # No file is as long as that; eight letters are.
        raise ModelFileError(
            f"it begins with {bytes(first)!r}; expected the length of a header: it is no model file"
        )
    if not 2 <= length <= LONGEST_HEADER:
        raise ModelFileError(
            f"its header's length is {length}; expected 2 to {LONGEST_HEADER} bytes: "
            "no safetensors file, or one too large"
        )
    if length > size - 8:
        raise ModelFileError(
            f"it has {size} bytes; expected at least {8 + length} because its header has {length}"
        )
    return length


def _fill(file: FileIO, buffer: bytearray | memoryview) -> None:
    rest = memoryview(buffer)
    while rest:
        count = file.readinto(rest)
        if not count:
            raise ModelFileError("it has become shorter while it was read; expected a file at rest")
        rest = rest[count:]


def _described_header(header: bytes, n_bytes: int) -> tuple[dict[str, Entry], Metadata]:
    """What a header says, once it is known to be one of ours that ``n_bytes`` of numbers fit."""
    if len(header) > LONGEST_HEADER:
        raise ModelFileError(
            f"its header has {len(header)} bytes; expected at most {LONGEST_HEADER}"
        )
    try:
        text = header.decode("ascii")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"its header is no text ({error}); expected ASCII") from None
    description = _parsed("its header", text)
    if type(description) is not dict:
        raise ModelFileError(
            f"its header is {validation.shown(description)}; expected a JSON object"
        )
    metadata = _checked_metadata(description.pop("__metadata__", None))
    entries: dict[str, Entry] = {}
    stop = 0
    for name, entry in description.items():
        entries[name], stop = _checked_entry(name, entry, stop)
    if _header(entries, metadata) != header:
        raise ModelFileError(
            "its header is not in the form in which cbackprop writes it; expected it unchanged"
        )
    if stop != n_bytes:
        raise ModelFileError(
            f"it has {n_bytes} bytes behind its header; expected {stop}, as the header says"
        )
    return entries, metadata


def _checked_metadata(metadata: JSON) -> Metadata:
    if type(metadata) is not dict or metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"its __metadata__ is {validation.shown(metadata)}; expected the format {FORMAT!r} in "
            "it: another program wrote this file"
        )
    version = metadata.get("format_version")
    if version not in KNOWN_VERSIONS:
        raise ModelFileError(
            f"its format_version is {validation.shown(version)}; expected "
            f"{', '.join(map(repr, KNOWN_VERSIONS))}: a newer cbackprop wrote this file"
        )
    texts: Metadata = {}
    for key, text in metadata.items():
        if type(text) is not str:
            raise ModelFileError(
                f"{validation.shown(key)} in its __metadata__ is {validation.shown(text)}; "
                "expected text"
            )
        _require_unicode(key)
        _require_unicode(text)
        texts[key] = text
    if list(metadata)[-1] != "checksum":
        raise ModelFileError("its __metadata__ has no checksum at its end; expected one")
    return texts


def _require_unicode(text: str) -> None:
    """No half of a surrogate pair: JSON can write it, and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelFileError(
            f"its header has the text {validation.shown(text)}; expected Unicode"
        ) from None


def _checked_entry(name: str, entry: JSON, start: int) -> tuple[Entry, int]:
    """Number type and shape of one tensor whose bytes begin at ``start``, and where they end."""
    what = f"tensor {validation.shown(name)}"
    _require_unicode(name)
    if type(entry) is not dict or list(entry) != ["dtype", "shape", "data_offsets"]:
        raise ModelFileError(
            f"{what} is {validation.shown(entry)}; expected dtype, shape and data_offsets"
        )
    word, shape, offsets = entry.values()
    if type(word) is not str or word not in NUMBER_TYPES:
        raise ModelFileError(
            f"{what} has dtype {validation.shown(word)}; expected one of {', '.join(NUMBER_TYPES)}"
        )
    # Not isinstance: true and false are no lengths.
    lengths = [n for n in shape if type(n) is int and n >= 0] if type(shape) is list else []
    if lengths != shape:
        raise ModelFileError(
            f"{what} has shape {validation.shown(shape)}; expected a list of integers >= 0"
        )
    # Empty ones, too, could have a shape that no array can have.
    if len(lengths) > 8 or math.prod(max(n, 1) for n in lengths) > validation.LARGEST_ARRAY:
        raise ModelFileError(
            f"{what} has shape {validation.shown(shape)}; expected at most 8 dimensions and "
            f"{validation.LARGEST_ARRAY} numbers"
        )
    stop = start + _n_bytes(word, tuple(lengths))
    if (
        type(offsets) is not list
        or [type(n) for n in offsets] != [int, int]
        or offsets != [start, stop]
    ):
        raise ModelFileError(
            f"{what} has data_offsets {validation.shown(offsets)}; expected {[start, stop]} for "
            f"{word} of shape {shape}"
        )
    return (word, tuple(lengths)), stop


# ---- JSON in one form ----------------------------------------------------------------------------


def json_text(value: object) -> str:
    """The one JSON text of a value that JSON has."""
    from json import dumps

    try:
        return dumps(value, separators=(",", ":"))
    except RecursionError:
        raise ModelFileError("something in it is nested too deeply; expected less depth") from None
    except ValueError as error:  # of an integer with more digits than Python writes
        raise ModelFileError(f"something in it is no JSON ({error}); expected less") from None


def _parsed(what: str, text: str) -> JSON:
    from json import loads

    try:
        value: JSON = loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
        return value
    except ModelFileError as error:
        raise ModelFileError(f"{what} {error}") from None
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None
    except ValueError as error:  # also of an integer with more digits than Python reads
        raise ModelFileError(f"{what} is no JSON ({error}); expected a JSON text") from None


def _without_duplicates(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    result: dict[str, JSON] = {}
    for key, value in pairs:
        if key in result:
            raise ModelFileError(f"has {validation.shown(key)} more than once; expected it once")
        result[key] = value
    return result


def _refuse_constant(word: str) -> NoReturn:
    raise ModelFileError(f"has {word}, which is no JSON; expected numbers")


def encoded(what: str, value: object) -> str:
    """The JSON text of None, booleans, numbers, text, lists and dicts of those."""
    try:
        return json_text(_as_json(what, value))
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None


def decoded(what: str, text: str) -> JSON:
    """The value again, from the one form that `encoded` gives it."""
    try:
        value = _from_json(what, _parsed(what, text))
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None
    if encoded(what, value) != text:
        raise ModelFileError(
            f"{what} is {validation.shown(text)}; expected it in the form in which cbackprop "
            "writes it"
        )
    return value


def _as_json(what: str, value: object) -> JSON:
    if isinstance(value, float):
        # repr has as many digits as it takes to read the same number.
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if validation.is_list(value):
        return [_as_json(what, entry) for entry in value]
    if _is_dict_by_text(value):
        result = {key: _as_json(what, entry) for key, entry in value.items()}
        return {"dict": result} if list(result) in (["float"], ["dict"]) else result
    raise ModelFileError(
        f"{what} has {validation.shown(value)} ({type(value).__name__}); expected None, booleans, "
        "numbers, text, lists, and dicts by text"
    )


def _is_dict_by_text(value: object) -> TypeGuard[Mapping[str, object]]:
    if not validation.is_mapping(value) or not isinstance(value, dict):
        return False
    return all(isinstance(key, str) for key in value)


def _from_json(what: str, value: JSON) -> JSON:
    if isinstance(value, list):
        return [_from_json(what, entry) for entry in value]
    if isinstance(value, dict):
        if list(value) == ["float"]:
            word = value["float"]
            if type(word) is not str or word not in _NOT_FINITE:
                raise ModelFileError(
                    f"{what} has the number {validation.shown(word)}; expected one of "
                    f"{', '.join(_NOT_FINITE)}"
                )
            return _NOT_FINITE[word]
        if list(value) == ["dict"] and isinstance(value["dict"], dict):
            value = value["dict"]
        return {key: _from_json(what, entry) for key, entry in value.items()}
    return value


# ---- what a reader expects -----------------------------------------------------------------------


def entries_of(what: str, value: JSON, names: tuple[str, ...]) -> list[JSON]:
    """The values of a dict that has these entries, in this order."""
    if type(value) is not dict or tuple(value) != names:
        raise ModelFileError(f"{what} is {validation.shown(value)}; expected {', '.join(names)}")
    return list(value.values())


def require_tensor(name: str, tensor: Array, shape: tuple[int, ...], dtype: str) -> None:
    """No other shape or number type."""
    if tensor.shape != shape or tensor.dtype != np.dtype(dtype):
        raise ModelFileError(
            f"tensor {name!r} has shape {tensor.shape} and dtype {tensor.dtype}; expected {shape} "
            f"and {dtype}"
        )


def require_finite(name: str, tensor: Array) -> None:
    """No NaN and no infinity."""
    try:
        validation.require_finite(f"tensor {name!r}", tensor)
    except ValueError as error:
        raise ModelFileError(str(error)) from None
