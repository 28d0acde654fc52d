"""The model file: data in the layout of safetensors, written whole or not at all, read strictly.

a) Eight bytes, little-endian: the header's length. The header: JSON in ASCII, padded with spaces to
   whole eight bytes. Then the tensors, little-endian, C order, in the header's order, no holes.
b) The header's ``__metadata__`` holds text only. Its last entry is a checksum: SHA-256 over the
   header without that entry, padded likewise, and the tensors' bytes.
c) A header has one form, the one that is written here. A file in any other is refused, and so is
   one whose length is not what its header says: before memory is taken for its numbers.
d) A checkpoint is a model with more behind it: what the optimiser, the generator and the fit are
   at. Numbers that JSON does not have, infinities and NaN, are {"float": "inf"} in it.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cbackprop import reference, validation
from cbackprop.functions import Array
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import optimizers

if TYPE_CHECKING:
    from cbackprop.network import Network

    AnyNetwork = TypeVar("AnyNetwork", bound=Network)

FORMAT = "cbackprop"
FORMAT_VERSION = "1"
LONGEST_HEADER = 1 << 20
CHUNK = 1 << 20  # bytes read, and then hashed, at a time
NUMBER_TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "U8": "|u1"}

_MODEL_ENTRIES = (
    "format",
    "format_version",
    "kind",
    "sizes",
    "activations",
    "cost",
    "dtype",
    "init",
)
_CHECKPOINT_ENTRIES = (*_MODEL_ENTRIES, "optimizer", "update", "generator")
_UPDATE_ENTRIES = ("rule", "hyper_parameters", "learning_rate", "step_count", "previous_cost")
_GENERATOR_ENTRIES = ("bit_generator", "state", "inc", "has_uint32", "uinteger")
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

Entries = dict[str, tuple[str, tuple[int, ...]]]  # number type and shape of each tensor, by name


class ModelFileError(ValueError):
    """A file that is no whole and unchanged model file, or contents that cannot become one.

    The message says which file, what came and what was expected.
    """


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Say which file a message is about."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"path is {path!r}: {error}") from None


# ---- the file: tensors and text ------------------------------------------------------------------


def write(path: validation.PathLike, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    """Write a file that `read` gives back: the old one or this one stands at ``path``, whole.

    Raises
    ------
    ModelFileError
        If `read` would refuse it, or ``path`` is neither free nor a regular file.
    OSError
        If the system cannot write it. The old file is as it was, and no other is left.
    """
    name = validation.file_path("path", path)
    with naming(name):
        _write(name, tensors, metadata)


def read(path: validation.PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a file that `write` wrote, and of no other.

    Raises
    ------
    ModelFileError
        Naming the path, what came and what was expected.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = validation.file_path("path", path)
    with naming(name):
        return _read(name)


def _write(path: str, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    from hashlib import sha256

    entries: Entries = {}
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
    _described_header(header, sum(piece.nbytes for piece in numbers))
    _replace(path, [len(header).to_bytes(8, "little") + header, *numbers])


def _header(entries: Entries, metadata: dict[str, str]) -> bytes:
    """The one form of a header."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, (word, shape) in entries.items():
        stop = start + _n_bytes(word, shape)
        header[name] = {"dtype": word, "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = _json(header)
    return text.ljust(-(-len(text) // 8) * 8).encode("ascii")


def _n_bytes(word: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(NUMBER_TYPES[word]).itemsize


def _replace(path: str, pieces: list[bytes | memoryview]) -> None:
    """Put a new file at ``path`` in one instant."""
    target = os.path.realpath(path)
    mode = None
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if not os.path.basename(path):  # no name at all, or a folder's that is not there
            raise
    else:
        if stat.S_ISCHR(status.st_mode):  # /dev/stdout, /dev/full: there is nothing to replace
            try:
                with open(path, "wb", buffering=0) as file:
                    _write_all(file, pieces)
            except OSError as error:
                raise _with_path(error, path) from None
            return
        _require_regular(path, status)
        # Replacing asks for no right to the old file itself, but who took it away meant something.
        if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
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
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _with_path(error, path) from None
        raise
    _sync_folder(folder)


def _with_path(error: OSError, path: str) -> OSError:
    """The error with the name that the caller knows."""
    if error.errno is None:
        return error
    return OSError(error.errno, os.strerror(error.errno), path)


def _write_all(file: Any, pieces: list[bytes | memoryview]) -> None:
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


def _read(path: str) -> tuple[dict[str, Array], dict[str, str]]:
    from hashlib import sha256

    # Opening alone can do something to a device, and can wait for ever on a pipe.
    _require_regular(path, os.stat(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        _require_regular(path, status)
        length = _header_length(file, status.st_size)
        header = bytearray(length)
        _fill(file, header)
        entries, metadata = _described_header(bytes(header), status.st_size - 8 - length)
        expected = metadata.pop("checksum")
        checksum = sha256(_header(entries, metadata))
        tensors: dict[str, Array] = {}
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


def _header_length(file: Any, size: int) -> int:
    if size < 8:
        raise ModelFileError(f"it has {size} bytes; expected a header's length in the first 8")
    first = bytearray(8)
    _fill(file, first)
    length = int.from_bytes(first, "little")
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


def _fill(file: Any, buffer: bytearray | memoryview) -> None:
    rest = memoryview(buffer)
    while rest:
        count = file.readinto(rest)
        if not count:
            raise ModelFileError("it has become shorter while it was read; expected a file at rest")
        rest = rest[count:]


def _described_header(header: bytes, n_bytes: int) -> tuple[Entries, dict[str, str]]:
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
    entries: Entries = {}
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


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if type(metadata) is not dict or metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"its __metadata__ is {validation.shown(metadata)}; expected the format {FORMAT!r} in "
            "it: another program wrote this file"
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"its format_version is {validation.shown(version)}; expected {FORMAT_VERSION!r}: a "
            "newer cbackprop wrote this file"
        )
    for key, text in metadata.items():
        if type(text) is not str:
            raise ModelFileError(
                f"{validation.shown(key)} in its __metadata__ is {validation.shown(text)}; "
                "expected text"
            )
        _require_unicode(key)
        _require_unicode(text)
    if list(metadata)[-1] != "checksum":
        raise ModelFileError("its __metadata__ has no checksum at its end; expected one")
    return metadata


def _require_unicode(text: str) -> None:
    """No half of a surrogate pair: JSON can write it, and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelFileError(
            f"its header has the text {validation.shown(text)}; expected Unicode"
        ) from None


def _checked_entry(name: str, entry: Any, start: int) -> tuple[tuple[str, tuple[int, ...]], int]:
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
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise ModelFileError(
            f"{what} has shape {validation.shown(shape)}; expected a list of integers >= 0"
        )
    # Empty ones, too, could have a shape that no array can have.
    if len(shape) > 8 or math.prod(max(n, 1) for n in shape) > validation.LARGEST_ARRAY:
        raise ModelFileError(
            f"{what} has shape {validation.shown(shape)}; expected at most 8 dimensions and "
            f"{validation.LARGEST_ARRAY} numbers"
        )
    stop = start + _n_bytes(word, tuple(shape))
    if (
        type(offsets) is not list
        or [type(n) for n in offsets] != [int, int]
        or offsets != [start, stop]
    ):
        raise ModelFileError(
            f"{what} has data_offsets {validation.shown(offsets)}; expected {[start, stop]} for "
            f"{word} of shape {shape}"
        )
    return (word, tuple(shape)), stop


# ---- JSON in one form ----------------------------------------------------------------------------


def _json(value: Any) -> str:
    from json import dumps

    try:
        return dumps(value, separators=(",", ":"))
    except RecursionError:
        raise ModelFileError("something in it is nested too deeply; expected less depth") from None
    except ValueError as error:  # of an integer with more digits than Python writes
        raise ModelFileError(f"something in it is no JSON ({error}); expected less") from None


def _parsed(what: str, text: str) -> Any:
    from json import loads

    try:
        return loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except ModelFileError as error:
        raise ModelFileError(f"{what} {error}") from None
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None
    except ValueError as error:  # also of an integer with more digits than Python reads
        raise ModelFileError(f"{what} is no JSON ({error}); expected a JSON text") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ModelFileError(f"has {validation.shown(key)} more than once; expected it once")
        result[key] = value
    return result


def _refuse_constant(word: str) -> Any:
    raise ModelFileError(f"has {word}, which is no JSON; expected numbers")


def _encoded(what: str, value: Any) -> str:
    """The JSON text of None, booleans, numbers, text, lists and dicts of those."""
    try:
        return _json(_as_json(what, value))
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None


def _decoded(what: str, text: str) -> Any:
    """The value again, from the one form that `_encoded` gives it."""
    try:
        value = _from_json(what, _parsed(what, text))
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deeply; expected less depth") from None
    if _encoded(what, value) != text:
        raise ModelFileError(
            f"{what} is {validation.shown(text)}; expected it in the form in which cbackprop "
            "writes it"
        )
    return value


def _as_json(what: str, value: Any) -> Any:
    if isinstance(value, float):
        # repr has as many digits as it takes to read the same number.
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_as_json(what, entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        result = {key: _as_json(what, entry) for key, entry in value.items()}
        return {"dict": result} if list(result) in (["float"], ["dict"]) else result
    raise ModelFileError(
        f"{what} has {validation.shown(value)} ({type(value).__name__}); expected None, booleans, "
        "numbers, text, lists, and dicts by text"
    )


def _from_json(what: str, value: Any) -> Any:
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


# ---- a model -------------------------------------------------------------------------------------


class Description(NamedTuple):
    """What a network is, but for its parameters."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    dtype: str
    init: str


def model_parts(
    network: Network, *, allow_nonfinite: bool = False
) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors, copied, and the metadata of a network's model file."""
    activations, cost = validation.functions_with_names(network.activations, network.cost_function)
    return _model_parts(network, activations, cost, allow_nonfinite)


def _model_parts(
    network: Network, activations: tuple[str, ...], cost: str, allow_nonfinite: bool
) -> tuple[dict[str, Array], dict[str, str]]:
    with network._engine:
        weights = tuple(W.copy() for W in network.weights)
        biases = tuple(b.copy() for b in network.biases)
    # What could not be read again is not written.
    if not allow_nonfinite:
        validation.require_finite_parameters(weights, biases)
    tensors: dict[str, Array] = {}
    for l, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
        tensors[f"layers.{l}.weight"] = W
        tensors[f"layers.{l}.bias"] = b
    return tensors, {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "model",
        "sizes": _encoded("sizes", network.sizes),
        "activations": _encoded("activations", activations),
        "cost": cost,
        "dtype": network.dtype.name,
        "init": network._init,
    }


def network_from_parts(
    cls: type[AnyNetwork],
    tensors: dict[str, Array],
    metadata: dict[str, str],
    *,
    threads: int = 1,
    backend: str = "compiled",
    allow_nonfinite: bool = False,
) -> AnyNetwork:
    """The network of a model's or a checkpoint's parts; every value is judged as `Network` would.

    Raises
    ------
    ModelFileError
        If the parts make no network.
    """
    description = _checked_parts(tensors, metadata, allow_nonfinite)
    if metadata["kind"] == "checkpoint":
        _checked_training(description, tensors, metadata, allow_nonfinite)
    network = cls.__new__(cls)
    cls._build(
        network,
        description.sizes,
        description.activations,
        description.cost,
        description.dtype,
        description.init,
        RandomNumbers(None),
        validation.threads(threads),
        validation.backend(backend),
    )
    _set_parameters(network, tensors)
    return network


def save_model(network: Network, path: validation.PathLike, *, allow_nonfinite: bool) -> None:
    """Write the network's model file."""
    validation.file_path("path", path)
    allow_nonfinite = validation.flag("allow_nonfinite", allow_nonfinite)
    write(path, *model_parts(network, allow_nonfinite=allow_nonfinite))


def load_model(
    cls: type[AnyNetwork],
    path: validation.PathLike,
    *,
    threads: int,
    backend: str,
    allow_nonfinite: bool,
) -> AnyNetwork:
    """The network of a model file, or of a checkpoint."""
    name = validation.file_path("path", path)
    threads, backend = validation.threads(threads), validation.backend(backend)
    allow_nonfinite = validation.flag("allow_nonfinite", allow_nonfinite)
    with naming(name):
        return network_from_parts(
            cls, *_read(name), threads=threads, backend=backend, allow_nonfinite=allow_nonfinite
        )


def _set_parameters(network: Network, tensors: dict[str, Array]) -> None:
    for l, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        W[...] = tensors[f"layers.{l}.weight"]
        b[...] = tensors[f"layers.{l}.bias"]


def _checked_parts(
    tensors: dict[str, Array], metadata: dict[str, str], allow_nonfinite: bool = False
) -> Description:
    """What network the parts describe; its parameters come first among the tensors."""
    expected = {"model": _MODEL_ENTRIES, "checkpoint": _CHECKPOINT_ENTRIES}
    kind = metadata.get("kind")
    if kind not in expected:
        raise ModelFileError(
            f"its kind is {validation.shown(kind)}; expected 'model' or 'checkpoint'"
        )
    if tuple(metadata) != expected[kind]:
        raise ModelFileError(
            f"its __metadata__ has {validation.shown(list(metadata))}; expected "
            f"{', '.join(expected[kind])}"
        )
    description = _checked_description(metadata, len(tensors))
    n_layers = len(description.sizes) - 1
    names = list(tensors)
    if kind == "model" and len(names) > 2 * n_layers:
        raise ModelFileError(
            f"it has {len(names)} tensors; expected {2 * n_layers} for the parameters of "
            f"{n_layers} layers"
        )
    parameters: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(description.sizes), start=1):
        parameters[f"layers.{l}.weight"] = (n_out, n_in)
        parameters[f"layers.{l}.bias"] = (n_out,)
    for name, (expected_name, shape) in zip(names, parameters.items(), strict=False):
        if name != expected_name:
            raise ModelFileError(
                f"tensor {validation.shown(name)} is in the place of {expected_name!r}; expected "
                "the parameters first, in their order"
            )
        _require_tensor(name, tensors[name], shape, description.dtype)
        if not allow_nonfinite:
            _require_finite(name, tensors[name])
    return description


def _checked_description(metadata: dict[str, str], n_tensors: int) -> Description:
    sizes = _decoded("sizes", metadata["sizes"])
    names = _decoded("activations", metadata["activations"])
    if type(sizes) is not list or type(names) is not list:
        raise ModelFileError(
            f"its sizes and activations are {validation.shown(sizes)} and "
            f"{validation.shown(names)}; expected two lists"
        )
    # Before so many entries are judged one by one.
    if n_tensors < 2 * (len(sizes) - 1):
        raise ModelFileError(
            f"it has {n_tensors} tensors; expected {2 * (len(sizes) - 1)} for the parameters of "
            f"{len(sizes) - 1} layers"
        )
    try:
        checked_sizes = validation.layer_sizes(sizes)
        activations = validation.activations(names, len(checked_sizes) - 1)
        description = Description(
            checked_sizes,
            *validation.functions_with_names(
                activations, validation.cost(metadata["cost"], activations[-1])
            ),
            validation.number_type(metadata["dtype"]),
            validation.init(metadata["init"]),
        )
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    # Nor another word for the same thing.
    if (tuple(names), metadata["dtype"]) != (description.activations, description.dtype):
        raise ModelFileError(
            f"it has the activations {validation.shown(names)} and the dtype "
            f"{validation.shown(metadata['dtype'])}; expected {description.activations} and "
            f"{description.dtype!r}"
        )
    return description


def _require_tensor(name: str, tensor: Array, shape: tuple[int, ...], dtype: str) -> None:
    if tensor.shape != shape or tensor.dtype != np.dtype(dtype):
        raise ModelFileError(
            f"tensor {name!r} has shape {tensor.shape} and dtype {tensor.dtype}; expected {shape} "
            f"and {dtype}"
        )


def _require_finite(name: str, tensor: Array) -> None:
    try:
        validation.require_finite(f"tensor {name!r}", tensor)
    except ValueError as error:
        raise ModelFileError(str(error)) from None


# ---- a checkpoint --------------------------------------------------------------------------------


class Training(NamedTuple):
    """Where a training is, as a checkpoint has it."""

    rule: str | None
    hyper_parameters: tuple[float, ...]
    learning_rate: float
    step_count: int
    previous_cost: float
    optimizer: optimizers.Optimizer | None
    generator: dict[str, Any]
    slots: list[Array]
    extra: dict[str, Array]
    state: dict[str, Any]


def write_checkpoint(
    path: validation.PathLike,
    network: Network,
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> None:
    """Write the network's model with its optimiser, its generator and what the fit is at.

    Parameters
    ----------
    path : str, bytes or os.PathLike
    network : Network
    extra_tensors : dict of str to ndarray
        Arrays of the fit's: float32, float64, int64, uint64 or uint8.
    state : dict
        Values of the fit's: None, booleans, numbers, text, lists, and dicts by text. They come back
        exactly, infinities and NaN too, a tuple as a list.

    Raises
    ------
    ModelFileError, OSError
        As `write`.
    """
    name = validation.file_path("path", path)
    tensors, metadata = model_parts(network)
    with naming(name):
        _add_training(network, tensors, metadata, extra_tensors, state)
        # What could not be read again is not written.
        _checked_training(_checked_parts(tensors, metadata), tensors, metadata)
        _write(name, tensors, metadata)


def _add_training(
    network: Network,
    tensors: dict[str, Array],
    metadata: dict[str, str],
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> None:
    """Make a checkpoint's parts of a model's."""
    engine = network._engine
    for i, slot in enumerate(engine.slots):
        tensors[f"optimizer.slots.{i}"] = np.concatenate(
            [
                part
                for W, b in zip(*engine.layer_views(slot), strict=True)
                for part in (W.ravel(), b)
            ]
        )
    for key, array in extra_tensors.items():
        tensors[f"extra.{key}"] = array
    text = _encoded("state", state)
    tensors["state"] = np.frombuffer(text.encode("ascii"), np.uint8)
    update = (
        engine.rule_name,
        engine.hyper_parameters or (),
        engine.learning_rate,
        engine.step_count,
        engine.previous_cost,
    )
    metadata["kind"] = "checkpoint"
    metadata["optimizer"] = _encoded("optimizer", _optimizer_as_json(network._optimizer))
    metadata["update"] = _encoded("update", dict(zip(_UPDATE_ENTRIES, update, strict=True)))
    metadata["generator"] = _encoded("generator", _generator_as_json(network._random.state))


def read_checkpoint(
    path: validation.PathLike, network: Network
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Put the network where `write_checkpoint` found it; returns the extra tensors and the state.

    Raises
    ------
    ModelFileError
        If the file is no whole checkpoint of a network like this one. Nothing has changed then.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = validation.file_path("path", path)
    activations, cost = validation.functions_with_names(network.activations, network.cost_function)
    own = Description(network.sizes, activations, cost, network.dtype.name, network._init)
    with naming(name):
        tensors, metadata = _read(name)
        description = _checked_parts(tensors, metadata)
        if metadata["kind"] != "checkpoint":
            raise ModelFileError(f"its kind is {metadata['kind']!r}; expected 'checkpoint'")
        for field, came, expected in zip(own._fields, description, own, strict=True):
            if came != expected:
                raise ModelFileError(
                    f"its {field} is {validation.shown(came)}; expected "
                    f"{validation.shown(expected)}, as the network's"
                )
        training = _checked_training(description, tensors, metadata)
    set_training(network, tensors, training)
    return training.extra, training.state


def checkpoint_parts(
    network: Network,
    activations: tuple[str, ...],
    cost: str,
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> tuple[dict[str, Array], dict[str, str]]:
    """A checkpoint's parts, its parameters finite or not, with these functions' names in them."""
    tensors, metadata = _model_parts(network, activations, cost, allow_nonfinite=True)
    _add_training(network, tensors, metadata, extra_tensors, state)
    return tensors, metadata


def checked_checkpoint(
    tensors: dict[str, Array], metadata: dict[str, str]
) -> tuple[Description, Training]:
    """What such parts say: the network, and where its training is.

    Raises
    ------
    ModelFileError
        If they are no checkpoint's.
    """
    description = _checked_parts(tensors, metadata, allow_nonfinite=True)
    if metadata["kind"] != "checkpoint":
        raise ModelFileError(f"its kind is {metadata['kind']!r}; expected 'checkpoint'")
    return description, _checked_training(description, tensors, metadata, allow_nonfinite=True)


def set_training(network: Network, tensors: dict[str, Array], training: Training) -> None:
    """Put a network of that description where its training was."""
    engine = network._engine
    # First what can fail: for want of memory, or because the network is in use.
    engine.set_optimizer(training.rule, training.hyper_parameters)
    _set_parameters(network, tensors)
    for slot, vector in zip(engine.slots, training.slots, strict=True):
        start = 0
        for W, b in zip(*engine.layer_views(slot), strict=True):
            middle = start + W.size
            W[...] = vector[start:middle].reshape(W.shape)
            b[...] = vector[middle : middle + b.size]
            start = middle + b.size
    engine.learning_rate = training.learning_rate
    engine.step_count = training.step_count
    engine.previous_cost = training.previous_cost
    network._optimizer = training.optimizer
    network._random.state = training.generator


def _checked_training(
    description: Description,
    tensors: dict[str, Array],
    metadata: dict[str, str],
    allow_nonfinite: bool = False,
) -> Training:
    """What a checkpoint has beside the model."""
    optimizer = _checked_optimizer(_decoded("optimizer", metadata["optimizer"]))
    update = _decoded("update", metadata["update"])
    _require_entries("update", update, _UPDATE_ENTRIES)
    rule, hyper_parameters, learning_rate, step_count, previous_cost = update.values()
    known: tuple[str | None, list[float]] = (None, [])
    if optimizer is not None and optimizer.rule is not None:
        known = (optimizer.rule.name, list(optimizer.rule.hyper_parameters.values()))
    # As texts: 0 and False are not 0.0 there.
    if _json([rule, hyper_parameters]) not in (_json([None, []]), _json(known)):
        raise ModelFileError(
            f"update has rule {validation.shown(rule)} with {validation.shown(hyper_parameters)}; "
            f"expected {known[0]!r} with {known[1]}, as the optimiser's"
        )
    if (
        type(learning_rate) is not float
        or type(previous_cost) is not float
        or math.isnan(previous_cost)
    ):
        raise ModelFileError(
            f"update has learning_rate {validation.shown(learning_rate)} and previous_cost "
            f"{validation.shown(previous_cost)}; expected floats, and no NaN"
        )
    try:
        validation.non_negative("learning_rate", learning_rate)
        validation.integer("step_count", step_count, 0)
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    slots, extra = _checked_further_tensors(
        description, rule, hyper_parameters, tensors, allow_nonfinite
    )
    text = extra.pop("state")
    if text.ndim != 1 or text.dtype != np.uint8:
        raise ModelFileError(
            f"tensor 'state' has shape {text.shape} and dtype {text.dtype}; expected uint8 in one "
            "dimension"
        )
    state = _decoded("state", text.tobytes().decode("latin-1"))
    if type(state) is not dict:
        raise ModelFileError(f"state is {validation.shown(state)}; expected a dict")
    return Training(
        rule,
        tuple(hyper_parameters),
        learning_rate,
        step_count,
        previous_cost,
        optimizer,
        _checked_generator(_decoded("generator", metadata["generator"])),
        slots,
        {name.removeprefix("extra."): tensor for name, tensor in extra.items()},
        state,
    )


def _checked_further_tensors(
    description: Description,
    rule: str | None,
    hyper_parameters: list[float],
    tensors: dict[str, Array],
    allow_nonfinite: bool,
) -> tuple[list[Array], dict[str, Array]]:
    """The optimiser's slots, and the tensors behind them: the fit's own, and last the state."""
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(description.sizes))
    # The smallest network tells how many the rule has.
    engine = reference.Engine((1, 1), ("identity",), "quadratic", "float64")
    engine.set_optimizer(rule, tuple(hyper_parameters))
    further = dict(list(tensors.items())[2 * (len(description.sizes) - 1) :])
    slots = []
    for i in range(len(engine.slots)):
        name = f"optimizer.slots.{i}"
        if next(iter(further), None) != name:
            raise ModelFileError(
                f"it has {i} slots in their places; expected {len(engine.slots)} of {rule!r}"
            )
        slots.append(further.pop(name))
        _require_tensor(name, slots[-1], (n_parameters,), description.dtype)
        if not allow_nonfinite:
            _require_finite(name, slots[-1])
    names = list(further)
    if names[-1:] != ["state"] or not all(name.startswith("extra.") for name in names[:-1]):
        raise ModelFileError(
            f"it has the further tensors {validation.shown(names)}; expected those of the fit, "
            "'extra. …', and last 'state'"
        )
    return slots, further


def _require_entries(what: str, value: Any, names: tuple[str, ...]) -> None:
    if type(value) is not dict or tuple(value) != names:
        raise ModelFileError(f"{what} is {validation.shown(value)}; expected {', '.join(names)}")


def _optimizer_as_json(optimizer: optimizers.Optimizer | None) -> dict[str, Any] | None:
    if optimizer is None:
        return None
    for name, kind in optimizers.OPTIMIZERS.items():
        if type(optimizer) is kind:
            return {"name": name, "arguments": optimizer.arguments()}
    raise ModelFileError(
        f"optimizer is {validation.shown(optimizer)}, of a class of your own; expected one of "
        f"{', '.join(optimizers.OPTIMIZERS)}: a checkpoint holds no code"
    )


def _checked_optimizer(value: Any) -> optimizers.Optimizer | None:
    if value is None:
        return None
    _require_entries("optimizer", value, ("name", "arguments"))
    name, arguments = value.values()
    if type(name) is not str or name not in optimizers.OPTIMIZERS or type(arguments) is not dict:
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected one of "
            f"{', '.join(optimizers.OPTIMIZERS)} and its arguments"
        )
    try:
        optimizer = optimizers.OPTIMIZERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"optimizer is {validation.shown(value)}: {error}") from None
    # Every argument, in its order and in the type that it has once it is judged.
    if _encoded("optimizer", _optimizer_as_json(optimizer)) != _encoded("optimizer", value):
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected all arguments of {optimizer!r}"
        )
    return optimizer


def _generator_as_json(state: dict[str, Any]) -> dict[str, Any]:
    words = state["state"]
    # Numbers of 128 bits: more than other readers of JSON keep.
    values = (
        state["bit_generator"],
        f"{int(words['state']):#034x}",
        f"{int(words['inc']):#034x}",
        int(state["has_uint32"]),
        int(state["uinteger"]),
    )
    return dict(zip(_GENERATOR_ENTRIES, values, strict=True))


def _checked_generator(value: Any) -> dict[str, Any]:
    """The state as NumPy gives and takes it, of a stream that some seed has."""
    _require_entries("generator", value, _GENERATOR_ENTRIES)
    name, *words, has_uint32, uinteger = value.values()
    numbers = []
    for word in words:
        try:
            number = int(word, 16) if type(word) is str and len(word) == 34 else -1
        except ValueError:
            number = -1
        numbers.append(number)
    if (
        name != "PCG64"
        or min(numbers) < 0
        or [f"{number:#034x}" for number in numbers] != words
        or numbers[1] % 2 == 0
        or type(has_uint32) is not int
        or has_uint32 not in (0, 1)
        or type(uinteger) is not int
        or not 0 <= uinteger < 2**32
    ):
        raise ModelFileError(
            f"generator is {validation.shown(value)}; expected the words of a PCG64 generator"
        )
    return {
        "bit_generator": name,
        "state": dict(zip(("state", "inc"), numbers, strict=True)),
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
