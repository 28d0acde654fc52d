"""``cbackprop demo``: digits learnt, and the chain rule at work on one weight."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from cbackprop import Network, datasets
from cbackprop.cli.epochs import EpochTable
from cbackprop.cli.info import computed_by
from cbackprop.cli.options import add_common
from cbackprop.cli.terminal import print_wrapped
from cbackprop.functions import Array
from cbackprop.validation import integer

# With these every one of the seeds 0 to 9 reaches a test accuracy of 0.969 or more.
BATCH_SIZE = 10
LEARNING_RATE = 2.0
ACCURACY = 0.95
TEST_STEP = 5  # every fifth digit is for testing: 360 of 1,797
NUDGES = (0.1, 0.01, 0.001)
N_CHECKED = 5

SHADES = " .:-=+*#%@"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="train on the bundled digits and show the chain rule at work",
        description="Train a network on the bundled 8x8 digits, then take one weight's derivative "
        "apart, nudge the weight, and check the whole gradient.",
    )
    parser.set_defaults(run=run)
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    epochs = integer("epochs", arguments.epochs, 0)
    net = Network([64, 30, 10], seed=arguments.seed)
    images, labels = datasets.load_digits()
    targets = datasets.one_hot(labels, 10)
    held_out = np.arange(len(labels)) % TEST_STEP == 0
    X, Y = images[~held_out], targets[~held_out]
    X_test, Y_test = images[held_out], targets[held_out]

    print("A network learns to read handwritten digits: 64 pixels in, 30 hidden neurons,")
    print(f"10 outputs; {net.n_parameters} weights and biases. {computed_by()}")
    print(f"It learns from {len(X)} digits and is tested on {len(X_test)} it never learns from.")
    print("An epoch is one pass over the first; accuracy is the share of the others it")
    print("reads right; the cost is low where the outputs are near the wanted ones.")
    print()
    history = net.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        validation_data=(X_test, Y_test),
        metrics=("accuracy",),
        callbacks=(EpochTable(),),
    )
    accuracy = net.score(X_test, Y_test)

    example, hidden = _most_to_learn(net, X_test, Y_test)
    _explain(net, X_test[example], Y_test[example], hidden)

    check = net.check_gradient(X_test[:N_CHECKED], Y_test[:N_CHECKED])
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
        return 1
    if accuracy < ACCURACY:
        print(
            f"FAILED: test accuracy {accuracy:.4f} is below {ACCURACY} "
            f"(epochs: {history.epochs}; more may help)."
        )
        return 1
    print(f"Done: test accuracy {accuracy:.4f}, gradient check passed.")
    return 0


def _explain(net: Network, x: Array, y: Array, hidden: int) -> None:
    """Show one digit, and the derivative of its cost by one weight: as a product, and nudged."""
    digit = int(y.argmax())
    outputs = net.predict(x)
    print()
    print("The test digit this network could still learn most from, and its ten outputs:")
    _print_digit(x, digit, outputs)

    chain = net.chain_rule(x, y)
    term = chain.weight(layer=2, j=digit, k=hidden)
    print()
    print(f"How does its cost C = {chain.cost:.4f} depend on w, the weight from hidden neuron")
    print(f"{hidden} to output neuron {digit}? By the chain rule, a product of three factors:")
    print("∂C/∂w = ∂z/∂w · ∂a/∂z · ∂C/∂a")
    print(f"  ∂z/∂w  {term.dz_dw:>13.9f}   the activation of hidden neuron {hidden}")
    print(f"  ∂a/∂z  {term.da_dz:>13.9f}   σ′(z), the slope of the sigmoid at this neuron's z")
    print(f"  ∂C/∂a  {term.dC_da:>13.9f}   2(a - y) = 2({outputs[digit]:.4f} - {y[digit]:g})")
    print(f"  product{term.value:>13.9f}   the derivative ∂C/∂w")

    print()
    print("Nudge w and run the network again. Predicted is nudge · ∂C/∂w; the smaller the")
    print("nudge, the nearer measured / nudge comes to ∂C/∂w.")
    print(f"{'nudge':>8}{'predicted change':>20}{'measured change':>20}{'measured / nudge':>20}")
    for size in NUDGES:
        nudge = term.nudge(size)
        print(f"{size:>8g}{nudge.predicted:>20.9f}{nudge.measured:>20.9f}{nudge.ratio:>20.9f}")


def _most_to_learn(net: Network, X: Array, Y: Array) -> tuple[int, int]:
    """The example and the hidden neuron k of the largest |∂C/∂w_jk| with j the true digit's."""
    backward = net.backward(X, Y)
    delta_j = backward.delta[-1][np.arange(len(Y)), Y.argmax(axis=1)]
    size = np.abs(delta_j[:, np.newaxis] * backward.a[-2])
    example, hidden = np.unravel_index(size.argmax(), size.shape)
    return int(example), int(hidden)


def _print_digit(x: Array, label: int, outputs: Array) -> None:
    """An 8x8 picture in characters, with the label and the outputs beside it."""
    prediction = int(outputs.argmax())
    verdict = "right" if prediction == label else "wrong"
    beside = [f"label {label}, prediction {prediction}: {verdict}", ""]
    beside += [
        f"{j}: {outputs[j]:.4f}    {j + 5}: {outputs[j + 5]:.4f}" for j in range(len(outputs) // 2)
    ]
    beside += [""]
    for row, text in zip(x.reshape(8, 8), beside, strict=True):
        # Each pixel twice, because characters are about twice as high as wide.
        pixels = "".join(2 * SHADES[round(value * (len(SHADES) - 1))] for value in row.tolist())
        print(f"  |{pixels}|   {text}".rstrip())
