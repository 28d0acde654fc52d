"""``cbackprop demo``: digits learnt, and the chain rule at work on one weight."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from cbackprop import Network, datasets
from cbackprop.chain_rule import WeightTerm
from cbackprop.cli.epochs import EpochTable
from cbackprop.cli.info import computed_by
from cbackprop.cli.lesson import facts_of, print_digit, print_nudges
from cbackprop.cli.options import add_command, add_json, add_seed, print_json
from cbackprop.cli.terminal import print_wrapped
from cbackprop.functions import Array
from cbackprop.validation import integer

# With these every one of the seeds 0 to 9 reaches a test accuracy of 0.969 or more.
BATCH_SIZE = 10
LEARNING_RATE = 2.0
ACCURACY = 0.95
TEST_STEP = 5  # every fifth digit is for testing: 360 of 1,797
N_CHECKED = 5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "demo",
        run,
        "train on the bundled digits and show the chain rule at work",
        "Train a network on the bundled 8x8 digits, then take one weight's derivative apart, nudge "
        "the weight, and check the whole gradient.",
        """
        cbackprop demo
        cbackprop demo --epochs 10 --seed 3
        """,
    )
    parser.add_argument(
        "--epochs", type=int, default=30, metavar="N", help="passes over the training data (30)"
    )
    add_seed(parser, "the first parameters and every shuffle")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, explain, check, and judge."""
    epochs = integer("epochs", arguments.epochs, 0)
    net = Network([64, 30, 10], seed=arguments.seed)
    images, labels = datasets.load_digits()
    targets = datasets.one_hot(labels, 10)
    held_out = np.arange(len(labels)) % TEST_STEP == 0
    X, Y = images[~held_out], targets[~held_out]
    X_test, Y_test = images[held_out], targets[held_out]

    if not arguments.json:
        _introduce(net, len(X), len(X_test))
    history = net.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        validation_data=(X_test, Y_test),
        metrics=("accuracy",),
        callbacks=() if arguments.json else (EpochTable("test"),),
    )
    accuracy = net.score(X_test, Y_test)
    example, hidden = _most_to_learn(net, X_test, Y_test)
    x, y = X_test[example], Y_test[example]
    chain = net.chain_rule(x, y)
    term = chain.weight(layer=2, j=int(y.argmax()), k=hidden)
    check = net.check_gradient(X_test[:N_CHECKED], Y_test[:N_CHECKED])
    passed = check.passed and accuracy >= ACCURACY
    if arguments.json:
        facts = {
            "passed": passed,
            "accuracy": accuracy,
            "epochs": history.epochs,
            "seconds": history.seconds,
            "chain_rule": {"cost": chain.cost, **facts_of(term)},
            "gradient_check": {
                "passed": check.passed,
                "method": check.method,
                "tolerance": check.tolerance,
                "max_relative_error": check.max_relative_error,
            },
        }
        print_json(facts)
        return 0 if passed else 1

    _explain(x, y, net.predict(x), chain.cost, term)
    print()
    print(f"All {net.n_parameters} derivatives, for {N_CHECKED} test digits, against nudges:")
    print_wrapped(str(check))
    print()
    if history.seconds > 0:
        rate = len(X) * history.epochs / history.seconds
        print(
            f"Speed: {rate:,.0f} training examples a second "
            f"({history.epochs} epochs in {history.seconds:.3g} s)."
        )
    if not check.passed:
        print("FAILED: the gradient check did not pass.")
    elif not passed:
        print(
            f"FAILED: test accuracy {accuracy:.4f} is below {ACCURACY} "
            f"(epochs: {history.epochs}; more may help)."
        )
    else:
        print(f"Done: test accuracy {accuracy:.4f}, gradient check passed.")
    return 0 if passed else 1


def _introduce(net: Network, n: int, n_test: int) -> None:
    print("A network learns to read handwritten digits: 64 pixels in, 30 hidden neurons,")
    print(f"10 outputs; {net.n_parameters} weights and biases. {computed_by()}")
    print(f"It learns from {n} digits and is tested on {n_test} it never learns from.")
    print("An epoch is one pass over the first; accuracy is the share of the others it")
    print("reads right; the cost is low where the outputs are near the wanted ones.")
    print()


def _explain(x: Array, y: Array, outputs: Array, cost: float, term: WeightTerm) -> None:
    """Show one digit, and the derivative of its cost by one weight: as a product, and nudged."""
    digit, hidden = term.j, term.k
    print()
    print("The test digit this network could still learn most from, and its ten outputs:")
    print_digit(x, digit, outputs)
    print()
    print(f"How does its cost C = {cost:.4f} depend on w, the weight from hidden neuron")
    print(f"{hidden} to output neuron {digit}? By the chain rule, a product of three factors:")
    print("∂C/∂w = ∂z/∂w · ∂a/∂z · ∂C/∂a")
    print(f"  ∂z/∂w  {term.dz_dw:>13.9f}   the activation of hidden neuron {hidden}")
    print(f"  ∂a/∂z  {term.da_dz:>13.9f}   σ′(z), the slope of the sigmoid at this neuron's z")
    print(f"  ∂C/∂a  {term.dC_da:>13.9f}   2(a - y) = 2({outputs[digit]:.4f} - {y[digit]:g})")
    print(f"  product{term.value:>13.9f}   the derivative ∂C/∂w")
    print()
    print_nudges(term, "w")


def _most_to_learn(net: Network, X: Array, Y: Array) -> tuple[int, int]:
    """The example and the hidden neuron k of the largest |∂C/∂w_jk| with j the true digit's."""
    backward = net.backward(X, Y)
    delta_j = backward.delta[-1][np.arange(len(Y)), Y.argmax(axis=1)]
    size: Array = np.abs(delta_j[:, np.newaxis] * backward.a[-2])
    example, hidden = np.unravel_index(int(size.argmax()), size.shape)
    return int(example), int(hidden)
