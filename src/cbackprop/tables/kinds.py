"""What a file is, told from its first bytes and not from its name."""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 64  # bytes that are looked at


class Kind(NamedTuple):
    """A kind of file that is no table here, and what makes one of it."""

    text: str
    advice: str


_AS_CSV = "write it as CSV, for example by {}(…).to_csv(…, index=False) of pandas"

# What text does not begin with: a header's first name may be ORC, or <DATE>.
_BEGINNINGS = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gzip -dc FILE | cbackprop … -"),
    (b"BZh", "compressed by bzip2", "unpack it: bzip2 -dc FILE | cbackprop … -"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it: xz -dc FILE | cbackprop … -"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: zstd -dc FILE | cbackprop … -"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it"),
    (b"PAR1", "a Parquet file", _AS_CSV.format("read_parquet")),
    (b"ARROW1", "an Arrow (Feather) file", _AS_CSV.format("read_feather")),
    (b"FEA1", "a Feather file", _AS_CSV.format("read_feather")),
    (b"ORC", "an ORC file", _AS_CSV.format("read_orc")),
    (b"\xd0\xcf\x11\xe0", "an old Excel (.xls) file", "save it as CSV there"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write its arrays by numpy.savez"),
    (b"SQLite format 3\0", "an SQLite database", _AS_CSV.format("read_sql")),
    (b"\x89PNG", "a picture", "write its pixels as .npy"),
    (b"\xff\xd8\xff", "a picture", "write its pixels as .npy"),
    (b"GIF8", "a picture", "write its pixels as .npy"),
    (b"\0\0", "an idx file, as MNIST's are", "--mnist takes the folder of the four idx files"),
)
# Text, or what begins like it; blanks do not count.
_TEXTS = (
    (b"matlab5.0mat-file", "a MATLAB file", "write its arrays by numpy.savez"),
    (b"rdx2", "a file of R's", "write it by write.csv(…, row.names = FALSE)"),
    (b"rdx3", "a file of R's", "write it by write.csv(…, row.names = FALSE)"),
    (b"%pdf-", "a PDF document", "write the table in it as CSV"),
    (b"<stata_dta>", "a Stata file", _AS_CSV.format("read_stata")),
    (b"$fl2", "an SPSS file", _AS_CSV.format("read_spss")),
    (b'{"', "JSON", _AS_CSV.format("read_json")),
    (b"[{", "JSON", _AS_CSV.format("read_json")),
    (b"[[", "JSON", _AS_CSV.format("read_json")),
    (b'["', "JSON", _AS_CSV.format("read_json")),
    (b"<?xml", "XML", _AS_CSV.format("read_xml")),
    (b"<!doctype", "a web page", _AS_CSV.format("read_html")),
    (b"<html", "a web page", _AS_CSV.format("read_html")),
    (b"<table", "a web page", _AS_CSV.format("read_html")),
    (b"@relation", "an ARFF file", "write it as CSV: what stands below @data is"),
)
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_ARCHIVES = (
    (
        "xl/",
        "an Excel (.xlsx) workbook",
        _AS_CSV.format("read_excel"),
    ),
    ("content.xml", "an OpenDocument file", "save it as CSV there"),
    ("META-INF/", "a Java archive", "give the table in it"),
)


def of_bytes(start: bytes) -> Kind | None:
    """The kind of a file that is neither text, nor .npy, nor a zip archive; None for others.

    Parameters
    ----------
    start : bytes
        The file's first bytes, `LONGEST` of them where there are so many.

    Returns
    -------
    Kind or None
    """
    if not is_text(start):
        for beginning, text, advice in _BEGINNINGS:
            if start.startswith(beginning):
                return Kind(text, advice)
    if start.startswith(_PICKLES):
        return Kind("a pickled object", _AS_CSV.format("read_pickle"))
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return Kind("a model file", "give MODEL first, and DATA after it")
    words = b"".join(start.removeprefix(b"\xef\xbb\xbf").lower().split())
    for beginning, text, advice in _TEXTS:
        if words.startswith(beginning):
            return Kind(text, advice)
    return None


def of_archive(names: list[str]) -> Kind:
    """The kind of a zip archive with these files in it, none of which is an array."""
    for part, text, advice in _ARCHIVES:
        if any(name.startswith(part) for name in names):
            return Kind(text, advice)
    return Kind("a zip archive", "unpack it")


def is_text(start: bytes) -> bool:
    """Whether a file that begins so may be text, as a table in CSV is."""
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
