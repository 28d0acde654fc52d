"""PyTorch's optimisers and schedulers, step for step: the same formulas give the same trajectories.

PyTorch differentiates by itself, so that nothing of this package's is in what it is judged by.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import BACKENDS

from cbackprop import SGD, Adagrad, Adam, AdamW, Network, RMSprop, Rprop, schedules
from cbackprop.training import History

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks as small as these only wait for PyTorch's other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SIZES = [5, 7, 6, 3]
N, BATCH = 23, 6  # four steps an epoch, the last of five examples
EPOCHS = 13  # 52 steps

RULES = {
    "sgd": (SGD(0.4), lambda p: torch.optim.SGD(p, lr=0.4)),
    "momentum": (SGD(0.1, 0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (
        SGD(0.1, 0.8, True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "adam": (
        Adam(0.02, 0.85, 0.99, 1e-6),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.85, 0.99), eps=1e-6),
    ),
    "adamw": (
        AdamW(0.02, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3),
    ),
    "rmsprop": (RMSprop(0.01, 0.95), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.95)),
    "rmsprop momentum": (
        RMSprop(0.004, momentum=0.8),
        lambda p: torch.optim.RMSprop(p, lr=0.004, momentum=0.8),
    ),
    "rmsprop centred": (
        RMSprop(0.004, 0.9, 1e-4, centred=True),
        lambda p: torch.optim.RMSprop(p, lr=0.004, alpha=0.9, eps=1e-4, centered=True),
    ),
    "rmsprop centred momentum": (
        RMSprop(0.002, 0.9, 1e-4, 0.7, True),
        lambda p: torch.optim.RMSprop(
            p, lr=0.002, alpha=0.9, eps=1e-4, momentum=0.7, centered=True
        ),
    ),
    "adagrad": (Adagrad(0.05), lambda p: torch.optim.Adagrad(p, lr=0.05)),
    "adagrad decay": (
        Adagrad(0.2, 1e-6, 0.05),
        lambda p: torch.optim.Adagrad(p, lr=0.2, eps=1e-6, lr_decay=0.05),
    ),
    "rprop": (
        Rprop(0.02, 0.4, 1.3, 1e-5, 0.3, takes_back=False),
        lambda p: torch.optim.Rprop(p, lr=0.02, etas=(0.4, 1.3), step_sizes=(1e-5, 0.3)),
    ),
}  # fmt: skip


def data(n=N, sizes=SIZES):
    rng = np.random.default_rng(12)
    return rng.normal(size=(n, sizes[0])), rng.uniform(size=(n, sizes[-1]))


def torch_parameters(net):
    """W and b of each layer, as PyTorch's leaves."""
    return [
        torch.tensor(np.array(array), requires_grad=True)
        for pair in zip(net.weights, net.biases, strict=True)
        for array in pair
    ]


def torch_cost(parameters, X, Y, sample_weight=None):
    a = X
    for W, b in zip(parameters[::2], parameters[1::2], strict=True):
        a = torch.sigmoid(a @ W.T + b)
    costs = ((a - Y) ** 2).sum(dim=1)
    if sample_weight is None:
        return costs.mean()
    return (costs * sample_weight).sum() / sample_weight.sum()


def torch_vector(parameters):
    return np.concatenate([p.detach().numpy().ravel() for p in parameters])


def torch_trajectory(net, make, X, Y, orders, l2=0.0, sample_weight=None, batch=BATCH):
    """The parameters after each pass, and the optimiser's steps."""
    parameters = torch_parameters(net)
    groups = parameters
    if l2 > 0:
        groups = [
            {"params": parameters[::2], "weight_decay": l2},
            {"params": parameters[1::2], "weight_decay": 0.0},
        ]
    optimizer = make(groups)
    X, Y = torch.tensor(X), torch.tensor(Y)
    weight = None if sample_weight is None else torch.tensor(sample_weight)
    after = []
    for order in orders:
        for start in range(0, len(order), batch):
            rows = torch.as_tensor(np.array(order[start : start + batch]))
            optimizer.zero_grad()
            cost = torch_cost(
                parameters, X[rows], Y[rows], None if weight is None else weight[rows]
            )
            cost.backward()
            optimizer.step()
        after.append(torch_vector(parameters))
    return np.array(after)


def trajectory(net, optimizer, X, Y, **options):
    after = []
    net.fit(
        X, Y, epochs=EPOCHS, optimizer=optimizer,
        callbacks=lambda net, history: after.append(net.parameters),
        **{"batch_size": BATCH, **options},
    )  # fmt: skip
    return np.array(after)


def imposed(epoch):
    """Another order each epoch."""
    return np.random.default_rng(epoch).permutation(N)


ORDERS = {
    "rows": (False, [np.arange(N)] * EPOCHS),
    "one order": (imposed(99).tolist(), [imposed(99)] * EPOCHS),
    "orders": (imposed, [imposed(epoch) for epoch in range(EPOCHS)]),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", list(RULES))
def test_trajectories_are_those_of_torch(rule, backend):
    X, Y = data()
    optimizer, make = RULES[rule]
    for shuffle, orders in ORDERS.values():
        net = Network(SIZES, seed=3, backend=backend)
        expected = torch_trajectory(net, make, X, Y, orders)
        np.testing.assert_allclose(
            trajectory(net, optimizer, X, Y, shuffle=shuffle), expected, rtol=0, atol=1e-9
        )
        assert np.abs(expected[-1] - expected[0]).max() > 1e-2  # there was a way to go


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", list(RULES))
def test_whole_batches_are_those_of_torch(rule, backend):
    """What Rprop is made for."""
    X, Y = data()
    optimizer, make = RULES[rule]
    net = Network(SIZES, seed=3, backend=backend)
    expected = torch_trajectory(net, make, X, Y, [np.arange(N)] * EPOCHS, batch=N)
    found = trajectory(net, optimizer, X, Y, shuffle=False, batch_size=N)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("adamw", "rprop")])
def test_l2_is_the_weight_decay_of_torch_on_weights_alone(rule, backend):
    """AdamW's weight_decay is another thing there, and Rprop has none."""
    X, Y = data()
    optimizer, make = RULES[rule]
    net = Network(SIZES, seed=3, backend=backend)
    expected = torch_trajectory(net, make, X, Y, [np.arange(N)] * EPOCHS, l2=0.03)
    found = trajectory(net, optimizer, X, Y, shuffle=False, l2=0.03)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weighted_batches_are_those_of_a_weighted_mean(backend):
    X, Y = data()
    weight = np.random.default_rng(5).uniform(0, 3, size=N)
    optimizer, make = RULES["adam"]
    net = Network(SIZES, seed=3, backend=backend)
    expected = torch_trajectory(net, make, X, Y, ORDERS["orders"][1], sample_weight=weight)
    found = trajectory(net, optimizer, X, Y, shuffle=imposed, sample_weight=weight)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", list(RULES))
def test_float32_goes_the_way_of_torch(rule, backend):
    """Five steps in float32 against the float64 way: what rounding leaves."""
    X, Y = data()
    X, Y = X.astype("float32"), Y.astype("float32")
    optimizer, make = RULES[rule]
    net = Network(SIZES, seed=3, backend=backend, dtype="float32")
    twin = Network(SIZES, seed=3, backend=backend)
    twin.parameters = net.parameters
    wide = X.astype(float), Y.astype(float)
    expected = torch_trajectory(twin, make, *wide, [np.arange(N)] * 5, batch=N)
    net.fit(X, Y, epochs=5, batch_size=N, optimizer=optimizer, shuffle=False)
    np.testing.assert_allclose(net.parameters, expected[-1], rtol=0, atol=2e-5)


# ---- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    "step": (
        schedules.StepDecay(3, 0.5),
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=3, gamma=0.5),
    ),
    "exponential": (
        schedules.ExponentialDecay(0.8),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.8),
    ),
    "cosine": (
        schedules.CosineDecay(EPOCHS - 1, 0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS - 1, eta_min=0.01),
    ),
    "constant": (
        schedules.Constant(),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1.0),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_scheduled_fit_is_that_of_torch(name, backend):
    X, Y = data()
    schedule, make = SCHEDULES[name]
    net = Network(SIZES, seed=3, backend=backend)
    parameters = torch_parameters(net)
    optimizer = torch.optim.SGD(parameters, lr=0.3, momentum=0.5)
    scheduler = make(optimizer)
    rates, tensors = [], (torch.tensor(X), torch.tensor(Y))
    for _ in range(EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        torch_cost(parameters, *tensors).backward()
        optimizer.step()
        scheduler.step()
    history = net.fit(X, Y, epochs=EPOCHS, batch_size=N, optimizer=SGD(0.3, 0.5), schedule=schedule)
    np.testing.assert_allclose(history.learning_rate, rates, rtol=1e-13)
    np.testing.assert_allclose(net.parameters, torch_vector(parameters), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_reduce_on_plateau_is_that_of_torch(seed):
    """Costs that fall and rise by chance; those of the validation data are looked at if any."""
    rng = np.random.default_rng(seed)
    costs = 5 + np.cumsum(rng.normal(size=80)) * 0.3
    costs = np.maximum(costs, 0.01)
    patience = int(rng.integers(0, 5))
    ours = schedules.ReduceOnPlateau(0.6, patience, 0.05, least=0.002)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.6, patience=patience, threshold=0.05, min_lr=0.002, eps=0
    )
    history = History()
    for name in ("cost", "validation_cost"):
        setattr(history, name, [])
    seen = set()
    for cost in costs:
        history.cost.append(float(cost))
        theirs.step(float(cost))
        rate = optimizer.param_groups[0]["lr"]
        assert ours.after(history, 0.2) == pytest.approx(rate, rel=1e-12)
        seen.add(round(rate, 12))
    assert len(seen) > 2  # it was reduced, more than once
    judged = History()
    judged.validation_cost, judged.cost = history.cost, sorted(history.cost, reverse=True)
    assert ours.after(judged, 0.2) == ours.after(history, 0.2)


@pytest.mark.parametrize("epochs", [10, 40, 101])
def test_one_cycle_has_the_ends_of_torchs(epochs):
    """Between them PyTorch's phases end at other places: it counts batches, and from one less."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=epochs, cycle_momentum=False
    )
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < epochs:
            theirs.step()
    ours = [schedules.OneCycle(epochs)(epoch, 0.2) for epoch in range(epochs)]
    assert ours[0] == pytest.approx(rates[0], rel=1e-12)
    assert ours[-1] == pytest.approx(rates[-1], rel=1e-12)
    assert max(ours) <= 0.2
    assert max(ours) == pytest.approx(0.2, rel=0.02 if epochs > 10 else 0.15)
