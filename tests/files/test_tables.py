"""Tables of examples from files: what is read, and what is refused with its line and column."""

from __future__ import annotations

import io
import os
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cbackprop.tables import Form, Table, read_table


def table(tmp_path: Path, content: str | bytes, **form: object) -> Table:
    """What is read from a file of this content."""
    path = tmp_path / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(str(path), Form(**form))  # type: ignore[arg-type]


def refusal(tmp_path: Path, content: str | bytes, **form: object) -> str:
    """The message about a file of this content, without the folder's name."""
    with pytest.raises(ValueError, match="expected") as caught:
        table(tmp_path, content, **form)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path}{os.sep}", "")


# ---- CSV ----------------------------------------------------------------------------------------


def test_header_and_named_target(tmp_path: Path) -> None:
    read = table(tmp_path, "length,kind,width\n1.5,b,2\n-3e2,a,+.25\n", target="kind")
    assert read.X.dtype == np.float64
    assert read.X.tolist() == [[1.5, 2.0], [-300.0, 0.25]]
    assert read.inputs == ("length", "width")
    assert read.target_names == ("kind",)
    assert [column.tolist() for column in read.targets] == [["b", "a"]]


def test_no_header_and_the_last_column(tmp_path: Path) -> None:
    read = table(tmp_path, "1,2,3\n4,5,6\n", target="-1")
    assert read.X.tolist() == [[1, 2], [4, 5]]
    assert read.inputs == ("column 0", "column 1")
    assert read.target_names == ("column 2",)
    assert read.targets[0].tolist() == [3, 6]
    assert read.targets[0].dtype == np.int64


def test_no_target(tmp_path: Path) -> None:
    read = table(tmp_path, "1,2\n")
    assert read.X.tolist() == [[1, 2]]
    assert read.targets == read.target_names == ()


@pytest.mark.parametrize(
    ("content", "header", "rows"),
    [
        ("a,b\n1,2\n", None, 1),
        ("a,2\n1,2\n", True, 1),  # numbers in it: only if said
        ("1,2\n3,4\n", True, 1),
        ("1,2\n3,4\n", None, 2),
        ("1,2\n3,4\n", False, 2),
        (",a\n0,2\n", None, 1),  # as pandas writes an index
    ],
)
def test_header(tmp_path: Path, content: str, header: bool | None, rows: int) -> None:
    assert len(table(tmp_path, content, header=header).X) == rows


def test_a_first_line_of_names_is_a_header_and_text_in_it_no_data(tmp_path: Path) -> None:
    """Iris as it is published: no header, the last cell a name."""
    read = table(tmp_path, "5.1,3.5,setosa\n7.0,3.2,versicolor\n", target="-1")
    assert read.targets[0].tolist() == ["setosa", "versicolor"]


@pytest.mark.parametrize(
    ("target", "drop", "inputs"),
    [
        ("id", "y", [[2.0]]),
        ("0", "2", [[2.0]]),
        ("-1", "0", [[2.0]]),
        ("y,id", None, [[2.0]]),
        ("0, y", None, [[2.0]]),
        (None, "id", [[2.0, 3.0]]),
    ],
)
def test_columns(tmp_path: Path, target: str | None, drop: str | None, inputs: object) -> None:
    assert table(tmp_path, "id,x,y\n1,2,3\n", target=target, drop=drop).X.tolist() == inputs


def test_a_name_comes_before_a_number_and_may_have_a_comma(tmp_path: Path) -> None:
    assert table(tmp_path, "2,1,0\n7,8,9\n", header=True, target="2").targets[0].tolist() == [7]
    assert table(tmp_path, '"a,b",c\n7,8\n', target="a,b").targets[0].tolist() == [7]


def test_targets_keep_their_order(tmp_path: Path) -> None:
    read = table(tmp_path, "a,b,c\n1,2,3.5\n", target="c,a")
    assert read.target_names == ("c", "a")
    assert [column.tolist() for column in read.targets] == [[3.5], [1]]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,2\n", None),
        ("a;b\n1;2\n", None),
        ("a\tb\n1\t2\n", None),
        ("a|b\n1|2\n", "|"),
        ("a b\n1 2\n", " "),
        ('"a";"b"\n"1";"2"\n', None),
        ("\ufeffa,b\n1,2\n", None),
        ("a,b\r\n1,2\r\n", None),
        ("a,b\n\n1, 2 \n\n   \n", None),
        ("a,b\n1,2", None),
    ],
)
def test_forms_of_csv(tmp_path: Path, content: str, delimiter: str | None) -> None:
    read = table(tmp_path, content, delimiter=delimiter)
    assert read.X.tolist() == [[1, 2]]
    assert read.inputs == ("a", "b")


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(50, 3)) * 10.0 ** np.arange(-200, 400, 200)
    content = "\n".join(",".join(repr(float(x)) for x in row) for row in numbers)
    assert (table(tmp_path, content).X == numbers).all()
    # Their sum overflows, none of them does.
    assert table(tmp_path, "1e308,1e308\n").X.tolist() == [[1e308, 1e308]]


@pytest.mark.parametrize(
    ("cells", "values", "dtype"),
    [
        ("3 -1 7", [3, -1, 7], np.int64),
        ("3.0 1 2.00", [3, 1, 2], np.int64),
        ("3.5 1 2", [3.5, 1, 2], np.float64),
        ("1e300 1 2", [1e300, 1, 2], np.float64),
        ("b a é", ["b", "a", "é"], np.str_),
    ],
)
def test_kinds_of_targets(tmp_path: Path, cells: str, values: list[object], dtype: type) -> None:
    rows = "".join(f"1,{cell}\n" for cell in cells.split())
    (column,) = table(tmp_path, rows, target="-1").targets
    assert column.tolist() == values
    assert np.issubdtype(column.dtype, dtype)


def test_mixed_targets_are_names_where_that_is_allowed(tmp_path: Path) -> None:
    (column,) = table(tmp_path, "1,2\n1,x\n", target="-1", mixed=True).targets
    assert column.tolist() == ["2", "x"]


def test_a_column_that_is_dropped_may_hold_anything(tmp_path: Path) -> None:
    assert table(tmp_path, "n,a\nx,1\n,2\n", drop="n").X.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        # Cells
        ("a,b\n1,2\n3,x\n", {}, "data.csv:3: column 1 ('b') is 'x'; expected a number"),
        ("1,2\n3,x\n", {}, "data.csv:2: column 1 is 'x'; expected a number"),
        ("a,b\n1,\n", {}, "data.csv:2: column 1 ('b') is empty; expected a number: what is"),
        ("a,b\n1,nan\n", {}, "data.csv:2: column 1 ('b') is 'nan'; expected a number: what is"),
        ("a,b\n1,NA\n", {}, "column 1 ('b') is 'NA'; expected a number: what is missing is not"),
        ("a,b\n1,-inf\n", {}, "column 1 ('b') is '-inf'; expected a number"),
        ("a,b\n1,1e999\n", {}, "is '1e999'; expected a number that float64 can hold"),
        ("a,b\n1,1_000\n", {}, "is '1_000'; expected a number"),
        ("a,b\n1,٣\n", {}, "is '٣'; expected a number"),
        ("a,b\n1,0x10\n", {}, "is '0x10'; expected a number"),
        ("a;b\n1;2,500\n", {}, "is '2,500'; expected a number, with a point and no comma"),
        ("1.5,2\nx,2\n", {}, "data.csv:2: column 0 is 'x'; expected a number; --target and"),
        ("a,b\n1,2\n", {"header": False}, "data.csv:1: column 0 is 'a', column 1 is 'b'; expected"),
        ('a,b\n"1\n",2\nx,2\n', {}, "data.csv:4: column 0 ('a') is 'x'"),  # after a cell of 2 lines
        ("a,b\n1," + "x" * 200 + "\n", {}, "...; expected a number"),
        # Targets
        ("a,b\n1,\n", {"target": "b"}, "data.csv:2: column 1 ('b') is empty; expected a number or"),
        ("1,2\n1,x\n", {"target": "1"}, ":2: column 1 is 'x', no number, unlike '2' in line 1"),
        ("1,x\n1,x\n1,2\n", {"target": "1"}, ":3: column 1 is '2', a number, unlike 'x' in line"),
        ("1,2\n1,1e999\n", {"target": "1"}, ":2: column 1 is '1e999'; expected a number that"),
        # Rows
        ("a,b\n1,2\n3\n", {}, "data.csv:3: 1 column; expected 2 as in line 1"),
        ("a,b\n\n1,2,3\n", {}, "data.csv:3: 3 columns; expected 2 as in line 1"),
        ("", {}, "data.csv is empty; expected rows of numbers"),
        ("\n \n", {}, "data.csv is empty; expected rows of numbers"),
        ("a,b\n", {}, "data.csv has a header and no rows"),
        ('a,b\n1,"2\n', {}, "data.csv:2: unexpected end of data; expected CSV"),
        ('a,b\n1,"2"3\n', {}, "data.csv:2: ',' expected after '\"'; expected CSV"),
        ("a,b\n1," + "9" * 140_000 + "\n", {}, "data.csv:2: field larger than field limit"),
        # Bytes
        (b"a,b\n1,2\n1,\xe9\n", {}, "data.csv:3: column 1 has the byte 0xe9, which is no UTF-8"),
        (b"a,\xff\n1,2\n", {}, "data.csv:1: column 1 has the byte 0xff, which is no UTF-8"),
        (b"a,b\n1,\xe9\n", {"target": "1"}, "data.csv:2: column 1 has the byte 0xe9"),
        (b"\x1f\x8b\x08\x00", {}, "data.csv is compressed by gzip"),
        (b"\x00\x00\x08\x01", {}, "data.csv is an idx file, as MNIST's are; expected CSV, .npy or"),
        # Columns
        ("a,b\n1,2\n", {"target": "bb"}, "target is 'bb'; expected one of 'a', 'b', or a column's"),
        ("a,bee\n1,2\n", {"target": "be"}, "; did you mean 'bee'?"),
        ("1,2\n", {"target": "b"}, "target is 'b'; expected a column's number, 0 to 1 or -2 to -1"),
        ("1,2\n", {"target": "2"}, "target is '2'; expected a column's number, 0 to 1"),
        ("1,2\n", {"target": "-3"}, "target is '-3'; expected a column's number, 0 to 1"),
        ("1,2\n", {"target": ""}, "target is ''; expected a column's number"),
        ("1,2,3\n", {"target": "0,0"}, "target is '0,0'; it has column 0 twice, expected it once"),
        ("1,2,3\n", {"drop": "9"}, "drop is '9'; expected a column's number"),
        ("1,2,3\n", {"target": "0", "drop": "0,1"}, "drop is '0,1'; it has column 0, a target"),
        (
            "1,2\n",
            {"target": "0", "drop": "1"},
            "of 2 columns 1 is a target and 1 is dropped; expected one more",
        ),
        (
            "a,a\n1,2\n",
            {"target": "a"},
            "target is 'a', the name of 2 columns; expected a column's",
        ),
        # What else a file can be asked for
        ("1,2\n", {"delimiter": ";;"}, "delimiter is ';;'; expected one character"),
        ("1,2\n", {"delimiter": "\n"}, "delimiter is '\\n'; expected one character"),
        ("1,2\n", {"x_key": "a"}, "x_key is 'a'; expected none: data.csv is no .npz file"),
    ],
)
def test_refused_csv(
    tmp_path: Path, content: str | bytes, form: dict[str, object], message: str
) -> None:
    assert message in refusal(tmp_path, content, **form)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(str(tmp_path / "none.csv"), Form())
    with pytest.raises(IsADirectoryError if os.name != "nt" else PermissionError):
        read_table(str(tmp_path), Form())


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(b"a,b\n1,2\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert read_table("-", Form(target="b")).X.tolist() == [[1]]
    assert not raw.closed
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,x\n")))
    with pytest.raises(ValueError, match=r"^<stdin>:2: column 1 "):
        read_table("-", Form())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        read_table("-", Form())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe(tmp_path: Path) -> None:
    """What a shell's <(command) gives."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("a,b\n1,2\n",))
    writer.start()
    assert read_table(str(path), Form()).X.tolist() == [[1, 2]]
    writer.join()


# ---- arrays -------------------------------------------------------------------------------------


def saved(path: Path, array: object) -> str:
    np.save(path, np.asarray(array))
    return str(path)


def test_npy(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", np.array([[1, 2, 3], [4, 5, 6.5]], dtype=np.float32))
    read = read_table(path, Form(target="-1", drop="0"))
    assert read.X.dtype == np.float64
    assert read.X.tolist() == [[2], [5]]
    assert read.inputs == ("column 1",)
    assert read.targets[0].tolist() == [3, 6.5]


def test_a_file_is_what_its_content_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", [[1, 2]])
    (tmp_path / "a.csv").write_bytes(Path(path).read_bytes())
    assert read_table(str(tmp_path / "a.csv"), Form()).X.tolist() == [[1, 2]]


@pytest.mark.parametrize("names", [("X", "Y"), ("x", "y")])
def test_npz(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "a.npz"
    pictures = np.arange(12).reshape(2, 2, 3)
    np.savez(path, **{names[0]: pictures, names[1]: np.array([7, 9], dtype=np.uint8)})
    read = read_table(str(path), Form(target="-1"))
    assert (read.X == pictures.reshape(2, 6)).all()
    assert read.targets[0].tolist() == [7, 9]
    assert read.target_names == (names[1],)
    assert read_table(str(path), Form()).targets == ()
    swapped = read_table(str(path), Form(x_key=names[0], y_key=names[1], target="-1", drop="0"))
    assert swapped.X.shape == (2, 5)


@pytest.mark.parametrize(
    ("targets", "columns"),
    [
        (["b", "a"], [["b", "a"]]),
        ([True, False], [["True", "False"]]),
        ([[1.5, 2], [3, 4]], [[1.5, 3], [2, 4]]),
        ([[1], [0]], [[1, 0]]),
    ],
)
def test_npz_targets(tmp_path: Path, targets: object, columns: object) -> None:
    np.savez(tmp_path / "a.npz", X=np.eye(2), Y=np.array(targets))
    read = read_table(str(tmp_path / "a.npz"), Form(target="-1"))
    assert [column.tolist() for column in read.targets] == columns


def test_npz_of_one_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", table=np.array([[1, 2, 3]]))
    read = read_table(str(tmp_path / "a.npz"), Form(target="0"))
    assert read.X.tolist() == [[2, 3]]
    assert read.targets[0].tolist() == [1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]]), f"its array has dtype {np.dtype('U1')}; expected numbers"),
        (np.array([[1j, 2]]), "its array has dtype complex128; expected numbers"),
        (np.array([1, 2]), "its array has shape (2,); expected (rows, columns)"),
        (np.zeros((0, 3)), "its array has shape (0, 3); expected (rows, columns)"),
        (np.array(3.0), "its array has shape (); expected (rows, columns)"),
        (np.array([[1, 2], [3, np.nan]]), "has nan in row 1, column 1; expected finite numbers"),
        (np.array([[np.inf, 2]]), "has inf in row 0, column 0; expected finite numbers"),
        (np.array([[None]], dtype=object), "is no whole .npy file of numbers or text"),
    ],
)
def test_refused_npy(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"expected|no whole") as caught:
        read_table(str(tmp_path / "a.npy"), Form())
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("size", [7, 40, 130])
def test_truncated_arrays(tmp_path: Path, size: int) -> None:
    whole = Path(saved(tmp_path / "a.npy", [[1.0, 2.0]])).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r"is no whole \.npy file"):
        read_table(str(tmp_path / "a.npy"), Form())
    np.savez_compressed(tmp_path / "a.npz", X=np.eye(3))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r"is no whole \.npz file"):
        read_table(str(tmp_path / "a.npz"), Form())


def test_damaged_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", X=np.random.default_rng(0).normal(size=(40, 5)))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[300] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"is no whole \.npz file"):
        read_table(str(tmp_path / "a.npz"), Form())


def test_a_zip_file_of_something_else(tmp_path: Path) -> None:
    for name, told in (
        ("xl/workbook.xml", r"an Excel \(.xlsx\) workbook"),
        ("a.csv", "a zip arch"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, "<cells/>")
        with pytest.raises(ValueError, match=rf"is {told}.*; expected CSV, .npy or .npz: "):
            read_table(str(tmp_path / "a.zip"), Form())


@pytest.mark.parametrize(
    ("arrays", "form", "message"),
    [
        ({"a": np.eye(2), "b": np.eye(2)}, {}, "has the arrays 'a', 'b'; expected X or x for"),
        ({"X": np.eye(2)}, {"x_key": "Z"}, "x_key is 'Z'; expected one of the arrays of"),
        ({"X": np.eye(2)}, {"y_key": "Z"}, "y_key is 'Z'; expected one of the arrays of"),
        ({"X": np.eye(2)}, {"x_key": "X", "y_key": "X"}, "has the arrays 'X'; expected X or x"),
        ({"X": np.eye(2), "Y": np.ones(3)}, {}, "array 'Y' has shape (3,); expected 2 rows"),
        ({"X": np.eye(2), "Y": np.array(3)}, {}, "array 'Y' has shape (); expected 2 rows"),
        ({"X": np.eye(2), "Y": np.ones((2, 0))}, {}, "array 'Y' has shape (2, 0); expected 2"),
        ({"X": np.eye(2), "Y": np.ones(2)}, {"target": "0"}, "target is '0'; expected none,"),
        (
            {"X": np.eye(2), "Y": np.array([1, np.nan])},
            {"target": "-1"},
            "array 'Y' has nan in row 1, column 0; expected finite numbers",
        ),
        ({"X": np.eye(2), "Y": np.ones(2)}, {"header": True}, "header is True; expected none:"),
        ({"X": np.eye(2), "Y": np.ones(2)}, {"delimiter": ";"}, "delimiter is ';'; expected none"),
    ],
)
def test_refused_npz(
    tmp_path: Path, arrays: dict[str, np.ndarray], form: dict[str, object], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match="expected") as caught:
        read_table(str(tmp_path / "a.npz"), Form(**form))  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.array([[None]], dtype=object))
    with pytest.raises(ValueError, match=r"is no whole \.npz file.*allow_pickle=False"):
        read_table(str(tmp_path / "a.npz"), Form())
