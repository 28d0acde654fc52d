"""Tables as they come from other programs: the right thing, or one line that names what to do.

A row of the corpus is a file's text and what is right of it. What is read is shown as text, too:
names, then rows, targets behind a bar.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbackprop.tables import Form, Table, read_table

IRIS = "5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,versicolor\n6.4,3.1,versicolor\n"
INDEXED = "".join(f"{i},{row}\n" for i, row in enumerate(IRIS.split()))
WHOLE = "3,10,a\n36,0,b\n1,2,a\n" * 6
IRIS_READ = "5.1 3.5|setosa 4.9 3|setosa 7 3.2|versicolor 6.4 3.1|versicolor"


def table_of(tmp_path: Path, content: str | bytes, form: dict[str, object]) -> Table:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(str(path), Form(**form))  # type: ignore[arg-type]


def shown(table: Table) -> str:
    """The table in a line: its names where the file has them, and its rows."""
    names = [f"[{','.join(table.inputs)}]"] if table.named else []
    rows = []
    for i, row in enumerate(table.X):
        text = " ".join(f"{value:g}" for value in row)
        rows.append("|".join([text, *(f"{column[i]}" for column in table.targets)]))
    return " ".join([*names, *rows])


def refusal(tmp_path: Path, content: str | bytes, form: dict[str, object]) -> str:
    with pytest.raises(ValueError, match="expected") as caught:
        table_of(tmp_path, content, form)
    message = str(caught.value)
    assert message.isprintable()
    return message.replace(f"{tmp_path}{os.sep}", "")


LAST = {"target": -1}

# What is read: the file, what is asked of it, what it has.
READ: tuple[tuple[str | bytes, dict[str, object], str], ...] = (
    # ---- delimiters
    ("a,b\n1,2\n", {}, "[a,b] 1 2"),
    ("a;b\n1;2\n", {}, "[a,b] 1 2"),
    ("a\tb\n1\t2\n", {}, "[a,b] 1 2"),
    ("a|b\n1|2\n", {}, "[a,b] 1 2"),
    ("a b\n1 2\n", {}, "[a,b] 1 2"),
    ("1 2\n3 4\n", {}, "1 2 3 4"),
    ("  1   2\n 30  40\n", {}, "1 2 30 40"),
    ("a  b\t c\n1\t\t2 3\n10\t20   30\n", {}, "[a,b,c] 1 2 3 10 20 30"),
    ("a\t\tb\n1\t\t2\n3\t\t4\n", {}, "[a,b] 1 2 3 4"),  # doubled tabs
    ("a, b\n1, 2\n", {}, "[a,b] 1 2"),
    ('"a", "b"\n"1", "2"\n', {}, "[a,b] 1 2"),
    ("a , b\n1 , 2\n", {}, "[a,b] 1 2"),
    ("a:b\n1:2\n", {"delimiter": ":"}, "[a,b] 1 2"),
    ("a  b\n1   2\n", {"delimiter": " "}, "[a,b] 1 2"),
    ("sep=;\na;b\n1;2\n", {}, "[a,b] 1 2"),
    ("sep=\t\na\tb\n1\t2\n", {}, "[a,b] 1 2"),
    ('"sep=,"\r\na,b\r\n1,2\r\n', {}, "[a,b] 1 2"),
    ("sep=;\na|b\n1|2\n", {"delimiter": "|"}, "[a,b] 1 2"),
    ("a,b,\n1,2,\n3,4,\n", {}, "[a,b] 1 2 3 4"),  # a comma behind each row
    ("1,2,\n3,4,\n", LAST, "1|2 3|4"),
    ("a,b\n1,2,\n3,4,\n", {}, "[a,b] 1 2 3 4"),
    ("a,b,\n1,2\n3,4\n", {}, "[a,b] 1 2 3 4"),
    ("|a|b|\n|1|2|\n|3|4|\n", {}, "[a,b] 1 2 3 4"),
    ("genre;rating,year,score\nx;y,1,2\nz;w,3,4\n", {"drop": "0"}, "[year,score] 1 2 3 4"),
    ("when,v\n2020-01-01 10:00,1\n2020-01-02 11:00,2\n", {"drop": "when"}, "[v] 1 2"),
    # ---- decimal commas, and commas between thousands
    ("a;b\n1,5;2,25\n", {}, "[a,b] 1.5 2.25"),
    ("1,5;2,25\n3,5;4\n", {}, "1.5 2.25 3.5 4"),
    ("a\tb\n1,5\t2,5\n", {}, "[a,b] 1.5 2.5"),
    ("a b\n1,5 2,5\n", {}, "[a,b] 1.5 2.5"),
    ('a,b\n"1,5","2,25"\n', {}, "[a,b] 1.5 2.25"),
    ("a;b\n1.234,5;2\n1.000;3,75\n", {}, "[a,b] 1234.5 2 1000 3.75"),
    ("a;b\n0,125;1,375\n", {}, "[a,b] 0.125 1.375"),
    ("a;b\n1,5e3;,5\n-2,5;+3,\n", {}, "[a,b] 1500 0.5 -2.5 3"),
    ("a;y\n1,5;2,5\n2,5;3,5\n", LAST, "[a] 1.5|2.5 2.5|3.5"),
    ('a,b\n"1,234.5",2\n"1,000",3.5\n', {}, "[a,b] 1234.5 2 1000 3.5"),
    ('a,b\n"1,234,567",2\n1,3\n', {}, "[a,b] 1.23457e+06 2 1 3"),
    ('a,b\n"1,234",0.5\n', {}, "[a,b] 1234 0.5"),
    # ---- comments and blank lines
    ("# from a meter\n# on Monday\na,b\n1,2\n", {}, "[a,b] 1 2"),
    ('# it\'s "so", and, more\na,b\n1,2\n', {}, "[a,b] 1 2"),
    ("# one, two\na,b\n1,2\n", {}, "[a,b] 1 2"),
    ("# a,b\n1,2\n3,4\n", {}, "[a,b] 1 2 3 4"),  # as numpy.savetxt writes a header
    ("# x y\n1.5 2\n3 4\n", {}, "1.5 2 3 4"),
    ("a,b\n1,2\n# here it rained\n3,4\n", {}, "[a,b] 1 2 3 4"),
    ("#,a\n1,2\n2,3\n", {"drop": "0"}, "[a] 2 3"),
    ("id,a\n#1,2\n#2,3\n", {"drop": "id"}, "[a] 2 3"),  # no comments: as many cells as the rows
    ("\n\na,b\n\n1,2\n\n", {}, "[a,b] 1 2"),
    # ---- quotes
    ('"a,1","b ""x"""\n"1","2"\n', {}, '[a,1,b "x"] 1 2'),
    ('"a\nb",c\n1,2\n', {}, "[a\nb,c] 1 2"),
    ('a,k\n1,"x, y"\n2,z\n', LAST, "[a] 1|x, y 2|z"),
    # ---- headers
    (IRIS, LAST, IRIS_READ),
    ("a,b,kind\n" + IRIS, LAST, "[a,b] " + IRIS_READ),
    ("0,1,species\n" + IRIS, LAST, "[0,1] " + IRIS_READ),
    ("0,1,2\n" + IRIS, LAST, "[0,1] " + IRIS_READ),
    (",0,1,species\n" + INDEXED, LAST, "[0,1] " + IRIS_READ),
    ("0,1,y\n1,2,3\n4,5,6\n", LAST, "[0,1] 1 2|3 4 5|6"),
    ("2019,2020,growth\n5,6,1\n7,8,2\n", LAST, "[2019,2020] 5 6|1 7 8|2"),
    (
        "400,410,420\n0.1,0.2,0.3\n0.2,0.1,0.4\n0.3,0.3,0.1\n",
        {},
        "[400,410,420] 0.1 0.2 0.3 0.2 0.1 0.4 0.3 0.3 0.1",
    ),
    ("0,1,2\n0.5,0.25,1.0\n", {}, "[0,1,2] 0.5 0.25 1"),
    ("400.5,401,401.5,402,y\n1,2,3,4,5\n", LAST, "[400.5,401,401.5,402] 1 2 3 4|5"),
    ("1,0\n0,1\n1,1\n", {}, "1 0 0 1 1 1"),
    ("0,1\n0,x\n1,1\n", {**LAST, "mixed": True}, "0|1 0|x 1|1"),
    ("0,1\n1,0\n1,1\n", {"header": False}, "0 1 1 0 1 1"),
    ("400,410,420\n0,1.76,p\n1,2.5,q\n", LAST, "[400,410] 0 1.76|p 1 2.5|q"),
    ("0,0,0\n0,1,1\n1,0,1\n1,1,0\n", LAST, "0 0|0 0 1|1 1 0|1 1 1|0"),
    ("1,2,3\n4,5,6\n", {}, "1 2 3 4 5 6"),
    ("2,6,4\n1,2,0\n", {}, "2 6 4 1 2 0"),
    ("1,2,a\n3,4,b\n", LAST, "1 2|a 3 4|b"),
    ("0,1,a\n1,0,b\n1,1,a\n", LAST, "0 1|a 1 0|b 1 1|a"),
    ("5,2,a\n3,4,b\n5,2,a\n7,1,b\n", LAST, "5 2|a 3 4|b 5 2|a 7 1|b"),  # again, and no header
    (
        "0,1,2\n0.5,1,2\n0,1,2\n",
        {**LAST, "header": True},
        "[0,1] 0.5 1|2 0 1|2",
    ),  # an example like the header
    ("a,2\n1,2\n", {"target": "a"}, "[2] 2|1"),
    ("0,1,a\n2,3,b\n", {"target": "a"}, "[0,1] 2 3|b"),  # whoever names it knows it is a name
    ("2019,2020\n5,6\n", {"inputs": ("2020", "2019")}, "[2020,2019] 6 5"),
    ("0,1,a\n2,3,b\n", {**LAST, "header": False}, "0 1|a 2 3|b"),
    ("0,1,a\n2,3,b\n", {**LAST, "header": True}, "[0,1] 2 3|b"),
    # ---- an index, as pandas and R write it
    (",a,b\n0,1,2\n1,3,4\n", {}, "[a,b] 1 2 3 4"),
    (",a,b\n17,1,2\n4,3,4\n", {}, "[a,b] 1 2 3 4"),  # of rows that were shuffled
    (",a,b\nx,1,2\ny,3,4\n", {}, "[a,b] 1 2 3 4"),
    ("Unnamed: 0,a\n0,1\n1,3\n", {}, "[a] 1 3"),
    ('"","a","b"\n"1",1,2\n"2",3,4\n', {}, "[a,b] 1 2 3 4"),  # write.csv
    ('"a" "b"\n"1" 1 2\n"2" 3 4\n', {}, "[a,b] 1 2 3 4"),  # write.table
    ('"a" "b"\n"Mazda RX4" 1 2\n"Datsun 710" 3 4\n', {}, "[a,b] 1 2 3 4"),
    (",a\n0,1\n1,3\n", {"target": "0"}, "[a] 1|0 3|1"),  # but it may be asked for
    (",a\n0.5,1\n1.5,3\n", {}, "[column 0,a] 0.5 1 1.5 3"),  # no index
    ("a,,c\n1,2,3\n", {}, "[a,column 1,c] 1 2 3"),
    # ---- encodings and line ends
    ("é,b\n1,2\n".encode(), {}, "[é,b] 1 2"),
    ("é,b\n1,2\n".encode("utf-8-sig"), {}, "[é,b] 1 2"),
    ("é,b\n1,2\n".encode("utf-16"), {}, "[é,b] 1 2"),
    (b"\xfe\xff" + "é\tb\r\n1\t2\r\n".encode("utf-16-be"), {}, "[é,b] 1 2"),
    ("é,b\n1,2\n".encode("utf-32"), {}, "[é,b] 1 2"),
    ("é,b\n1,2\n".encode("utf-16-le"), {"encoding": "utf-16-le"}, "[é,b] 1 2"),
    ("é,b\n1,2\n".encode("latin-1"), {"encoding": "latin-1"}, "[é,b] 1 2"),
    ("€,b\n1,2\n".encode("cp1252"), {"encoding": "cp1252"}, "[€,b] 1 2"),
    ("é,b\n1,2\n".encode("utf-8-sig"), {"encoding": "UTF-8"}, "[é,b] 1 2"),
    ("a,k\n1,é\n2,ü\n".encode(), LAST, "[a] 1|é 2|ü"),
    (b"a,b\r1,2\r3,4\r", {}, "[a,b] 1 2 3 4"),
    (b"a,b\r\n1,2\r\n", {}, "[a,b] 1 2"),
    (b"a,b\r\n1,2\n3,4\r", {}, "[a,b] 1 2 3 4"),
    (b"a,b\n1,2", {}, "[a,b] 1 2"),
    # ---- numbers
    ("a,b\n+1,-.5e-3\n1.,1E2\n", {}, "[a,b] 1 -0.0005 1 100"),
    ("a,b\nTrue,1\nFALSE,2\n", {}, "[a,b] 1 1 0 2"),  # one-hot columns of pandas
    ("a,k\n1,True\n2,False\n", LAST, "[a] 1|True 2|False"),
    ("a,k\n1,none\n2,mild\n", LAST, "[a] 1|none 2|mild"),
    ("a,k\n1,+\n2,-\n", LAST, "[a] 1|+ 2|-"),
    *(
        (f"a,k\n1,{word}\n2,x\n", LAST, f"[a] 1|{word} 2|x")
        for word in ("NONE", "nil", ".", "missing", "unknown")
    ),
    ("a,k\n1,NA\n2,None\n", {**LAST, "mixed": True}, "[a] 1|NA 2|None"),
    # ---- what a model knows
    ("b,a\n1,2\n", {"inputs": ("a", "b")}, "[a,b] 2 1"),
    ("b,k,a\n1,x,2\n", {"inputs": ("a", "b"), "target": "k"}, "[a,b] 2 1|x"),
    (",b,a\n0,1,2\n", {"inputs": ("a", "b")}, "[a,b] 2 1"),
    ("1,2\n", {"inputs": ("a", "b")}, "1 2"),
    ("a,b\n1,2\n", {"inputs": (" a", "b ")}, "[a,b] 1 2"),
)


@pytest.mark.parametrize(("content", "form", "expected"), READ)
def test_read(content: str | bytes, form: dict[str, object], expected: str, tmp_path: Path) -> None:
    assert shown(table_of(tmp_path, content, form)) == expected


# What is refused, and what the line names.
REFUSED: tuple[tuple[str | bytes, dict[str, object], str], ...] = (
    # ---- delimiters
    ("a:b\n1:2\n", LAST, "--delimiter names another character"),
    ("a:b\n1:2\n", {}, "t.csv:2: column 0 ('a:b') is '1:2'; expected a number"),
    ("a,b\n1,2\n3;4\n", {}, "t.csv:3: 1 column; expected 2 as in line 1 (cells are separated by"),
    ("a,b\n1,5,2,5\n", {}, "t.csv:2: 4 columns; expected 2 as in line 1 (cells are separated by c"),
    ("a,b,\n1,2,\n" + "3,4,\n" * 300 + "5,6,7\n", {}, "t.csv:303: column 2 is '7', but has no"),
    # ---- numbers
    ("a;b\n1,234;2\n", {}, "is '1,234'; expected a number, with a point and no comma, which may"),
    ("a;b\n1,5;2\n2.5;3\n", {}, "is '1,5'; expected a number, with a point and no comma"),
    ("a;b\n" + "1,5;2\n" * 300 + "2.5;3\n", {}, "t.csv:302: column 0 ('a') is '2.5'; expected a"),
    ("a,b\n1,$5\n", {}, "t.csv:2: column 1 ('b') is '$5'; expected a number"),
    ("a,b\n1,5%\n", {}, "t.csv:2: column 1 ('b') is '5%'; expected a number"),
    ("a,b\n1,1 234\n", {}, "t.csv:2: column 1 ('b') is '1 234'; expected a number"),
    ("a,b\n1,2e999\n", {}, "is '2e999'; expected a number that float64 can hold"),
    # ---- everything that is wrong, at once
    (
        "id,day,x,y\nn1,2020-01-01,1,2\nn2,2020-01-02,,3\n",
        LAST,
        "t.csv:2: column 0 ('id') is 'n1', column 1 ('day') is '2020-01-01', column 2 ('x') is "
        "empty in line 3; expected numbers; --target and --drop name columns that are no inputs; "
        "a date is no number: give the days since some date, or year, month and weekday, as "
        "columns; what is missing is not filled in",
    ),
    ('"a,1",b,c,d\nx,1,2,1\ny,z,3,2\n', LAST, '; --drop "a,1",b leaves all out'),
    ("1,x,y,2.5\n3,z,w,2\n", LAST, "; --drop 1,2 leaves all out"),
    ("a,b\n?,2\n1,NULL\n", {}, "is '?', column 1 ('b') is 'NULL' in line 3; expected numbers; wha"),
    ("a,b,k\nx,1,p\n1,2,\n", LAST, "column 2 ('k') is empty in line 3"),
    # ---- missing values
    ("a,b\n1,\n", {}, "t.csv:2: column 1 ('b') is empty; expected a number: what is missing is no"),
    *((f"a,b\n1,{word}\n", {}, f"is '{word}'; expected a number: what is missing is not filled in")
      for word in ("NA", "nan", "NaN", "?", "-", "NULL", "#N/A", "null", "None", "<NA>", ".")),
    *((f"a,k\n1,{word}\n2,x\n", LAST,
       f"t.csv:2: column 1 ('k') is '{word}'; expected a number or the name of a class: what is "
       "missing is not filled in (--task classification takes it for a name)")
      for word in ("NA", "na", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "NULL", "?", "None")),
    ("a,k\n1,\n2,x\n", LAST, "t.csv:2: column 1 ('k') is empty; expected a number or the name"),
    ("?,?,setosa\n1.5,2,setosa\n", LAST, "t.csv:1: column 0 is '?', column 1 is '?'; expected num"),
    # ---- headers: what cannot be known
    ("0,1\n1,0\n1,1\n", {}, "expected --header or --no-header, which say it"),
    ("2000,2001\n0.48,0\n0.96,2\n0.4,2\n", LAST, "expected --header or --no-header, which say"),
    ("0,no\n1,yes\n", LAST, "t.csv:1: the first row may be the columns' names, and it may be an"),
    ("0,1,a\n2,3,b\n", LAST, "expected --header or --no-header, which say it"),
    ("0,1,2\n3,4,5\n6,7,8\n", LAST, "expected --header or --no-header, which say it"),
    ("2019,2020,2021\n1500,2500,3500\n2100,100,2200\n", LAST, "expected --header or --no-header"),
    ("5.1,x,1.4\n4.9,3.0,1.3\n", LAST, "expected --header or --no-header"),
    ("1,2,klass\n" + WHOLE, LAST, "expected --header or --no-header"),
    ("1,klass,2\n" + "3,a,4\n5,b,6\n" * 9 + "1,klass,2\n7,c,8\n", {"target": "1"}, "--no-header"),
    ("10,20,klass\n" + WHOLE + "7,8,once\n", LAST, "expected --header or --no-header"),
    # ---- headers that come again
    ("a,b,klass\n" + WHOLE + "a,b,klass\n", LAST, "t.csv:20: the header comes again; expected"),
    ("a,b,klass\n1,2,p\na,b,klass\n3,4,q\n5,6,q\n", LAST, "t.csv:3: the header comes again"),
    ("a,b\n1,2\na,b\n3,4\n5,6\n", LAST, "t.csv:3: the header comes again; expected an"),
    ("1,2,klass\n" + WHOLE + "1,2,klass\n", {**LAST, "header": True}, "t.csv:20: the header comes"),
    ("a,b,klass\n" + WHOLE + "b,a,klass\n", LAST, "t.csv:20: column 0 ('a') is 'b', column 1"),
    ("x,y,p\nz,1,p\nw,2,p\n", {"target": "0"}, "; expected"),
    # ---- encodings
    ("é,b\n1,2\n".encode("latin-1"), {}, "column 0 has the byte 0xe9, which is no UTF-8; expected"),
    ("é,b\n1,2\n".encode("utf-16-le"), {}, "t.csv has NUL bytes; expected CSV, .npy or .npz (--en"),
    ("a,b\n1,2\n".encode("utf-16-be"), {}, "--encoding utf-16-be if it is text in UTF-16"),
    ("a,b\n1,2\n", {"encoding": "utf-9"}, "encoding is 'utf-9'; expected the name of one, such as"),
    ("a,b\n1,2\n", {"encoding": "hex"}, "encoding is 'hex'; expected the name of one"),
    ("a,b\n1,2\n", {"encoding": "a\0b"}, "expected the name of one"),
    ("a,b\n1,2\n", {"encoding": "utf-16"}, "expected"),
    (b"a,b\n1,\x81\n", {"encoding": "cp1252"}, "has the byte 0x81, which is no cp1252; expected"),
    (b"\xff\xfea\0,\0b\0\n\0001", {}, "t.csv is no text in utf-16: "),
    # ---- files that are no tables
    (b"\x1f\x8b\x08\0\0", {}, "t.csv is compressed by gzip; expected CSV, .npy or .npz: unpack it"),
    (b"BZh91AY&SY\0\1", {}, "is compressed by bzip2; expected"),
    (b"\xfd7zXZ\0\0", {}, "is compressed by xz; expected"),
    (b"\x28\xb5\x2f\xfd\4", {}, "is compressed by zstd; expected"),
    (b"PAR1\x15\4\x15", {}, "is a Parquet file; expected CSV, .npy or .npz: write it as CSV, for "),
    (b"ARROW1\0\0", {}, "is an Arrow (Feather) file; expected"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, "is an old Excel (.xls) file; expected"),
    (b"\x89HDF\r\n\x1a\n", {}, "is an HDF5 file; expected"),
    (b"SQLite format 3\0", {}, "is an SQLite database; expected"),
    (b"\x80\4\x95\0", {}, "is a pickled object; expected"),
    ('[{"a": 1}]', {}, "is JSON; expected CSV, .npy or .npz: write it as CSV"),
    ('{"a": [1]}', {}, "is JSON; expected"),
    ("<!DOCTYPE html>\n<p>", {}, "is a web page; expected"),
    ("@RELATION iris\n", {}, "is an ARFF file; expected"),
    (b"%PDF-1.7\n", {}, "is a PDF document; expected"),
    (b"\x40\0\0\0\0\0\0\0{", {}, "is a model file; expected CSV, .npy or .npz: give MODEL first"),
    # ---- nothing in it
    ("", {}, "t.csv is empty"),
    ("\n\n", {}, "t.csv is empty"),
    ("# nothing\n", LAST, "expected"),
    ("sep=;\n", {}, "t.csv is empty"),
    ("a,b\n", {}, "t.csv has a header and no rows"),
    ('a,b\n1,"2\n', {}, "t.csv:2: unexpected end of data; expected CSV, its quotes in pairs"),
    ("a b\n1 \"2\n", {}, "expected"),
    # ---- what a model knows
    ("a,c\n1,2\n", {"inputs": ("a", "b")}, "without 'b' and with 'c'; expected the model's"),
    ("a,b,c\n1,2,x\n", {"inputs": ("a", "b")}, "with 'c'; expected the model's 2, 'a', 'b': --"),
    ("a,a,b\n1,2,3\n", {"inputs": ("a", "b")}, "'a', 'a', 'b', with 'a' 2 times; expected the"),
)  # fmt: skip


@pytest.mark.parametrize(("content", "form", "expected"), REFUSED)
def test_refused(
    content: str | bytes, form: dict[str, object], expected: str, tmp_path: Path
) -> None:
    assert expected in refusal(tmp_path, content, form)
