"""Draw the pictures of docs/pictures/ anew, from live networks.

    python tools/draw_pictures.py [folder]

The first network is the chain of single neurons that tests/formulas/test_lesson.py computes by
hand, the second one of several neurons in a layer, the third that for digits of 28 × 28 pixels,
untrained.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cbackprop import Network, datasets
from cbackprop.drawing.network import draw


def pictures() -> dict[str, str]:
    """Every picture by its file name."""
    chain = Network([1, 1, 1, 1])
    chain.parameters = [1.5, -0.25, -2.0, 0.25, 1.75, 0.5]
    single = chain.chain_rule([0.5], [1.0])

    small = Network([3, 2, 2])
    small.weights[0][...] = [[0.5, -1.25, 0.75], [1.5, 0.25, -0.5]]
    small.biases[0][...] = [0.25, -0.5]
    small.weights[1][...] = [[1.0, -0.75], [-1.5, 2.0]]
    small.biases[1][...] = [0.5, -0.25]
    several = small.chain_rule([0.5, -0.25, 1.0], [1.0, 0.0])

    wide = Network([784, 16, 16, 10], seed=1)
    digit = np.zeros((28, 28))
    digit[4:24, 13:16] = 1.0  # a one
    digits = wide.chain_rule(digit.ravel(), datasets.one_hot([1], 10)[0])

    softmax = Network([4, 3, 3], ["tanh", "softmax"], "cross_entropy", seed=2)
    classes = softmax.chain_rule([0.5, -1.0, 0.25, 1.5], [0.0, 1.0, 0.0])

    xor = Network([2, 3, 1], ["tanh", "sigmoid"], "cross_entropy", seed=1)
    X, Y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    history = xor.fit(
        X, Y, epochs=60, batch_size=4, learning_rate=2.0, shuffle=False, metrics=["accuracy"]
    )
    return {
        "chain.svg": single.weight(1, 0, 0).svg("chain"),
        "chain_dark.svg": single.weight(1, 0, 0).svg("chain", theme="dark"),
        "tree.svg": single.weight(3, 0, 0).svg("tree"),
        "tree_through_the_layers.svg": single.weight(1, 0, 0).svg("tree"),
        "tree_of_several_neurons.svg": several.weight(1, 1, 0).svg("tree"),
        "tree_of_digits.svg": digits.weight(2, 3, 5).svg("tree"),
        "tree_of_softmax.svg": classes.bias(2, 0).svg("tree"),
        "indices.svg": several.weight(2, 1, 0).svg("indices"),
        "indices_of_digits.svg": digits.weight(1, 3, 406).svg("indices"),
        "summary.svg": single.weight(3, 0, 0).svg("summary"),
        "summary_of_digits.svg": digits.weight(2, 3, 5).svg("summary"),
        "network.svg": draw(xor),
        "training.svg": history.plot(),
    }


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "docs" / "pictures"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures().items():
        (folder / name).write_text(svg + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
