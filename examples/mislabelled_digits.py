"""Find wrong labels by what they do to the gradient.

    python examples/mislabelled_digits.py

5 % of the training labels are replaced by wrong ones, a network is trained for ten epochs, before
it has learned them by heart, and every training example gets two scores:

norm    the squared length of its gradient: what a step on it does to its own cost. TracIn calls
        this self-influence (Pruthi et al. 2020, "Estimating training data influence by tracing
        gradient descent", arXiv:2002.08484). Needs no clean data; hard examples score high, too.
TracIn  how much a step on it raises the costs of the clean digits of one class, by the inner
        products of its gradient with theirs. Needs some labels known to be right, and says which
        label should have stood there: that of the class it harms most.

A plain sum over the whole clean set finds little: a wrong label harms the digits that the image
looks like, but helps those of the class it names. Hence one mean for each class. The clean
gradients are brought to length 1, so that no single hard example among them decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop import Network, datasets

CHECKPOINTS = (6, 8, 10)  # epochs after which gradients are looked at


class Score(NamedTuple):
    """How well a score ranks the wrong labels first."""

    name: str
    precision: float
    auc: float


class Result(NamedTuple):
    n_wrong: int
    scores: list[Score]
    right_suggestions: float
    suspects: list[tuple[int, int, int, int]]
    test_accuracy: float


def with_wrong_labels(
    labels: np.ndarray, share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which that share is replaced by another class, and a mask of the replaced ones."""
    n_wrong = round(share * len(labels))
    chosen = random.choice(len(labels), n_wrong, replace=False)
    given = labels.copy()
    given[chosen] = (labels[chosen] + random.integers(1, 10, n_wrong)) % 10
    return given, given != labels


def area_under_curve(score: np.ndarray, wanted: np.ndarray) -> float:
    """The chance that a wanted example scores higher than another one, ties counting half.

    This is the area under the ROC curve, here by the ranks' sum (Mann and Whitney 1947).
    """
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(count)
    rank = (last_rank - (count - 1) / 2)[place]
    n_wanted = np.count_nonzero(wanted)
    n_others = len(wanted) - n_wanted
    return float((rank[wanted].sum() - n_wanted * (n_wanted + 1) / 2) / (n_wanted * n_others))


def precision_at(score: np.ndarray, wanted: np.ndarray, k: int) -> float:
    """The share of wanted examples among the k with the highest score."""
    return float(wanted[np.argsort(-score, kind="stable")[:k]].mean())


def harm_by_class(
    net: Network,
    X: np.ndarray,
    Y: np.ndarray,
    X_clean: np.ndarray,
    clean_labels: np.ndarray,
) -> np.ndarray:
    """(n, 10): how fast a step on example i raises the cost of the clean digits of each class.

    A step of learning rate η along −∇C_i changes C_j by −η⟨∇C_i, ∇C_j⟩ in first order; η is left
    out, being the same for all.
    """
    Y_clean = datasets.one_hot(clean_labels, 10)
    influence = net.gradient_gram(X, Y, X_clean, Y_clean)
    influence = influence / net.gradient_norms(X_clean, Y_clean)
    return -np.stack([influence[:, clean_labels == c].mean(axis=1) for c in range(10)], axis=1)


def run(
    *,
    share: float = 0.05,
    n_clean: int = 100,
    seed: int = 0,
    backend: str = "compiled",
) -> Result:
    """Flip labels, train, score, and compare with what was flipped."""
    random = np.random.default_rng(seed)
    X, labels = datasets.load_digits()
    held_out = np.arange(len(X)) % 5 == 0
    X_train, true_labels = X[~held_out], labels[~held_out]
    X_clean, clean_labels = X[held_out][:n_clean], labels[held_out][:n_clean]
    X_test, test_labels = X[held_out][n_clean:], labels[held_out][n_clean:]
    given_labels, wrong = with_wrong_labels(true_labels, share, random)
    Y_train = datasets.one_hot(given_labels, 10)

    net = Network((64, 32, 10), ["tanh", "softmax"], "cross_entropy", seed=seed, backend=backend)
    squared_norms = np.zeros(len(X_train))
    harm = np.zeros((len(X_train), 10))
    for epoch in range(1, max(CHECKPOINTS) + 1):
        net.fit(X_train, Y_train, epochs=1, batch_size=32, learning_rate=0.1)
        if epoch in CHECKPOINTS:
            squared_norms += net.gradient_norms(X_train, Y_train) ** 2
            harm += harm_by_class(net, X_train, Y_train, X_clean, clean_labels)

    n_wrong = int(np.count_nonzero(wrong))
    suggested = harm.argmax(axis=1)
    worst_harm = harm.max(axis=1)
    scores = [
        Score(name, precision_at(score, wrong, n_wrong), area_under_curve(score, wrong))
        for name, score in (
            ("norm", squared_norms),
            ("TracIn", worst_harm),
        )
    ]
    scores.append(Score("chance", n_wrong / len(X_train), 0.5))
    return Result(
        n_wrong,
        scores,
        float((suggested == true_labels)[wrong].mean()),
        [
            (int(i), int(given_labels[i]), int(suggested[i]), int(true_labels[i]))
            for i in np.argsort(-worst_harm, kind="stable")[:8]
        ],
        net.score(X_test, datasets.one_hot(test_labels, 10)),
    )


def main() -> None:
    result = run()
    print(f"{result.n_wrong} of 1,437 training labels are wrong; 100 clean digits beside; test")
    print(f"accuracy of the network trained on them {result.test_accuracy:.3f}.\n")
    print(f"{'score':<8}{f'wrong among the first {result.n_wrong}':>26}{'area under ROC':>17}")
    for score in result.scores:
        print(f"{score.name:<8}{score.precision:>26.3f}{score.auc:>17.3f}")
    print(
        f"\nTracIn suggests the right label for {result.right_suggestions:.1%} of the wrong ones."
    )
    print("Its first suspects:\n")
    print(f"{'example':>8}{'given':>7}{'suggested':>11}{'true':>6}")
    for index, given, suggested, true in result.suspects:
        print(f"{index:>8}{given:>7}{suggested:>11}{true:>6}")


if __name__ == "__main__":
    main()
