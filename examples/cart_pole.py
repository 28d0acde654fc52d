"""Model-predictive control in CasADi with a learned model: a pole swings up on a cart.

    python examples/cart_pole.py        (needs CasADi: pip install 'casadi>=3.6.5')

The cart is pushed with at most 10 N. A 4-32-32-4 network learns from random pushes how (speed,
angle, angular speed, force) change the state in 0.05 s; the place does not matter. Every 0.05 s
IPOPT then plans the next 1.5 s with the network in the place of the equations, the first force of
the plan is applied to the true cart, and so on: a receding horizon (Rawlings, Mayne and Diehl 2017,
"Model Predictive Control", chapter 1). CasADi has the network's exact first and second derivatives,
because the network is made of its own symbols.

The true cart is that of Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can
solve difficult learning control problems", IEEE Transactions on Systems, Man, and Cybernetics
13:834-846, without friction. A state is (place in m, speed, angle from upright in rad, angular
speed).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import casadi as ca
import numpy as np

from cbackprop import Network, schedules
from cbackprop.casadi import function

GRAVITY, CART, POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5  # m/s², kg, kg, m
MOST_FORCE = 10.0  # N
STEP, HORIZON = 0.05, 30  # s, and steps that are planned
HANGING = np.array([0.0, 0.0, np.pi, 0.0])

Plan = Callable[[np.ndarray], np.ndarray]  # from a state to the forces ahead


class Result(NamedTuple):
    net: Network
    r2: float  # of the model, on transitions not seen in training
    states: np.ndarray  # (steps + 1, 4)
    forces: np.ndarray  # (steps,)
    seconds: np.ndarray  # (steps,), each plan's


def rates(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """d state/dt (…, 4), the equations of Barto, Sutton and Anderson."""
    _, speed, angle, angular_speed = np.moveaxis(state, -1, 0)
    sine, cosine, total = np.sin(angle), np.cos(angle), CART + POLE
    push = (force + POLE * HALF_LENGTH * angular_speed**2 * sine) / total
    angular = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / total))
    acceleration = push - POLE * HALF_LENGTH * angular * cosine / total
    return np.stack([speed, acceleration, angular_speed, angular], axis=-1)


def after_step(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """The state 0.05 s later under a constant force: five steps of Runge and Kutta's method."""
    h = STEP / 5
    for _ in range(5):
        k1 = rates(state, force)
        k2 = rates(state + h / 2 * k1, force)
        k3 = rates(state + h / 2 * k2, force)
        k4 = rates(state + h * k3, force)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def transitions(n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n examples (speed, angle, angular speed, force) → change of the state, both (n, 4)."""
    X = random.uniform(-1, 1, (n, 4)) * [5.0, 1.5 * np.pi, 10.0, MOST_FORCE]
    X[:, 1] += np.pi  # about hanging: upright is at 0 and at 2π
    state = np.column_stack([np.zeros(n), X[:, :3]])
    return X, after_step(state, X[:, 3]) - state


def learned_model(n: int, random: np.random.Generator, seed: int) -> Network:
    """The change of the state, learned from n transitions."""
    X, Y = transitions(n, random)
    net = Network((4, 32, 32, 4), ["tanh", "tanh", "identity"], "mse", seed=seed)
    net.fit(X, Y, epochs=100, optimizer="adam", learning_rate=0.01, standardise=True,
            schedule=schedules.ExponentialDecay(0.95))  # fmt: skip
    return net


def controller(model: Any, options: dict[str, Any] | None = None) -> Plan:
    """Plans the forces ahead by IPOPT, each time from where the plan before has come to.

    model : casadi.Function
        From (speed, angle, angular speed, force) to the change of the state.
    """
    opti = ca.Opti()
    states, forces = opti.variable(4, HORIZON + 1), opti.variable(1, HORIZON)
    start = opti.parameter(4)
    before, after = states[:, :-1], states[:, 1:]
    opti.subject_to(states[:, 0] == start)
    opti.subject_to(after == before + model.map(HORIZON)(ca.vertcat(before[1:, :], forces)))
    opti.subject_to(opti.bounded(-MOST_FORCE, forces, MOST_FORCE))
    place, speed, angle, angular_speed = ca.vertsplit(after)
    cost = 10 * (1 - ca.cos(angle)) + 0.5 * place**2 + 0.05 * speed**2 + 0.05 * angular_speed**2
    opti.minimize(ca.sum2(cost) + 20 * cost[-1] + 0.005 * ca.sumsqr(forces))
    opti.solver(
        "ipopt",
        {"print_time": False},
        {"print_level": 0, "sb": "yes", "tol": 1e-5, "max_iter": 300, **(options or {})},
    )
    opti.set_initial(states, np.tile(HANGING[:, np.newaxis], HORIZON + 1))

    def plan(state: np.ndarray) -> np.ndarray:
        opti.set_value(start, state)
        solution = opti.solve()
        planned, ahead = solution.value(states), solution.value(forces)
        opti.set_initial(states, np.column_stack([planned[:, 1:], planned[:, -1]]))
        opti.set_initial(forces, np.append(ahead[1:], ahead[-1]))
        return np.asarray(ahead)

    return plan


def drive(plan: Plan, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true cart under a controller: its states, the forces, the seconds of each plan."""
    states, forces, seconds = [HANGING], [], []
    for _ in range(steps):
        began = time.perf_counter()
        forces.append(plan(states[-1])[0])
        seconds.append(time.perf_counter() - began)
        states.append(after_step(states[-1], forces[-1]))
    return np.array(states), np.array(forces), np.array(seconds)


def from_upright(states: np.ndarray) -> np.ndarray:
    """The pole's angle in (−π, π], whatever turns it has made."""
    return np.arctan2(np.sin(states[..., 2]), np.cos(states[..., 2]))


def run(*, n: int = 20_000, steps: int = 80, seed: int = 0) -> Result:
    """Learn the model, then swing the pole up and hold it."""
    random = np.random.default_rng(seed)
    net = learned_model(n, random, seed)
    r2 = net.score(*transitions(2000, random), "r2")
    return Result(net, r2, *drive(controller(function(net)), steps))


def main() -> None:
    result = run()
    print(f"The model explains {result.r2:.5f} of the variance of transitions it has not seen.\n")
    print(f"{'s':>5}{'place m':>10}{'angle rad':>11}{'force N':>9}")
    for k in range(0, len(result.forces), 4):
        place, _, angle, _ = result.states[k]
        lean = round(20 - 20 * np.cos(angle))
        bar = "." * lean if lean else "upright"
        print(f"{k * STEP:>5.2f}{place:>10.3f}{angle:>11.3f}{result.forces[k]:>9.2f}  {bar}")
    last = np.abs(from_upright(result.states[-20:])).max()
    print(f"\nIn the last second the pole is within {last:.4f} rad of upright.")
    print(
        f"A plan takes {1e3 * np.median(result.seconds):.0f} ms (median), the slowest "
        f"{1e3 * result.seconds.max():.0f} ms."
    )


if __name__ == "__main__":
    main()
