"""Tables with named columns: put in the order of the network's, refused where they are others.

Stand-ins have what is looked at of pandas, polars and pyarrow; the libraries themselves are tried
where they are installed.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from support import both_dtypes, data, every_backend, state

from cbackprop import Network
from cbackprop.datasets import one_hot

SIZES = [3, 4, 2]
NAMES, CLASSES = ("age", "dose", "Größe"), ("no", "yes")
X, Y = data(24, (3, 2))


class Table:
    """As pandas and polars have them: `columns` are labels."""

    def __init__(self, content, columns):
        self.content, self.columns = np.asarray(content), list(columns)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.content, dtype=dtype)

    def chosen(self, *labels):
        """Some of its columns, in this order."""
        return type(self)(self.content[:, [self.columns.index(label) for label in labels]], labels)


class ArrowTable(Table):
    """As pyarrow has them: `columns` are the columns themselves."""

    def __init__(self, content, columns):
        super().__init__(content, columns)
        self.column_names, self.columns = self.columns, list(self.content.T)

    def chosen(self, *labels):
        places = [self.column_names.index(label) for label in labels]
        return type(self)(self.content[:, places], labels)


class Struct(Table):
    """As polars has a column of structs: its type has fields, in order."""

    def __init__(self, content, columns):
        super().__init__(content, columns)
        self.dtype = SimpleNamespace(fields=[SimpleNamespace(name=name) for name in columns])
        del self.columns


class Row:
    """One example of a pandas table."""

    ndim, iloc = 1, ()

    def __init__(self, content, index):
        self.content, self.index = np.asarray(content), list(index)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.content, dtype=dtype)


def pandas_table(content, columns):
    return pytest.importorskip("pandas").DataFrame(content, columns=list(columns))


def polars_table(content, columns):
    return pytest.importorskip("polars").DataFrame(content, schema=list(columns))


def polars_struct(content, columns):
    return polars_table(content, columns).to_struct("row")


def arrow_table(content, columns):
    return pytest.importorskip("pyarrow").table(list(content.T), names=list(columns))


MAKERS = {
    "Table": Table,
    "ArrowTable": ArrowTable,
    "Struct": Struct,
    "pandas": pandas_table,
    "polars": polars_table,
    "polars struct": polars_struct,
    "pyarrow": arrow_table,
}
every_library = pytest.mark.parametrize("library", MAKERS)


def reversed_columns(library, content, names):
    return MAKERS[library](content[:, ::-1], names[::-1])


def named(backend="compiled", dtype="float64", **options):
    about = {"feature_names": NAMES, "class_names": CLASSES} | options
    return Network(SIZES, seed=3, backend=backend, dtype=dtype, **about)


# ---- by name -------------------------------------------------------------------------------------


def answers(net, x, y):
    """What every call that takes X, or X and Y, gives for them, as bytes; training comes last."""
    found = {}
    for name in ("predict", "jacobian", "input_jacobian"):
        found[name] = getattr(net, name)(x)
    found["predict into out"] = net.predict(x, np.empty((len(X), 2), net.dtype))
    found["forward"] = net.forward(x).a[1]
    found["backward"] = net.backward(x, y).delta[1]
    found["cost"] = net.cost(x, y)
    for name in ("gradient_norms", "input_gradient", "gradient_gram"):
        found[name] = getattr(net, name)(x, y)
    found["gradient"] = net.gradient(x, y).vector
    found["per example"] = net.gradient(x, y, per_example=True).vector
    found["clipped_gradient"] = net.clipped_gradient(x, y, 0.5).vector
    found["gradient_moments"] = net.gradient_moments(x, y)[1].vector
    for name in ("hessian_vector_product", "gauss_newton_vector_product"):
        found[name] = getattr(net, name)(x, y, np.ones(net.n_parameters))
    found["second set"] = net.gradient_gram(X, Y, x, y)
    found["score"] = net.score(x, y, "mse")
    found["check_gradient"] = net.check_gradient(x, y).max_relative_error
    found["stepper_html"] = net.stepper_html(x, y, steps=3)
    history = net.fit(x, y, epochs=2, validation_data=(x, y), metrics=["mae"])
    found["fit"] = [*history.cost, *history.validation_cost, *history.metrics["mae"]]
    net.partial_fit(x, y)
    found["state"] = state(net).parameters
    return {
        name: value if isinstance(value, (str, bytes)) else np.asarray(value).tobytes()
        for name, value in found.items()
    }


@every_backend
@both_dtypes
@every_library
def test_columns_in_another_order_give_the_same_bits(library, dtype, backend):
    x, y = reversed_columns(library, X, NAMES), reversed_columns(library, Y, CLASSES)
    right = answers(named(backend, dtype), X, Y)
    found = answers(named(backend, dtype), x, y)
    assert [name for name in right if right[name] != found[name]] == []
    # And by position they are others.
    wrong = answers(named(backend, dtype), X[:, ::-1], Y[:, ::-1])
    assert [name for name in right if right[name] == wrong[name]] == []


def row_stand_in(content, index):
    return Row(content, index)


def pandas_row(content, index):
    return pytest.importorskip("pandas").Series(content, index=list(index))


@every_backend
@pytest.mark.parametrize("row", [row_stand_in, pandas_row])
def test_one_example_of_a_table(row, backend):
    """A row of pandas' has the columns' names as labels."""
    x, y = row(X[0, ::-1], NAMES[::-1]), row(Y[0, ::-1], CLASSES[::-1])
    net, twin = named(backend), named(backend)
    assert net.predict(x).tobytes() == twin.predict(X[0]).tobytes()
    assert net.cost(x, y) == twin.cost(X[0], Y[0])
    assert str(net.chain_rule(x, y)) == str(twin.chain_rule(X[0], Y[0]))
    net.partial_fit(x, y)
    twin.partial_fit(X[0], Y[0])
    assert state(net) == state(twin)
    with pytest.raises(ValueError, match=r"^X has the columns .* without 'age' and with 'years'"):
        net.predict(row(X[0], ("years", "dose", "Größe")))


@every_backend
def test_labels_that_are_no_names_go_by_position(backend):
    """pandas' own numbers and years; an only number has one place, whatever it is called."""
    net, plain = named(backend), Network(SIZES, seed=3, backend=backend)
    for labels in (
        [0, 1, 2],
        [2, 1, 0],
        [1.5, 2.5, 3.5],
        [("a", 1), ("a", 2), ("b", 1)],
        [[], 0, ()],
    ):
        numbers = all(isinstance(label, (int, float)) for label in labels)
        for each in (net, plain) if numbers else (plain,):  # where there are no names to miss
            assert each.predict(Table(X, labels)).tobytes() == each.predict(X).tobytes()
            each.partial_fit(Table(X, labels), Y)
    assert net.feature_names == NAMES
    assert plain.feature_names is None
    single = Network([1, 1], seed=0, feature_names=["x"], backend=backend)
    assert single.predict(Row([0.5], ["row 7"])) == single.predict([0.5])
    # Two names of one output are those of its targets.
    single.class_names = ("no", "yes")
    single.fit(Table(X[:, :1], ["x"]), Table(Y[:, :1], ["answer"]), epochs=1)
    assert single.class_names == ("no", "yes")
    single.class_names = ["price"]
    with pytest.raises(ValueError, match=r"^Y has the columns .* without 'price' and with "):
        single.cost(Table(X[:, :1], ["x"]), Table(Y[:, :1], ["answer"]))


# ---- what is refused -----------------------------------------------------------------------------

OTHERS = {
    "another": (
        ("age", "dose", "size"),
        "X has the columns ['age', 'dose', 'size'], without 'Größe' and with 'size'; expected "
        "those of feature_names, ['age', 'dose', 'Größe'], in any order (an array goes by "
        "position)",
    ),
    "one more": (
        ("id", "age", "dose", "Größe"),
        "X has the columns ['id', 'age', 'dose', 'Größe'], with 'id'; expected those",
    ),
    "one less": (("age", "dose"), "X has the columns ['age', 'dose'], without 'Größe'; expected"),
    "one twice": (
        ("age", "dose", "Größe", "dose"),
        "X has the columns ['age', 'dose', 'Größe', 'dose'], with 'dose' 2 times; expected",
    ),
    "one twice for another": (
        ("age", "age", "dose"),
        "X has the columns ['age', 'age', 'dose'], without 'Größe'; expected those",
    ),
    "another case": (("Age", "dose", "Größe"), "X has the columns ['Age', 'dose', 'Größe'], with"),
    "a number among them": (("age", "dose", 3), "X has the columns ['age', 'dose', 3], without"),
    "many": (
        tuple(f"x{i}" for i in range(50)),
        "X has the columns ['x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8', 'x..., without "
        "'age', 'dose', 'Größe' and with 'x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7' and "
        "42 more; expected those",
    ),
}


@every_backend
@pytest.mark.parametrize("case", OTHERS)
def test_other_columns_are_refused(case, backend):
    """By every call, which leaves everything as it was."""
    labels, message = OTHERS[case]
    net = named(backend).partial_fit(X, Y)
    before = state(net)
    x = Table(np.ones((24, len(labels))), labels)
    calls = {name: (lambda name=name: getattr(net, name)(x)) for name in ("predict", "forward")}
    for name in ("cost", "gradient", "gradient_norms", "score", "fit", "partial_fit"):
        calls[name] = lambda name=name: getattr(net, name)(x, Y)
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
            call()
        assert len(str(caught.value)) < 400, name
    for argument, call in (
        ("X2", lambda: net.gradient_gram(X, Y, x, Y)),
        (r"validation_data\[0\]", lambda: net.fit(X, Y, validation_data=(x, Y))),
    ):
        with pytest.raises(ValueError, match=rf"^{argument} has the column"):
            call()
    with pytest.raises(ValueError, match=r"^Y has the columns .* without 'no' and with 'maybe'"):
        net.fit(X, Table(Y, ["maybe", "yes"]))
    with pytest.raises(ValueError, match=r"^validation_data\[1\] has the columns .* with 'maybe'"):
        net.fit(X, Y, validation_data=(X, Table(Y, ["maybe", "yes"])))
    assert state(net) == before


def test_columns_that_are_not_what_they_say():
    x = Table(X[:, :2], ("Größe", "dose", "age"))
    with pytest.raises(ValueError, match=r"^X has 3 columns and the shape \(24, 2\); expected as"):
        named().predict(x)


# ---- names that a training takes -----------------------------------------------------------------


@every_backend
@every_library
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_a_training_takes_the_names_of_the_columns(call, library, backend):
    make = MAKERS[library]
    net = Network(SIZES, seed=3, backend=backend)
    for look in (net.predict, net.forward):
        look(make(X, NAMES))
    net.cost(make(X, NAMES), make(Y, CLASSES))
    assert (net.feature_names, net.class_names) == (None, None)
    getattr(net, call)(make(X, NAMES), make(Y, CLASSES))
    assert (net.feature_names, net.class_names) == (NAMES, CLASSES)
    assert {type(name) for name in net.feature_names + net.class_names} == {str}
    right = net.predict(X)
    assert net.predict(reversed_columns(library, X, NAMES)).tobytes() == right.tobytes()
    # It keeps them, also from a table with others and over a reset.
    with pytest.raises(ValueError, match=r"^X has the columns .* expected those of feature_names"):
        getattr(net, call)(make(X, ("a", "b", "c")), Y)
    net.reset(3)
    getattr(net, call)(X, Y)
    assert (net.feature_names, net.class_names) == (NAMES, CLASSES)


@every_backend
def test_a_network_with_names_keeps_its_own(backend):
    net = named(backend, class_names=None)
    net.fit(Table(X, NAMES).chosen("Größe", "age", "dose"), Table(Y, CLASSES), epochs=1)
    assert (net.feature_names, net.class_names) == (NAMES, CLASSES)


@every_backend
@pytest.mark.parametrize("labels", [[0, 1, 2], [("a", 1), ("a", 2), ("b", 1)], [None] * 3])
def test_labels_without_a_text_are_not_taken_for_names(labels, backend):
    net, twin = (Network(SIZES, seed=3, backend=backend) for _ in range(2))
    net.fit(Table(X, labels), Y, epochs=1)
    twin.fit(X, Y, epochs=1)
    assert state(net) == state(twin)


@every_backend
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["a", "b", 3], TypeError, r" has the columns \['a', 'b', 3\], with 3 beside text"),
        ([("a", 1), "b", "c"], TypeError, r" has the columns .*, with \('a', 1\) beside text"),
        (["a", "b", "a"], ValueError, r"\.columns has 'a' 2 times"),
        (["a", "b", "\ud800"], ValueError, r"\.columns\[2\] is .*; expected Unicode"),
    ],
)
def test_names_that_no_network_can_have(labels, error, message, call, backend):
    three_and_three = Network([3, 3], seed=3, backend=backend)
    for net, argument, x, y in (
        (Network(SIZES, seed=3, backend=backend), "X", Table(X, labels), Y),
        (three_and_three, "Y", X, Table(X, labels)),
    ):
        before = state(net)
        with pytest.raises(error, match=f"^{argument}{message}"):
            getattr(net, call)(x, y)
        assert state(net) == before


@every_backend
def test_the_only_column_of_targets_is_not_that_of_the_first_class(backend):
    net = Network([3, 1], seed=0, backend=backend, class_names=CLASSES)
    before = state(net)
    for call in (net.fit, net.partial_fit, net.cost, net.gradient, net.score):
        with pytest.raises(ValueError, match=r"^Y has the column 'no', which class_names has for"):
            call(X, Table(Y[:, :1], ["no"]))
    assert state(net) == before
    for label in ("yes", "ill", 0):
        assert net.cost(X, Table(Y[:, :1], [label])) == net.cost(X, Y[:, :1])


class Indexed(Table):
    """As pandas' tables: rows have labels, too."""

    iloc = ()

    def __init__(self, content, index):
        super().__init__(content, range(np.shape(content)[-1]))
        self.index, self.ndim = Index(index), self.content.ndim


class Index(tuple):
    def equals(self, other):
        return self == other


def indexed(content, index):
    pandas = pytest.importorskip("pandas")
    return (pandas.DataFrame if np.ndim(content) == 2 else pandas.Series)(content, index=index)


@every_backend
@pytest.mark.parametrize("make", [Indexed, indexed])
def test_rows_with_the_same_labels_in_another_order(make, backend):
    """Rows go by position: only what surely does not belong together is refused."""
    net = Network(SIZES, seed=0, backend=backend)
    before = state(net)
    rows = list(range(len(X)))
    x, weight = make(X, rows), np.ones(len(X))
    message = r"^X and {} have the same rows in another order, first at row 0: 0 and 23; expected"
    for call in (net.fit, net.partial_fit, net.cost, net.score):
        with pytest.raises(ValueError, match=message.format("Y")):
            call(x, make(Y, rows[::-1]))
    with pytest.raises(ValueError, match=message.format("sample_weight")):
        net.fit(x, Y, sample_weight=make(weight, rows[::-1]))
    with pytest.raises(ValueError, match=message.format("stratify")):
        net.fit(x, Y, stratify=make(weight, rows[::-1]), validation_fraction=0.5)
    assert state(net) == before
    for other in (rows, [i + 1 for i in rows[::-1]], [f"row {i}" for i in rows]):
        assert net.cost(x, make(Y, other)) == net.cost(X, Y)
    # The labels of one example are those of columns.
    square = Network([2, 2], seed=0, backend=backend)
    row = make([0.1, 0.2], ["a", "b"]), make([0.2, 0.1], ["b", "a"])
    assert square.cost(*row) == square.cost([0.1, 0.2], [0.2, 0.1])


class PolarsType:
    """As polars' types, which have no kind."""

    def __init__(self, name, numeric):
        self.name, self.is_numeric = name, lambda: numeric

    def __str__(self):
        return self.name


def typed(name, numeric):
    table = Table(X, NAMES)
    table.dtypes = [
        PolarsType("Float64", True),
        PolarsType(name, numeric),
        PolarsType("Int8", True),
    ]
    return table


@every_backend
def test_polars_columns_that_are_no_numbers(backend):
    """Its frames make numbers of dates and times, in units that nobody asked for."""
    net = Network(SIZES, seed=0, backend=backend)
    for name in ("Date", "Datetime(time_unit='us')", "Duration", "Time", "String", "Categorical"):
        for call in (net.predict, lambda x: net.fit(x, Y)):
            with pytest.raises(TypeError, match=r"^X has dtype .* in column 'dose'; expected real"):
                call(typed(name, False))
    for name, numeric in (("Boolean", False), ("Null", False), ("Decimal", True)):
        assert (net.predict(typed(name, numeric)) == net.predict(X)).all()


def test_polars_own_dates():
    polars = pytest.importorskip("polars")
    import datetime

    for value in (
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1),
        datetime.timedelta(1),
        datetime.time(1),
    ):
        table = polars.DataFrame({"age": [1.0], "day": [value], "dose": [1]})
        for each in (table, table.to_struct()):
            with pytest.raises(TypeError, match=r"^X has dtype .* in column 'day'; expected real"):
                Network(SIZES).predict(each)


@every_backend
def test_the_tables_of_one_call_go_together(backend):
    """Also where the network has no names yet."""
    net, twin = (Network(SIZES, seed=3, backend=backend) for _ in range(2))
    x, y = Table(X, NAMES), Table(Y, CLASSES)
    x2, y2 = (reversed_columns("Table", *each) for each in ((X, NAMES), (Y, CLASSES)))
    gram = twin.gradient_gram(X, Y, X, Y)
    assert net.gradient_gram(x, y, x2, y2).tobytes() == gram.tobytes()
    assert net.feature_names is None
    found = net.fit(x, y, epochs=2, validation_data=(x2, y2))
    assert found.validation_cost == twin.fit(X, Y, epochs=2, validation_data=(X, Y)).validation_cost
    with pytest.raises(ValueError, match=r"^validation_data\[0\] has the columns .* with 'years'"):
        Network(SIZES).fit(x, y, validation_data=(Table(X, ("years", *NAMES[1:])), y))


@every_backend
def test_a_training_that_fails_takes_no_names(backend, tmp_path):
    net = Network(SIZES, seed=3, backend=backend)
    before = state(net)
    x, y = Table(X, NAMES), Table(Y, CLASSES)
    large = Table(np.where(np.arange(24)[:, None] == 23, 1e200, X), NAMES)
    for error, call in (
        (ValueError, lambda: net.fit(x, y, validation_data=(X[:, :2], Y))),
        (ValueError, lambda: net.fit(x, y, batch_size=0)),
        (
            FloatingPointError,
            lambda: net.fit(large, y, epochs=1, batch_size=1, learning_rate=1e300),
        ),
        (FloatingPointError, lambda: net.partial_fit(large, y, 1, learning_rate=1e300)),
        (OSError, lambda: net.fit(x, y, checkpoint=tmp_path / "none" / "file")),
    ):
        with pytest.raises(error):
            call()
        assert state(net) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError])
@every_backend
def test_names_stay_after_an_interruption_and_after_what_a_callback_raises(backend, error):
    """So do the parameters that were trained on these columns."""
    net = Network(SIZES, seed=3, backend=backend)
    before = net.parameters

    def stop(network, history):
        assert network.feature_names == NAMES
        network.class_names = ["other", "names"]
        raise error

    with pytest.raises(error):
        net.fit(Table(X, NAMES), Table(Y, CLASSES), callbacks=[stop])
    assert not np.array_equal(net.parameters, before)
    assert (net.feature_names, net.class_names) == (NAMES, ("other", "names"))


@every_backend
def test_a_checkpoint_has_the_columns_that_it_was_trained_on(backend, tmp_path):
    x, y = Table(X, NAMES), Table(Y, CLASSES)
    whole = Network(SIZES, seed=3, backend=backend)
    whole.fit(x, y, epochs=4)
    file = tmp_path / "fit"
    Network(SIZES, seed=3, backend=backend).fit(x, y, epochs=2, checkpoint=file)
    assert Network.load(file).feature_names == NAMES
    # Arrays go by position, as they did; columns in another order would be another fit.
    for again in (x, X):
        net = Network(SIZES, seed=3, backend=backend)
        net.fit(again, y, epochs=4, checkpoint=file, resume=True)
        assert state(net) == state(whole)
    net = Network(SIZES, seed=3, backend=backend)
    before = state(net)
    with pytest.raises(ValueError, match=r"^resume: the checkpoint has the feature_names "):
        net.fit(reversed_columns("Table", X, NAMES), y, epochs=4, checkpoint=file, resume=True)
    assert state(net) == before
    net = named(backend)
    net.fit(reversed_columns("Table", X, NAMES), y, epochs=4, checkpoint=file, resume=True)
    assert state(net) == state(whole)


@pytest.mark.parametrize("yes", [True, np.True_])
def test_a_table_to_judge_a_resumed_fit_by_needs_names(tmp_path, yes):
    """Those of the checkpoint are read after the table would have been taken by position."""
    path = tmp_path / "fit"
    Network(SIZES, seed=0).fit(Table(X, NAMES), Y, epochs=1, checkpoint=path)
    other = Table(X, NAMES).chosen(*NAMES[::-1])
    net = Network(SIZES, seed=0)
    before = state(net)
    with pytest.raises(ValueError, match=r"validation_data\[0\] has the columns"):
        net.fit(X, Y, epochs=2, checkpoint=path, resume=yes, validation_data=(other, Y))
    assert state(net) == before
    net.feature_names = NAMES
    history = net.fit(X, Y, epochs=2, checkpoint=path, resume=True, validation_data=(other, Y))
    assert history.validation_cost[-1] == net.cost(X, Y)


@pytest.mark.parametrize("examples", [X, Table(X, NAMES)], ids=["array", "table"])
def test_a_table_of_targets_to_judge_a_resumed_fit_by_needs_names(tmp_path, examples):
    path = tmp_path / "fit"
    table, other = Table(Y, CLASSES), Table(Y, CLASSES).chosen(*CLASSES[::-1])
    Network(SIZES, seed=0).fit(Table(X, NAMES), table, epochs=1, checkpoint=path)
    net = Network(SIZES, seed=0)
    before = state(net)
    with pytest.raises(ValueError, match=r"validation_data\[1\] .*a table as Y, too, or class_na"):
        net.fit(
            examples, Y, epochs=2, checkpoint=path, resume=True, validation_data=(examples, other)
        )
    assert state(net) == before
    history = net.fit(
        examples, table, epochs=2, checkpoint=path, resume=True, validation_data=(X, other)
    )
    assert history.validation_cost[-1] == net.cost(X, Y)
    again = Network(SIZES, seed=0, class_names=CLASSES)
    again.fit(X, Y, epochs=2, checkpoint=path, resume=True, validation_data=(X, other))
    one = Network([3, 1], seed=0)
    one.fit(X, Y[:, :1], epochs=1, checkpoint=path)
    one.fit(
        X, Y[:, :1], epochs=2, checkpoint=path, resume=True,
        validation_data=(X, Table(Y[:, :1], ["y"])),
    )  # fmt: skip
    assert one.history.validation_cost[-1] == one.cost(X, Y[:, :1])


@pytest.mark.parametrize(
    "labels", [[("c", "q"), ("a", "q"), ("b", "q")], [b"a", b"b", b"c"], [None, None, None]]
)
def test_labels_that_are_no_numbers_are_no_places(labels):
    net = Network(SIZES, seed=0, feature_names=NAMES)
    with pytest.raises(ValueError, match="in any order"):
        net.predict(Table(X, labels))
    assert (net.predict(Table(X, range(3))) == net.predict(X)).all()


class Meanwhile(Table):
    """Gives the network names when it becomes an array: between a call's look and its training."""

    def __init__(self, content, columns, act):
        super().__init__(content, columns)
        self.act = act

    def __array__(self, dtype=None, copy=None):
        act, self.act = self.act, lambda: None
        act()
        return super().__array__(dtype)


@every_backend
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_names_that_come_between_the_look_and_the_training(call, backend):
    """Columns are put in the order of one set of names, and not called by another."""
    other = NAMES[::-1]
    net = Network(SIZES, seed=3, backend=backend)

    def act():
        net.partial_fit(Table(X, other), Y)

    for x, y in (
        (Meanwhile(X, NAMES, act), Y),
        (X, Meanwhile(Y, CLASSES, lambda: setattr(net, "class_names", CLASSES[::-1]))),
    ):
        with pytest.raises(RuntimeError, match=r"^(feature|class)_names has become .*; call again"):
            getattr(net, call)(x, y)
    twin = Network(SIZES, seed=3, backend=backend).partial_fit(Table(X, other), Y)
    twin.class_names = CLASSES[::-1]
    assert state(net) == state(twin)
    # The same names are no others.
    same = Meanwhile(X, other, lambda: setattr(net, "feature_names", other))
    getattr(net, call)(same, Y)


@every_backend
def test_names_that_come_between_two_tables_of_a_call(backend):
    net = Network(SIZES, seed=3, backend=backend)
    x = Meanwhile(X, NAMES, lambda: setattr(net, "feature_names", NAMES[::-1]))
    twin = Network(SIZES, seed=3, backend=backend)
    assert (net.gradient_gram(x, Y, Table(X, NAMES), Y) == twin.gradient_gram(X, Y, X, Y)).all()


# ---- gaps in a table, and what is no table -------------------------------------------------------


class Gaps(Table):
    """As pandas' tables whose columns may lack entries: objects to NumPy, unless asked for more."""

    def __init__(self, content, columns):
        super().__init__(content, columns)
        self.dtypes = [MaybeNumber()] * len(self.columns)

    def __array__(self, dtype=None, copy=None):
        array = self.content.astype(object)
        array[np.isnan(self.content)] = "<NA>"
        return array

    def isna(self):
        return np.isnan(self.content)

    def to_numpy(self, dtype, na_value):
        assert (dtype, np.isnan(na_value)) == ("float64", True)
        return self.content.copy()


class MaybeNumber:
    kind = "f"


def pandas_gaps(content, columns):
    """One column of whole numbers with a gap, the others of NumPy's own type."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(content, columns=list(columns))
    return table.astype({columns[0]: "Float64"}) if np.isnan(content).any() else table


def polars_gaps(content, columns):
    polars = pytest.importorskip("polars")
    return polars.DataFrame(
        {
            name: [None if np.isnan(entry) else float(entry) for entry in column]
            for name, column in zip(columns, content.T, strict=True)
        }
    )


@every_backend
@pytest.mark.parametrize("make", [Gaps, pandas_gaps, polars_gaps])
def test_a_gap_in_a_table_is_a_missing_number(make, backend):
    with_gaps = Y.copy()
    with_gaps[[1, 5, 7], 0] = np.nan
    net, twin = (Network(SIZES, seed=3, backend=backend) for _ in "ab")
    asked = {"epochs": 2, "missing_targets": True, "metrics": ["mse"]}
    found = net.fit(X, make(with_gaps, CLASSES), **asked)
    assert found.metrics == twin.fit(X, with_gaps, **asked).metrics
    assert np.array_equal(net.parameters, twin.parameters)
    options = {"missing_targets": True}
    net.partial_fit(X, make(with_gaps, CLASSES), options=options)
    twin.partial_fit(X, with_gaps, options=options)
    assert np.array_equal(net.parameters, twin.parameters)
    before = state(net)
    hole = X.copy()
    hole[3, 0] = np.nan
    for call, message in (
        (
            lambda: net.fit(X, make(with_gaps, CLASSES)),
            r"^Y has nan at \[1, 0\]; .*missing_targets",
        ),
        (lambda: net.cost(X, make(with_gaps, CLASSES)), r"^Y has nan at \[1, 0\]; expected finite"),
        (
            lambda: net.predict(make(hole, NAMES)),
            r"^X has nan at \[3, 0\]; expected finite numbers",
        ),
        (lambda: net.fit(make(hole, NAMES), Y), r"^X has nan at \[3, 0\]; expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert state(net) == before


def test_a_column_that_may_have_gaps():
    pandas = pytest.importorskip("pandas")
    net, twin = (Network([3, 1], seed=3) for _ in "ab")
    weight = pandas.Series(range(24), dtype="Int64")
    net.fit(X, Y[:, :1], sample_weight=weight, epochs=1)
    twin.fit(X, Y[:, :1], sample_weight=np.arange(24), epochs=1)
    assert state(net) == state(twin)
    with pytest.raises(ValueError, match=r"^sample_weight has nan at \[1\]; expected finite"):
        net.fit(X, Y[:, :1], sample_weight=weight.mask(weight == 1))
    with pytest.raises(ValueError, match=r"^labels has nan at \[1\]; expected finite numbers"):
        one_hot(weight.mask(weight == 1), 24)
    mixed = pandas.DataFrame(X, columns=list(NAMES)).astype({"age": "Float64"})
    assert net.predict(mixed).tobytes() == net.predict(X).tobytes()


def test_a_lazy_table_is_to_be_collected(recwarn):
    polars = pytest.importorskip("polars")
    lazy = polars.DataFrame(X, schema=list(NAMES)).lazy()
    for net in (Network(SIZES), named()):
        for call in (net.predict, lambda x, net=net: net.fit(x, Y)):
            with pytest.raises(TypeError, match=r"^X is a LazyFrame, .* use \.collect\(\)$"):
                call(lazy)
    assert not recwarn.list


# ---- weights by the names of classes -------------------------------------------------------------


class Labelled(Row):
    """As pandas' columns: weights, each with a label."""

    def items(self):
        return zip(self.index, self.content, strict=True)


@every_backend
@pytest.mark.parametrize(
    "make", [Labelled, pandas_row, lambda weights, index: dict(zip(index, weights, strict=True))]
)
def test_class_weights_go_by_their_labels(make, backend):
    classes = np.eye(3)[np.arange(24) % 3]

    def parameters(weight, names=None, targets=classes):
        net = Network([3, np.shape(targets)[1]], seed=0, backend=backend, class_names=names)
        net.fit(X, targets, epochs=1, class_weight=weight)
        return net.parameters.tobytes()

    right, names = parameters([1.0, 2.0, 3.0]), ("cat", "dog", "eel")
    assert parameters(make([3.0, 1.0, 2.0], [2, 0, 1])) == right  # as value_counts() has them
    assert parameters(make([3.0, 1.0, 2.0], ["eel", "cat", "dog"]), names) == right
    assert parameters(make([3.0, 2.0], ["eel", "dog"]), names) == right
    assert parameters([1.0, 2.0, 3.0], names) == right
    # Two names of one output, and those that the same call takes of its table.
    one = classes[:, :1]
    assert parameters(make([5.0, 2.0], ["yes", "no"]), CLASSES, one) == parameters(
        [2, 5], None, one
    )
    assert (
        parameters(make([3.0, 1.0, 2.0], ["eel", "cat", "dog"]), None, Table(classes, names))
        == right
    )
    for weight, own, message in (
        (make([1.0], ["dgo"]), names, "class_weight key is 'dgo'; .*; did you mean 'dog'"),
        (make([1.0], ["dog"]), None, "class_weight key is 'dog' .* the network has no class_names"),
        (make([1.0], [1]), ("1", "2", "3"), "class_weight key is 1, .* '2', and '1' is the name"),
        (
            make([1.0, 2.0], ["dog", 1]),
            names,
            "class_weight has the class 1 2 times; expected each",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            parameters(weight, own)
    # A number that is its own name's is nobody else's.
    assert parameters(make([2.0], [1]), ("0", "1", "2")) == parameters([1.0, 2.0, 1.0])
    with pytest.raises(TypeError, match=r"^class_weight key is 'ill' .* the output's name alone"):
        parameters(make([2.0], ["ill"]), ("ill",), one)
