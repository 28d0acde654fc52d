"""The container of models and checkpoints: written whole or not at all, and all that is refused."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import re
import signal
import stat
import struct
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import model_files as model_file
import numpy as np
import pytest
from model_files import (
    compact,
    metadata,
    model_bytes,
    only_files,
    padded,
    put,
    raw_file,
    same_bits,
    small,
    small_checkpoint,
    taken_apart,
    with_checksum,
)
from support import output_of, posix_only

from cbackprop import ModelFileError, Network
from cbackprop.files import format as file_format

Bytes = Callable[[], bytes]


# ---- round trips ---------------------------------------------------------------------------------


def test_tensors_of_any_layout_and_number_type(path: Path) -> None:
    block = np.arange(24, dtype=np.float64).reshape(4, 6)
    tensors = {
        "strided": block[::2, ::-3],
        "fortran": np.asfortranarray(block.astype(np.float32)),
        "big-endian": block.astype(">i8"),
        "words": np.array([2**64 - 1], np.uint64),
        "bytes": np.frombuffer(b"read-only", np.uint8),
        "none": np.empty((3, 0, 2)),
        "scalar": np.array(0.5),
    }
    metadata = {"format": "cbackprop", "format_version": "1", "σ": 'x"\\\n\x00 é 😀'}
    model_file.write(path, tensors, metadata)
    read, text = model_file.read(path)
    assert text == metadata
    assert list(text) == list(metadata)
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        assert read[name].shape == tensor.shape
        assert read[name].dtype == tensor.dtype.newbyteorder("=")
        assert (read[name] == tensor).all()
        assert read[name].flags.writeable
        assert read[name].flags.c_contiguous


# ---- damaged files -------------------------------------------------------------------------------


both_kinds = pytest.mark.parametrize("kind", [model_bytes, small_checkpoint])


@both_kinds
def test_every_flipped_bit_is_seen(path: Path, kind: Bytes) -> None:
    contents = kind()
    path.write_bytes(contents)
    Network.load(path)
    flipped = bytearray(contents)
    accepted = []
    with open(path, "r+b", buffering=0) as file:
        for place in range(len(contents)):
            for bit in range(8):
                flipped[place] ^= 1 << bit
                file.seek(place)
                file.write(flipped[place : place + 1])
                try:
                    Network.load(path)
                except ModelFileError:
                    pass
                else:
                    accepted.append((place, bit))
                flipped[place] ^= 1 << bit
            file.seek(place)
            file.write(flipped[place : place + 1])
    assert accepted == []
    assert path.read_bytes() == contents


@both_kinds
def test_every_truncation_is_seen(path: Path, kind: Bytes) -> None:
    contents = kind()
    path.write_bytes(contents)
    for length in range(len(contents) - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(ModelFileError, match="expected"):
            Network.load(path)


@both_kinds
def test_nothing_may_follow(path: Path, kind: Bytes) -> None:
    contents = kind()
    end_of_zip = b"PK\x05\x06" + bytes(18)
    for tail in (b"\0", b" ", b"\0" * 8, b"\n", end_of_zip, contents, bytes(1 << 16)):
        path.write_bytes(contents + tail)
        with pytest.raises(ModelFileError, match="behind its header; expected"):
            Network.load(path)


@both_kinds
def test_bytes_moved_within_the_file_are_seen(path: Path, kind: Bytes) -> None:
    contents = kind()
    path.touch()
    chance = random.Random(1)
    for _ in range(300):
        i, j = sorted(chance.sample(range(len(contents) + 1), 2))
        k = chance.randrange(len(contents))
        rest = contents[:i] + contents[j:]
        moved = rest[:k] + contents[i:j] + rest[k:]
        if moved != contents:
            put(path, moved)
            with pytest.raises(ModelFileError):
                Network.load(path)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_read(
    path: Path, change: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small().save(path)
    size = path.stat().st_size
    fstat = os.fstat

    def changing(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        os.truncate(path, size + change)
        return status

    monkeypatch.setattr(file_format.os, "fstat", changing)
    with pytest.raises(ModelFileError, match="while it was read; expected a file at rest"):
        Network.load(path)


# ---- hostile files -------------------------------------------------------------------------------


def forged(
    change: Callable[[dict[str, Any]], Any], numbers: Callable[[bytes], bytes] = bytes
) -> bytes:
    """A model's header, changed in place or replaced, with its checksum put right."""
    header, data = taken_apart(model_bytes())
    header = change(header) or header
    return with_checksum(header, numbers(data))


def entry(**values: Any) -> Callable[[dict[str, Any]], None]:
    """The first tensor's entry with other values; None takes one away."""

    def change(header: dict[str, Any]) -> None:
        changed = {**header["layers.1.weight"], **values}
        header["layers.1.weight"] = {k: v for k, v in changed.items() if v is not None}

    return change


def text(change: Callable[[str], str]) -> bytes:
    """A model whose header is changed as text, with a checksum over what it then says."""
    header, data = taken_apart(model_bytes())
    changed = change(compact(header))
    return raw_file(padded(changed), data)


def other_shape(shape: list[Any], n_bytes: int) -> Callable[[dict[str, Any]], None]:
    """The last tensor with a shape, its offsets made to fit."""

    def change(header: dict[str, Any]) -> None:
        start = header["layers.2.bias"]["data_offsets"][0]
        header["layers.2.bias"].update(shape=shape, data_offsets=[start, start + n_bytes])

    return change


def renamed(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: {name if k == "layers.2.bias" else k: v for k, v in header.items()}


def shifted(by: int) -> Callable[[dict[str, Any]], None]:
    """Every tensor but the first, that much further on."""

    def change(header: dict[str, Any]) -> None:
        for name in ("layers.1.bias", "layers.2.weight", "layers.2.bias"):
            offsets = header[name]["data_offsets"]
            header[name]["data_offsets"] = [offset + by for offset in offsets]

    return change


def reordered(header: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(header.items()))


def swapped_offsets(header: dict[str, Any]) -> None:
    first, second = header["layers.1.bias"], header["layers.2.bias"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


def many_tensors(header: dict[str, Any]) -> None:
    end = header["layers.2.bias"]["data_offsets"][1]
    for i in range(5000):
        header[f"more.{i}"] = {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}


NUMBERS = 1 << 62
HOSTILE: dict[str, tuple[Bytes, str]] = {
    "empty": (lambda: b"", "has 0 bytes"),
    "7 bytes": (lambda: bytes(7), "has 7 bytes"),
    "header length 0": (lambda: bytes(8), "length is 0"),
    "header length 1": (lambda: struct.pack("<Q", 1) + b"{", "length is 1;"),
    "header length 2^63": (lambda: struct.pack("<Q", 2**63) + b"{}", "no model file"),
    "header length 2^64 - 1": (lambda: b"\xff" * 8 + b"{}", "no model file"),
    "header length over 1 MiB": (
        lambda: raw_file(padded(compact({"__metadata__": {"x": "y" * (1 << 20)}}))),
        "expected 2 to 1048576 bytes",
    ),
    "header longer than the file": (lambda: struct.pack("<Q", 1000) + b"{}", "at least 1008"),
    "not UTF-8": (lambda: raw_file(b'{"\xff\xfe":1}  '), "is no text"),
    "UTF-8 beyond ASCII": (lambda: raw_file(padded('{"é": 1}')), "is no text"),
    "a NUL": (lambda: raw_file(b'{"a":1}\0'), "is no JSON"),
    "a byte order mark": (lambda: raw_file(b"\xef\xbb\xbf{} "), "is no text"),
    "no JSON": (lambda: raw_file(b"hello   "), "is no JSON"),
    "half a JSON": (lambda: text(lambda header: header[:-1]), "is no JSON"),
    "two JSONs": (lambda: raw_file(b"{}{}    "), "is no JSON"),
    "a list": (lambda: raw_file(b"[]      "), r"is \[\]; expected a JSON object"),
    "a number": (lambda: raw_file(b"12345678"), "expected a JSON object"),
    "null": (lambda: raw_file(b"null    "), "expected a JSON object"),
    "only spaces": (lambda: raw_file(b"        "), "is no JSON"),
    "empty object": (lambda: raw_file(b"{}      "), "another program"),
    "deep lists": (lambda: raw_file(b"[" * 100_000), "nested too deeply"),
    "deep objects": (lambda: raw_file(b'{"a":' * 100_000), "nested too deeply"),
    "closed deep lists": (
        lambda: raw_file(padded('{"__metadata__":' + "[" * 90_000 + "]" * 90_000 + "}")),
        "nested too deeply",
    ),
    "an integer of a million digits": (
        lambda: raw_file(padded('{"a":' + "9" * 1_000_000 + "}")),
        "is no JSON",
    ),
    "NaN": (
        lambda: text(lambda header: header.replace("[0,24]", "[NaN,24]")),
        "has NaN, which is no JSON",
    ),
    "Infinity": (
        lambda: text(lambda header: header.replace("[0,24]", "[0,-Infinity]")),
        "has -Infinity, which is no JSON",
    ),
    "a tensor twice": (
        lambda: text(
            lambda header: header[:-1] + ',"layers.1.bias":' + header.split('bias":')[1] + "}"
        ),
        "is no JSON|more than once",
    ),
    "a key twice in an entry": (
        lambda: text(lambda header: header.replace('"dtype":"F32"', '"dtype":"F32","dtype":"F32"')),
        "has 'dtype' more than once",
    ),
    "metadata twice": (
        lambda: text(lambda header: '{"__metadata__":{},' + header[1:]),
        "has '__metadata__' more than once",
    ),
    "an escaped key twice": (
        lambda: text(lambda header: header.replace('"kind":', '"k\\u0069nd":"x","kind":')),
        "has 'kind' more than once",
    ),
    "170,000 keys, the last one twice": (
        lambda: raw_file(
            padded("{" + "".join(f'"{i:x}":0,' for i in range(90_000)) + '"a":0,"a":0}')
        ),
        "more than once",
    ),
    "spaces between": (lambda: text(lambda header: header.replace(",", ", ")), "not in the form"),
    "an escape that need not be": (
        lambda: text(lambda header: header.replace("layers.1.bias", "l\\u0061yers.1.bias")),
        "not in the form",
    ),
    "an integer as -0": (
        lambda: text(lambda header: header.replace("[0,24]", "[-0,24]")),
        "not in the form",
    ),
    "an offset as a float": (
        lambda: text(lambda header: header.replace("[0,24]", "[0.0,24]")),
        r"data_offsets \[0.0, 24\]",
    ),
    "an offset of 1e999": (
        lambda: text(lambda header: header.replace("[0,24]", "[0,1e999]")),
        r"data_offsets \[0, inf\]",
    ),
    "no metadata": (
        lambda: text(lambda header: compact({"x": json.loads(header)["layers.1.bias"]})),
        "another program",
    ),
    "metadata a list": (
        lambda: raw_file(padded('{"__metadata__":["format","cbackprop"]}')),
        "another program",
    ),
    "another format": (lambda: forged(metadata(format="pt")), "another program"),
    "a newer version": (lambda: forged(metadata(format_version="4")), "a newer cbackprop"),
    "no version": (lambda: forged(metadata(format_version=None)), "format_version is None"),
    "a number in the metadata": (lambda: forged(metadata(cost=1)), "'cost' in its __metadata__"),
    "null in the metadata": (
        lambda: text(lambda header: header.replace('"init":"auto"', '"init":null')),
        "'init' in its __metadata__ is None",
    ),
    "no checksum": (
        lambda: text(lambda header: header.replace('"checksum"', '"checksam"')),
        "has no checksum at its end",
    ),
    "checksum not last": (
        lambda: text(
            lambda header: compact(
                {
                    **json.loads(header),
                    "__metadata__": dict(reversed(json.loads(header)["__metadata__"].items())),
                }
            )
        ),
        "has no checksum at its end",
    ),
    "half a surrogate pair in the metadata": (
        lambda: forged(metadata(cost="\ud800")),
        "expected Unicode",
    ),
    "half a surrogate pair in a name": (lambda: forged(renamed("\udfff")), "expected Unicode"),
    "a name with a NUL": (
        lambda: forged(renamed("layers.2.bias\0")),
        "in the place of 'layers.2.bias'; expected",
    ),
    "a name of half a megabyte": (
        lambda: forged(renamed("b" * 500_000)),
        "in the place of 'layers.2",
    ),
    "a name that climbs": (
        lambda: forged(renamed("../../etc/passwd")),
        "in the place of 'layers.2.bias'; expected",
    ),
    "no name": (lambda: forged(renamed("")), "in the place of 'layers.2.bias'; expected"),
    "entry a list": (
        lambda: forged(lambda header: {**header, "layers.2.bias": ["F32", [2], [0, 8]]}),
        "expected dtype, shape and data_offsets",
    ),
    "entry without a shape": (lambda: forged(entry(shape=None)), "expected dtype, shape and"),
    "entry with something more": (lambda: forged(entry(strides=[1])), "expected dtype, shape and"),
    "dtype O": (lambda: forged(entry(dtype="O")), "has dtype 'O'; expected one of F32"),
    "dtype F16": (lambda: forged(entry(dtype="F16")), "has dtype 'F16'"),
    "dtype BF16": (lambda: forged(entry(dtype="BF16")), "has dtype 'BF16'"),
    "dtype >f8": (lambda: forged(entry(dtype=">f8")), "has dtype '>f8'"),
    "dtype f32": (lambda: forged(entry(dtype="f32")), "has dtype 'f32'"),
    "dtype a list": (lambda: forged(entry(dtype=["F32"])), r"has dtype \['F32'\]"),
    "shape a number": (lambda: forged(entry(shape=6)), "has shape 6; expected a list"),
    "shape negative": (lambda: forged(entry(shape=[-2, -3])), r"shape \[-2, -3\]; expected"),
    "shape with a boolean": (lambda: forged(entry(shape=[True, 6])), r"shape \[True, 6\]"),
    "shape with a float": (lambda: forged(entry(shape=[2.0, 3])), r"shape \[2.0, 3\]"),
    "shape with text": (lambda: forged(entry(shape=["2", 3])), r"shape \['2', 3\]"),
    "shape with a list": (lambda: forged(entry(shape=[[2], 3])), r"shape \[\[2\], 3\]"),
    "shape with null": (lambda: forged(other_shape([None], 8)), r"shape \[None\]"),
    "shape that overflows 64 bits to 0": (
        lambda: forged(other_shape([NUMBERS, 4], 0)),
        "expected at most 8 dimensions and",
    ),
    "shape that overflows 64 bits to what is there": (
        lambda: forged(other_shape([NUMBERS + 1, 8], 32), lambda data: data + bytes(24)),
        "expected at most 8 dimensions and",
    ),
    "shape beyond arrays, but empty": (
        lambda: forged(other_shape([0, NUMBERS, NUMBERS], 0), lambda data: data[:-8]),
        "expected at most 8 dimensions and",
    ),
    "shape of 4,000 digits": (
        lambda: forged(other_shape([10**4000], 8)),
        "expected at most 8 dimensions and",
    ),
    "shape of 1,000 dimensions": (lambda: forged(other_shape([1] * 1000, 4)), "at most 8 dimen"),
    "a terabyte in a small file": (
        lambda: forged(other_shape([1 << 38], 1 << 40)),
        "behind its header; expected 1099511627824",
    ),
    "shape other than the sizes": (
        lambda: forged(entry(shape=[3, 2])),
        r"shape \(3, 2\) and dtype float32; expected \(2, 3\)",
    ),
    "shape with one dimension more": (lambda: forged(entry(shape=[2, 3, 1])), r"expected \(2, 3\)"),
    "shape smaller than its bytes": (lambda: forged(entry(shape=[2, 2])), r"expected \[0, 16\]"),
    "offsets one number": (lambda: forged(entry(data_offsets=[24])), "data_offsets"),
    "offsets three numbers": (lambda: forged(entry(data_offsets=[0, 24, 24])), "data_offsets"),
    "offsets booleans": (lambda: forged(entry(data_offsets=[False, 24])), r"\[False, 24\]"),
    "offsets negative": (lambda: forged(entry(data_offsets=[-24, 0])), r"expected \[0, 24\]"),
    "offsets backwards": (lambda: forged(entry(data_offsets=[24, 0])), r"expected \[0, 24\]"),
    "offsets beyond 64 bits": (
        lambda: forged(entry(data_offsets=[2**64, 2**64 + 24])),
        r"expected \[0, 24\]",
    ),
    "tensors that overlap": (lambda: forged(shifted(-8)), r"expected \[24, 32\]"),
    "a hole between tensors": (
        lambda: forged(shifted(8), lambda data: data[:24] + bytes(8) + data[24:]),
        r"expected \[24, 32\]",
    ),
    "tensors in each other's place": (lambda: forged(swapped_offsets), r"expected \[24, 32\]"),
    "tensors all in one place": (
        lambda: forged(lambda header: header["layers.2.bias"].update(data_offsets=[24, 32])),
        "expected ",
    ),
    "header in another order": (lambda: forged(reordered), "expected"),
    "5,000 empty tensors more": (lambda: forged(many_tensors), "has 5004 tensors; expected 4"),
    "a tensor less": (
        lambda: forged(
            lambda header: {k: v for k, v in header.items() if k != "layers.2.bias"},
            lambda data: data[:-8],
        ),
        "has 3 tensors; expected 4",
    ),
    "numbers missing": (lambda: forged(dict, lambda data: data[:-4]), "behind its header"),
    "numbers too many": (lambda: forged(dict, lambda data: data + bytes(4)), "behind its header"),
    "integers for parameters": (
        lambda: forged(
            lambda header: header["layers.2.bias"].update(dtype="I64", shape=[1]),
        ),
        r"dtype int64; expected \(2,\) and float32",
    ),
    "a parameter that is NaN": (
        lambda: forged(dict, lambda data: data[:-4] + struct.pack("<f", math.nan)),
        "tensor 'layers.2.bias' has nan at",
    ),
    "a parameter that is infinite": (
        lambda: forged(dict, lambda data: struct.pack("<f", -math.inf) + data[4:]),
        "tensor 'layers.1.weight' has -inf at",
    ),
    # What the metadata say of the network: judged as Network's own arguments are.
    "no kind": (lambda: forged(metadata(kind=None)), "kind is None"),
    "an unknown kind": (lambda: forged(metadata(kind="pickle")), "kind is 'pickle'"),
    "a model that says it is a checkpoint": (
        lambda: forged(metadata(kind="checkpoint")),
        "expected .*generator",
    ),
    "an entry missing": (lambda: forged(metadata(init=None)), "__metadata__ has .* expected"),
    "an entry more": (lambda: forged(metadata(module="os")), "__metadata__ has .* expected"),
    "activation os.system": (
        lambda: forged(metadata(activations='["os.system","softmax"]')),
        r"activation\[0\] is 'os.system'; expected one of 'sigmoid'",
    ),
    "activation an alias": (
        lambda: forged(metadata(activations='["linear","softmax"]')),
        "expected .*'identity'",
    ),
    "activation a number": (lambda: forged(metadata(activations="[1,2]")), r"activation\[0\] is 1"),
    "activation one for all": (lambda: forged(metadata(activations='"tanh"')), "two lists"),
    "activations too many": (
        lambda: forged(metadata(activations='["tanh","tanh","softmax"]')),
        "activation has 3 entries; expected 2",
    ),
    "softmax in the middle": (
        lambda: forged(metadata(activations='["softmax","softmax"]')),
        "expected it in the last layer",
    ),
    "a cost that the output cannot have": (
        lambda: forged(metadata(activations='["tanh","tanh"]')),
        "cost is 'cross_entropy' with the output activation 'tanh'",
    ),
    "an unknown cost": (lambda: forged(metadata(cost="eval")), "cost is 'eval'"),
    "an unknown init": (lambda: forged(metadata(init="orthogonal")), "init is 'orthogonal'"),
    "dtype float16": (lambda: forged(metadata(dtype="float16")), "dtype is 'float16'"),
    "dtype by another name": (lambda: forged(metadata(dtype="f4")), "expected .*'float32'"),
    "dtype of no type": (lambda: forged(metadata(dtype="i4,(2)f8")), "dtype is"),
    "dtype other than the tensors'": (
        lambda: forged(metadata(dtype="float64")),
        "dtype float32; expected .* float64",
    ),
    "sizes of another network": (lambda: forged(metadata(sizes="[2,3,2]")), r"expected \(3, 2\)"),
    "sizes of one layer": (lambda: forged(metadata(sizes="[3]")), "at least 2 entries"),
    "sizes with a boolean": (lambda: forged(metadata(sizes="[3,true,2]")), r"sizes\[1\] is True"),
    "sizes with a float": (lambda: forged(metadata(sizes="[3,2.0,2]")), r"sizes\[1\] is 2.0"),
    "sizes with text": (lambda: forged(metadata(sizes='[3,"2",2]')), r"sizes\[1\] is '2'"),
    "sizes with 0": (lambda: forged(metadata(sizes="[3,0,2]")), r"sizes\[1\] is 0"),
    "sizes negative": (lambda: forged(metadata(sizes="[-3,2,2]")), r"sizes\[0\] is -3"),
    "sizes huge": (
        lambda: forged(metadata(sizes=f"[{2**62},{2**62},2]")),
        "parameters, .* bytes, are more than",
    ),
    "sizes of terabytes": (lambda: forged(metadata(sizes="[1000000,1000000,2]")), "expected"),
    "sizes an object": (lambda: forged(metadata(sizes='{"a":3}')), "two lists"),
    "sizes no JSON": (lambda: forged(metadata(sizes="3,2,2")), "sizes is no JSON"),
    "sizes with spaces": (lambda: forged(metadata(sizes="[3, 2, 2]")), "in the form in which"),
    "sizes nested": (lambda: forged(metadata(sizes="[" * 90_000)), "sizes is nested too deeply"),
    "sizes by the hundred thousand": (
        lambda: forged(metadata(sizes=compact([1] * 300_000))),
        "expected",
    ),
    "names of version 1": (
        lambda: forged(metadata(format_version="1")),
        "__metadata__ has .*; expected format, .*, init$",
    ),
    "version 2 without names": (
        lambda: forged(metadata(feature_names=None)),
        "__metadata__ has .*; expected .*, feature_names, class_names, metadata$",
    ),
    "names too few": (
        lambda: forged(metadata(feature_names='["a","b"]')),
        r"feature_names has 2 entries; expected 3 names because sizes\[0\] is 3",
    ),
    "names too many": (
        lambda: forged(metadata(class_names='["a","b","c"]')),
        r"class_names has 3 entries; expected 2 names because sizes\[-1\] is 2",
    ),
    "no names": (lambda: forged(metadata(class_names="[]")), "has 0 entries; expected 2 names"),
    "names by the hundred thousand": (
        lambda: forged(metadata(feature_names=compact(["a"] * 150_000))),
        "feature_names has 150000 entries; expected 3",
    ),
    "a name twice": (
        lambda: forged(metadata(feature_names='["a","b","a"]')),
        "feature_names has 'a' 2 times; expected every name once",
    ),
    "a name that is a number": (
        lambda: forged(metadata(feature_names='["a",1,"c"]')),
        r"feature_names\[1\] is 1 \(int\); expected a string",
    ),
    "a name that is null": (
        lambda: forged(metadata(class_names='[null,"c"]')),
        r"class_names\[0\] is None \(NoneType\); expected a string",
    ),
    "a name that is infinite": (
        lambda: forged(metadata(class_names='[{"float":"inf"},"c"]')),
        r"class_names\[0\] is inf \(float\); expected a string",
    ),
    "a name that is half a surrogate pair": (
        lambda: forged(metadata(class_names='["a","\\udc00"]')),
        r"class_names\[1\] is '\\udc00'; expected Unicode",
    ),
    "names in one text": (lambda: forged(metadata(class_names='"ab"')), "expected lists or null"),
    "names an object": (
        lambda: forged(metadata(class_names='{"a":"b","c":"d"}')),
        "expected lists or null",
    ),
    "names no JSON": (lambda: forged(metadata(class_names="a,b")), "class_names is no JSON"),
    "names with spaces": (
        lambda: forged(metadata(class_names='["a", "b"]')),
        "in the form in which",
    ),
    "names not escaped": (
        lambda: forged(metadata(class_names='["a","σ"]')),
        "in the form in which",
    ),
    "names nested": (
        lambda: forged(metadata(feature_names="[" * 90_000)),
        "feature_names is nested too deeply",
    ),
    "metadata null": (lambda: forged(metadata(metadata="null")), "its metadata is null"),
    "metadata of metadata a list": (
        lambda: forged(metadata(metadata='["a"]')),
        r"metadata is \['a'\] \(list\); expected a dict",
    ),
    "metadata with a number": (
        lambda: forged(metadata(metadata='{"a":1}')),
        r"metadata\['a'\] is 1 \(int\); expected a string",
    ),
    "metadata with a list": (
        lambda: forged(metadata(metadata='{"a":["b"]}')),
        r"metadata\['a'\] is \['b'\] \(list\); expected a string",
    ),
    "metadata with a key twice": (
        lambda: forged(metadata(metadata='{"a":"b","a":"b"}')),
        "metadata has 'a' more than once",
    ),
    "metadata with half a surrogate pair": (
        lambda: forged(metadata(metadata='{"a":"\\ud800"}')),
        r"metadata\['a'\] is '\\ud800'; expected Unicode",
    ),
    "metadata with a key that is half a surrogate pair": (
        lambda: forged(metadata(metadata='{"\\ud800":"a"}')),
        r"a key of metadata is '\\ud800'; expected Unicode",
    ),
    "metadata that looks like a number that is none": (
        lambda: forged(metadata(metadata='{"float":"inf"}')),
        r"metadata is inf \(float\); expected a dict",
    ),
    "metadata of more than a megabyte": (
        lambda: forged(metadata(metadata=compact({"a": "b" * (1 << 20)}))),
        "header's length is .*; expected 2 to 1048576",
    ),
    "metadata by the hundred thousand": (
        lambda: forged(metadata(metadata=compact({f"{i:x}": 0 for i in range(80_000)}))),
        r"metadata\['0'\] is 0 \(int\); expected a string",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(path: Path, name: str) -> None:
    """By a message that says what is wrong, and without much memory."""
    make, message = HOSTILE[name]
    path.write_bytes(make())
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message) as caught:
            Network.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"path is {str(path)!r}: ")
    assert "expected" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert peak < 48 << 20


def test_the_forger_can_write_a_good_file(path: Path) -> None:
    """Else the files above might be refused for the forger's own mistakes."""
    assert forged(dict) == model_bytes()
    assert text(str) == model_bytes()
    path.write_bytes(forged(metadata(init="zeros")))
    assert Network.load(path)._model.description.init == "zeros"


@posix_only
@pytest.mark.parametrize("what", ["fifo", "socket"])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, what: str) -> None:
    """In another process, which a pipe without a writer may hold up for as long as it likes."""
    name = what
    if what == "fifo":
        name = str(tmp_path / "fifo")
        os.mkfifo(name)
    elif what == "socket":
        import socket

        name = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
    mode = os.stat(name).st_mode
    code = """
import sys
from cbackprop import ModelFileError, Network
for call in (Network.load, Network([2, 1]).save):
    try:
        call(sys.argv[1])
    except ModelFileError as error:
        print(error)
"""
    expected = f"path is {name!r}: it is a device, a pipe or a socket; expected a regular file\n"
    assert output_of(code, name, options=("-W", "ignore")) == 2 * expected
    assert os.stat(name).st_mode == mode
    assert only_files(tmp_path) == ([what] if tmp_path in Path(name).parents else [])


@posix_only
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full"])
def test_a_device_is_not_read_and_not_replaced(device: str) -> None:
    """In another process: /dev/zero has no end. Writing to it is what the user asked for."""
    mode = os.stat(device).st_mode
    code = """
import sys
from cbackprop import ModelFileError, Network
try:
    Network.load(sys.argv[1])
except ModelFileError as error:
    print(error)
try:
    Network([2, 1]).save(sys.argv[1])
except OSError as error:
    print(error.errno, error.filename)
"""
    refused = f"path is {device!r}: it is a device, a pipe or a socket; expected a regular file\n"
    full = f"{errno.ENOSPC} /dev/full\n" if device == "/dev/full" else ""
    assert output_of(code, device, options=("-W", "ignore")) == refused + full
    assert os.stat(device).st_mode == mode


@posix_only
def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    """The system finds it: its own error, with the path."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for call in (Network.load, small().save):
        with pytest.raises(OSError, match="loop") as caught:
            call(loop)
        assert caught.value.errno == errno.ELOOP
    assert only_files(tmp_path) == ["loop"]


def test_paths_that_are_none(tmp_path: Path) -> None:
    net = small()
    for call in (net.save, Network.load):
        for value in (None, 3, 1.5, ["model"], True, sys.stdout):
            with pytest.raises(TypeError, match=r"^path is .*; expected a str, bytes or a path"):
                call(value)  # type: ignore[operator]
        with pytest.raises(ValueError, match=r"^path is .* without NUL"):
            call(str(tmp_path / "a\0b"))
        if os.name != "nt":  # Windows file names may hold one
            with pytest.raises(ValueError, match=r"^path is .* without NUL or lone surrogates"):
                call("\ud800")
        with pytest.raises(ValueError, match=r"^path is ''; expected a path of at least one char"):
            call("")
        with pytest.raises(FileNotFoundError) as caught:
            call(tmp_path / "missing" / "model")
        assert caught.value.filename == str(tmp_path / "missing" / "model")
        with pytest.raises(IsADirectoryError):
            call(tmp_path)
        with pytest.raises(OSError, match="directory"):
            call(os.path.join(tmp_path, "missing", ""))
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "model")
    assert only_files(tmp_path) == []


def test_paths_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Bytes:
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path / "d")

    # The longest name that there may be, too: the temporary file's own is shorter.
    for name in ("a", "./b", tmp_path / "c", Bytes(), b"e", "σ.safetensors", "n" * 255):
        net = small(seed=len(only_files(tmp_path)))
        net.save(name)  # type: ignore[arg-type]
        assert same_bits(Network.load(name), net)  # type: ignore[arg-type]
    assert len(only_files(tmp_path)) == 7


# ---- what is not saved ---------------------------------------------------------------------------


def test_what_could_not_be_read_is_not_written(path: Path) -> None:
    metadata = {"format": "cbackprop", "format_version": "1"}
    tensor = np.zeros(2)
    for tensors, text, message in (
        ({"a": tensor.astype(np.float16)}, metadata, "tensor 'a' has dtype float16; expected one"),
        ({"a": tensor.astype(object)}, metadata, "tensor 'a' has dtype object"),
        ({"a": tensor.astype(complex)}, metadata, "tensor 'a' has dtype complex128"),
        ({f"{i}": tensor for i in range(20000)}, metadata, "expected at most 1048576"),
        ({"\ud800": tensor}, metadata, "expected Unicode"),
        ({"a": np.zeros((1,) * 9)}, metadata, "at most 8 dimensions"),
        ({"a": tensor}, {}, "expected the format 'cbackprop'"),
        ({"a": tensor}, {**metadata, "checksum": "0"}, "metadata has a checksum"),
        ({"a": tensor}, {**metadata, "b": 1}, "'b' in its __metadata__ is 1; expected text"),
        ({"__metadata__": tensor}, metadata, "expected"),
    ):
        with pytest.raises(ModelFileError, match=message):
            model_file.write(path, tensors, text)  # type: ignore[arg-type]
    assert only_files(path.parent) == []


# ---- written whole or not at all -----------------------------------------------------------------


class FailingOnce:
    """The os module, whose n-th call from the model file fails."""

    def __init__(self, n: int, error: BaseException) -> None:
        self.left = n
        self.error = error
        self.failed = ""

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        # These look only at their arguments, or take the temporary file away.
        if not callable(function) or name in ("fspath", "fsdecode", "strerror", "unlink"):
            return function

        def called(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.failed = name
                raise self.error
            return function(*arguments, **options)

        return called


@posix_only
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        KeyboardInterrupt(),
        MemoryError(),
    ],
    ids=["ENOSPC", "EIO", "KeyboardInterrupt", "MemoryError"],
)
@pytest.mark.parametrize("existing", [True, False])
def test_a_save_fails_at_each_call_of_the_system(
    path: Path, error: BaseException, existing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = small(seed=1), small(seed=2)
    old.save(path)
    before = path.read_bytes() if existing else None
    new.save(path)
    after = path.read_bytes()
    seen = set()
    for n in range(100):
        path.unlink()
        if before is not None:
            path.write_bytes(before)
        failing = FailingOnce(n, error)
        monkeypatch.setattr(file_format, "os", failing)
        with suppress(type(error)):
            new.save(path)
        monkeypatch.undo()
        seen.add(failing.failed)
        contents = path.read_bytes() if path.exists() else None
        assert contents in (before, after)
        assert only_files(path.parent) == ([path.name] if contents is not None else [])
        if not failing.failed:
            break
        if contents is None:
            path.write_bytes(b"")
    assert seen >= {"open", "fsync", "replace", "stat", ""}
    assert contents == after


@posix_only
def test_numbers_and_name_are_on_the_disk_in_this_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it gets its name, the name before the save is over."""
    done: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(*arguments: Any) -> Any:
            done.append(name)
            if name == "fsync":
                is_folder = stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                done[-1] += " of the folder" if is_folder else " of the file"
            return function(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(file_format.os, name, noted(name))
    small().save(path)
    assert done == ["fsync of the file", "replace", "fsync of the folder"]


@posix_only
def test_a_file_too_large_leaves_the_old_one(path: Path) -> None:
    """EFBIG from the system itself, in the middle of the numbers."""
    import resource

    old = small(seed=1)
    old.save(path)
    new = Network([100, 100], seed=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
        with pytest.raises(OSError, match="too large") as caught:
            new.save(path)
        with pytest.raises(OSError, match="too large"):
            new.save(path.with_name("other"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert same_bits(Network.load(path), old)
    assert only_files(path.parent) == [path.name]


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may do everything, and so becomes nobody."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches; pytest's own only its user does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


@posix_only
def test_a_folder_that_may_not_be_written_to(open_folder: Path) -> None:
    path = open_folder / "model"
    small(seed=1).save(path)
    before = path.read_bytes()
    path.chmod(0o666)
    open_folder.chmod(0o555)
    with without_privileges():
        assert same_bits(Network.load(path), small(seed=1))
        for name in (path, open_folder / "new"):
            with pytest.raises(PermissionError) as caught:
                small(seed=2).save(name)
            assert caught.value.filename == str(name)
    assert path.read_bytes() == before
    assert only_files(open_folder) == ["model"]


def test_on_windows_whoever_reads_the_old_file_gets_a_second_to_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They alone: elsewhere no such error passes."""
    small().save(path)
    refusals = 0
    replace = os.replace

    def refuses(source: str, target: str) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise PermissionError(errno.EACCES, "in use", source, None, target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuses)
    net = small()
    net.biases[0][:] = 2
    for system, n_refusals in (("nt", 3), ("nt", 10**6), ("posix", 1)):
        refusals = n_refusals
        before = path.read_bytes()
        with monkeypatch.context() as on:
            on.setattr(os, "name", system)
            if n_refusals == 3:
                net.save(path)
            else:
                with pytest.raises(PermissionError, match=re.escape(repr(str(path)))):
                    net.save(path)
        assert (path.read_bytes() == before) == (n_refusals != 3)
        assert only_files(path.parent) == [path.name]


@posix_only
def test_a_file_that_may_not_be_written_is_not_replaced(open_folder: Path) -> None:
    """The folder's rights would do for that; who took them from the file meant something."""
    path = open_folder / "model"
    small(seed=1).save(path)
    before = path.read_bytes()
    path.chmod(0o444)
    with without_privileges():
        with pytest.raises(PermissionError) as caught:
            small(seed=2).save(path)
        assert caught.value.filename == str(path)
        small(seed=2).save(open_folder / "new")
    assert path.read_bytes() == before
    assert only_files(open_folder) == ["model", "new"]


@posix_only
def test_where_no_checkpoint_may_be_written_no_epoch_is_trained(open_folder: Path) -> None:
    closed, file = open_folder / "closed", open_folder / "file"
    closed.mkdir(0o555)
    file.touch()
    file.chmod(0o444)
    net = small()
    X, Y = np.ones((3, net.sizes[0])), np.ones((3, net.sizes[-1]))
    for checkpoint in (closed / "fit", file):
        with without_privileges(), pytest.raises(PermissionError):
            net.fit(X, Y, epochs=2, checkpoint=checkpoint)
        assert net.history is None
        assert same_bits(net, small())
    assert only_files(open_folder) == ["closed", "file"]


@posix_only
def test_a_file_that_may_not_be_read(open_folder: Path) -> None:
    path = open_folder / "model"
    small().save(path)
    path.chmod(0o200)
    with without_privileges(), pytest.raises(PermissionError) as caught:
        Network.load(path)
    assert caught.value.filename == str(path)


@posix_only
def test_a_folder_that_may_not_be_listed_can_be_saved_to(open_folder: Path) -> None:
    """It cannot be opened, and so not be synchronised, either."""
    open_folder.chmod(0o333)
    with without_privileges():
        small().save(open_folder / "model")
    open_folder.chmod(0o777)
    assert same_bits(Network.load(open_folder / "model"), small())


@posix_only
def test_permissions(path: Path) -> None:
    """A new file has what the umask leaves, an old one keeps what it had."""
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            small().save(path)
            assert stat.S_IMODE(path.stat().st_mode) == expected
            for mode in (0o640, 0o666, 0o755):
                path.chmod(mode)
                small().save(path)
                assert stat.S_IMODE(path.stat().st_mode) == mode
        finally:
            os.umask(before)
        path.unlink()


@posix_only
def test_links(tmp_path: Path) -> None:
    """A symbolic link stays, and what it points to is replaced; a hard link keeps the old file."""
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "model"
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to("elsewhere/model")
    second.symlink_to(link)
    for seed in (1, 2):  # what the link points to is not there at first
        small(seed=seed).save(second)
        assert link.is_symlink()
        assert second.is_symlink()
        assert not target.is_symlink()
        assert same_bits(Network.load(target), small(seed=seed))
        assert same_bits(Network.load(second), small(seed=seed))
    assert only_files(tmp_path / "elsewhere") == ["model"]
    os.link(target, tmp_path / "hard")
    small(seed=3).save(target)
    assert same_bits(Network.load(tmp_path / "hard"), small(seed=2))
    assert only_files(tmp_path) == ["elsewhere", "hard", "link", "second"]


KILLS = """
import os, random, signal, sys, time
import numpy as np
from cbackprop import Network

path, kills = sys.argv[1], int(sys.argv[2])
nets = [Network([200, 300], seed=seed, backend="reference") for seed in (1, 2)]
bits = [net.parameters.tobytes() for net in nets]
chance = random.Random(5)
nets[0].save(path)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        try:
            while True:
                for net in nets:
                    net.save(path)
        finally:
            os._exit(1)
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert Network.load(path, backend="reference").parameters.tobytes() in bits
print(len(os.listdir(os.path.dirname(path))) - 1)
"""


@posix_only
def test_a_killed_save_leaves_a_whole_file(path: Path) -> None:
    """SIGKILL at random moments: the file is one of the two that were being saved."""
    left = output_of(KILLS, str(path), "30", options=("-W", "ignore"), timeout=300)
    # The temporary file of a process that was killed is taken away by nobody.
    assert 0 <= int(left) <= 30


@posix_only  # a file that is read all the time is not replaced on Windows
def test_many_save_at_once(path: Path) -> None:
    """Each writes a file of its own: what is read in between is one of theirs, whole."""
    nets = [Network([60, 50], seed=seed) for seed in range(6)]
    bits = {net.parameters.tobytes() for net in nets}
    nets[0].save(path)
    failures: list[BaseException] = []

    def save(net: Network) -> None:
        try:
            for _ in range(15):
                net.save(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    reads = 0
    while reads == 0 or any(thread.is_alive() for thread in threads):
        assert Network.load(path).parameters.tobytes() in bits
        reads += 1
    for thread in threads:
        thread.join()
    assert failures == []
    assert only_files(path.parent) == [path.name]
