"""Learning-rate schedules: the rates by their formulas, and the fits that they make.

test_optimizers_against_torch.py compares them with torch.optim.lr_scheduler.
"""

from __future__ import annotations

import itertools
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import data, every_backend

from cbackprop import LBFGS, SGD, Adam, EarlyStopping, Network, Rprop, schedules
from cbackprop.training import History

rates = st.floats(1e-6, 10)
epochs_drawn = st.integers(0, 300)


# ---- formulas ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(epoch=epochs_drawn, rate=rates, every=st.integers(1, 40), factor=st.floats(0.05, 1.5))
def test_steps_and_exponentials(epoch, rate, every, factor):
    assert schedules.Constant()(epoch, rate) == rate
    exponential = schedules.ExponentialDecay(factor)(epoch, rate)
    assert exponential == pytest.approx(rate * math.exp(epoch * math.log(factor)), rel=1e-11)
    by_hand = rate
    for e in range(1, epoch + 1):
        if e % every == 0:
            by_hand *= factor
    assert schedules.StepDecay(every, factor)(epoch, rate) == pytest.approx(by_hand, rel=1e-11)


@settings(deadline=None, max_examples=50)
@given(rate=rates, least=st.floats(0, 5e-7), epochs=st.integers(1, 100))
def test_cosine_goes_down_to_the_least_and_stays(rate, least, epochs):
    schedule = schedules.CosineDecay(epochs, least)
    found = [schedule(epoch, rate) for epoch in range(epochs + 5)]
    assert found[0] == pytest.approx(rate, rel=1e-14)
    assert all(value == pytest.approx(least, abs=1e-15 * rate) for value in found[epochs:])
    assert all(after < before for before, after in itertools.pairwise(found[: epochs + 1]))
    middle = least + (rate - least) / 2
    if epochs % 2 == 0:
        assert found[epochs // 2] == pytest.approx(middle, rel=1e-12)
    # Half-way down from either side: the curve is symmetric about its middle.
    for epoch in range(epochs + 1):
        assert found[epoch] + found[epochs - epoch] == pytest.approx(2 * middle, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(
    rate=rates, epochs=st.integers(2, 100), warm_up=st.floats(0, 0.99), start=st.floats(1, 100),
    end=st.floats(1, 1e5),
)  # fmt: skip
def test_one_cycle_goes_up_and_down(rate, epochs, warm_up, start, end):
    schedule = schedules.OneCycle(epochs, warm_up, start, end)
    found = [schedule(epoch, rate) for epoch in range(epochs + 3)]
    top = warm_up * (epochs - 1)
    assert found[0] == pytest.approx(rate if top == 0 else rate / start, rel=1e-12)
    assert found[epochs - 1 :] == pytest.approx([rate / start / end] * 4, rel=1e-9)
    assert max(found) <= rate * (1 + 1e-14)
    for epoch in range(epochs - 1):
        if epoch + 1 <= top:
            assert found[epoch + 1] >= found[epoch] * (1 - 1e-12)
        elif epoch >= top:
            assert found[epoch + 1] <= found[epoch] * (1 + 1e-12)


def test_one_cycle_reaches_the_rate_where_the_way_up_ends():
    schedule = schedules.OneCycle(11, warm_up=0.3)
    assert schedule(3, 0.5) == pytest.approx(0.5, rel=1e-14)
    assert [schedule(e, 0.5) for e in (0, 10)] == pytest.approx([0.02, 2e-6], rel=1e-9)
    assert schedules.OneCycle(5, warm_up=0)(0, 0.5) == pytest.approx(0.5)


def history_of(costs, name="cost"):
    history = History()
    setattr(history, name, list(costs))
    return history


@pytest.mark.parametrize(
    ("costs", "options", "rate"),
    [
        ([], {}, 1.0),
        ([3, 2, 1], {"patience": 0}, 1.0),
        ([3, 3], {"patience": 0}, 0.5),
        ([3, 4, 5], {"patience": 1}, 0.5),
        ([3, 4, 5, 6], {"patience": 1}, 0.5),  # the count begins anew
        ([3, 4, 5, 6, 7], {"patience": 1}, 0.25),
        ([3, 4, 2, 3], {"patience": 1}, 1.0),
        ([3, 2.9, 2.8], {"patience": 1, "min_delta": 0.1}, 0.5),
        ([3, 2.9, 2.6], {"patience": 1, "min_delta": 0.1}, 1.0),
        ([3] * 9, {"patience": 0, "least": 0.2}, 0.2),
        ([3] * 9, {"patience": 0, "least": 5.0}, 1.0),  # the rate is below the least already
        ([-1, -1.2, -1.1], {"patience": 0}, 0.5),  # costs of the user's own may be negative
    ],
)
def test_plateaus_by_hand(costs, options, rate):
    schedule = schedules.ReduceOnPlateau(0.5, **options)
    assert schedule.after(history_of(costs), 1.0) == pytest.approx(rate)
    assert schedule.after(history_of(costs, "validation_cost"), 1.0) == pytest.approx(rate)
    assert schedule(len(costs), 1.0) == 1.0


def test_schedules_show_themselves():
    for schedule in (
        schedules.Constant(), schedules.StepDecay(3), schedules.ExponentialDecay(0.9),
        schedules.CosineDecay(7, 0.1), schedules.OneCycle(9, 0.2),
        schedules.ReduceOnPlateau(0.2, 3),
    ):  # fmt: skip
        again = eval(f"schedules.{schedule!r}", {"schedules": schedules})
        assert vars(again) == vars(schedule)
        assert repr(again) == repr(schedule)


# ---- in a fit ------------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("optimizer", [SGD(0.3), SGD(0.1, 0.9), Adam(0.02)], ids=str)
@pytest.mark.parametrize(
    "schedule",
    [
        schedules.StepDecay(2, 0.5),
        schedules.OneCycle(6),
        lambda epoch, rate: np.float32(rate / (1 + epoch)),
        lambda epoch, rate: 0 if epoch == 2 else rate,
    ],
)
def test_each_epoch_has_its_rate(schedule, optimizer, backend):
    """The passes of partial_fit at those rates: bit for bit."""
    X, Y = data(20, (4, 2))
    net, twin = (Network([4, 5, 2], seed=1, backend=backend) for _ in range(2))
    asked = []

    def recorded(epoch, rate):
        asked.append((epoch, rate))
        return schedule(epoch, rate)

    history = net.fit(
        X, Y, epochs=6, batch_size=6, optimizer=optimizer, schedule=recorded, shuffle=False
    )
    expected = [float(schedule(epoch, optimizer.learning_rate)) for epoch in range(6)]
    for rate in expected:
        twin.partial_fit(X, Y, batch_size=6, optimizer=optimizer, learning_rate=rate)
    assert history.learning_rate == expected
    assert asked == [(epoch, optimizer.learning_rate) for epoch in range(6)]
    assert net.parameters.tobytes() == twin.parameters.tobytes()


@every_backend
def test_without_a_schedule_the_rate_is_the_optimisers(backend):
    X, Y = data(20, (4, 2))
    net = Network([4, 5, 2], seed=1, backend=backend)
    assert net.fit(X, Y, epochs=2, learning_rate=0.25).learning_rate == [0.25, 0.25]
    assert net.fit(X, Y, epochs=2, optimizer="adam").learning_rate == [0.001, 0.001]
    # The schedule starts from the rate of the fit, and each fit from its first epoch.
    for _ in range(2):
        history = net.fit(
            X, Y, epochs=3, learning_rate=0.4, schedule=schedules.ExponentialDecay(0.5)
        )
        assert history.learning_rate == [0.4, 0.2, 0.1]


@every_backend
@pytest.mark.parametrize("judged", [False, True])
def test_the_rate_is_reduced_where_the_cost_stays(judged, backend):
    """Steps of 10 overshoot: what the rates are follows from the costs of the epochs before."""
    X, Y = data(20, (4, 2))
    net = Network([4, 5, 2], seed=1, backend=backend)
    schedule = schedules.ReduceOnPlateau(0.3, patience=1, least=0.05)
    options = {"validation_data": (X[:5], Y[:5])} if judged else {}
    history = net.fit(
        X, Y, epochs=40, batch_size=20, learning_rate=10.0, schedule=schedule, **options
    )
    best, waited, rate, expected = math.inf, 0, 10.0, []
    for cost in history.validation_cost if judged else history.cost:
        expected.append(rate)
        if cost < best * (1 - 1e-4):
            best, waited = cost, 0
        else:
            waited += 1
            if waited == 2:
                rate, waited = max(0.3 * rate, 0.05), 0
    assert history.learning_rate == pytest.approx(expected, rel=1e-14)
    assert len(set(history.learning_rate)) > 1


@pytest.mark.parametrize(
    "schedule", [schedules.StepDecay(2, 1e200), schedules.ExponentialDecay(1e200)]
)
def test_a_rate_beyond_the_numbers_is_refused_by_name(schedule):
    X, Y = np.zeros((2, 1)), np.zeros((2, 1))
    net = Network([1, 1], seed=0)
    with pytest.raises(
        ValueError, match=r"^the result of schedule\(\d, 0.1\) is inf; expected a fi"
    ):
        net.fit(X, Y, epochs=9, schedule=schedule)


# ---- objects that several fits have --------------------------------------------------------------

OURS = [
    schedules.Constant(),
    schedules.StepDecay(2, 0.5),
    schedules.ExponentialDecay(0.9),
    schedules.CosineDecay(9),
    schedules.OneCycle(9),
    schedules.ReduceOnPlateau(0.3, patience=0, min_delta=0.01),
]


def fits_of(seed, backend, schedule, optimizer, stopping):
    """Two fits of one network; what came of them."""
    X, Y = data(20, (4, 2), seed=seed)
    net = Network([4, 5, 2], seed=seed, backend=backend)
    histories = [
        net.fit(
            X, Y, epochs=9, batch_size=5, optimizer=optimizer, schedule=schedule,
            early_stopping=stopping,
        )
        for _ in range(2)
    ]  # fmt: skip
    kept = [(history.learning_rate, history.cost, history.best_epoch) for history in histories]
    return kept, net.parameters.tobytes()


@every_backend
@pytest.mark.parametrize("optimizer", [SGD(5.0, 0.5), Adam(0.5), Rprop(0.1), LBFGS()], ids=str)
@pytest.mark.parametrize("schedule", OURS, ids=str)
def test_an_object_that_fits_share_is_as_new_in_each(schedule, optimizer, backend):
    """In turn, and in threads at the same time; none of them writes into it."""
    if isinstance(optimizer, LBFGS):
        schedule = None
    stopping = EarlyStopping(3, monitor="cost")
    shared = (schedule, optimizer, stopping)
    before = pickle.dumps(shared)
    seeds = range(4)
    expected = [fits_of(seed, backend, *pickle.loads(before)) for seed in seeds]
    assert [fits_of(seed, backend, *shared) for seed in seeds] == expected
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda seed: fits_of(seed, backend, *shared), seeds))
    assert found == expected
    assert pickle.dumps(shared) == before


def test_plateaus_of_fits_that_take_turns():
    """Two fits' callbacks in each other: each asks the same schedule."""
    schedule = schedules.ReduceOnPlateau(0.5, patience=0, min_delta=0.5)
    X, Y = data(20, (4, 2))

    def rates_of(net, inner=None):
        callback = () if inner is None else lambda own, history: [rates_of(inner())]
        return net.fit(
            X, Y, epochs=6, learning_rate=1.0, schedule=schedule, callbacks=callback
        ).learning_rate

    def new():
        return Network([4, 5, 2], seed=1)

    assert rates_of(new(), new) == rates_of(new())


def test_plateaus_where_validation_data_come_later():
    """The training costs count where there were no others, and no NaN is a low."""
    schedule = schedules.ReduceOnPlateau(0.5, patience=1)
    history = History()
    history.epochs = 7
    history.cost = [5, 4, 3, 3, 3, 3, 3]
    history.validation_cost = [math.nan] * 4 + [9, 8, 7]
    history.learning_rate = [1.0] * 7
    assert schedule.after(history, 1.0) == 1.0
    history.validation_cost[-2:] = [9, 9]
    assert schedule.after(history, 1.0) == 0.5
    # The rate that was reduced in the first part goes on.
    history.cost[:4] = [3, 3, 3, 3]
    history.learning_rate = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert schedule.after(history, 1.0) == 0.25
