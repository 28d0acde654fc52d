"""What a search has found, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbackprop.functions import COSTS, Array
from cbackprop.gradient_diagnosis.errors import Error
from cbackprop.gradient_diagnosis.forms import Reading
from cbackprop.gradient_diagnosis.mistakes import BIAS, TRANSPOSED, Mistake, names_of
from cbackprop.gradient_diagnosis.result import GradientDiagnosis, LayerDiagnosis
from cbackprop.gradient_diagnosis.search import Explanation, Rounding, Ways, largest
from cbackprop.model import Model


class Words:
    """How a diagnosis of one gradient is put: beside the right one, and as it was documented."""

    def __init__(self, model: Model, right: list[Error], documented: Reading, n: int) -> None:
        self.model = model
        self.right = right
        self.documented = documented
        self.n = n

    # -- the three ends --

    def agreement(self, rounding: Rounding) -> GradientDiagnosis:
        single = rounding.epsilon > np.finfo(np.float64).eps
        text = "the gradient agrees, up to rounding" + (" of single precision" if single else "")
        layers = [
            LayerDiagnosis(error.layer, True, (), "agrees", self.off(error, self.documented))
            for error in self.right
        ]
        return GradientDiagnosis(text, (), tuple(layers), (), True)

    def whole(self, found: list[tuple[Ways, Explanation]], rounding: Rounding) -> GradientDiagnosis:
        way, explanation = found[0]
        alternatives = [self.named(e) for _, e in found]
        many = any(len(e.names) > 1 for _, e in found)
        text = f"{'mistakes' if many else 'mistake'}: {' or '.join(alternatives)}"
        if len(found) > 1:
            text += ", which make the same numbers here"
        general = [m.said for _, e in found for m in e.mistakes if m.layer == 0]
        return self.diagnosis(text, found, way.reading, explanation, rounding, general)

    def partial(self, explanation: Explanation, rounding: Rounding) -> GradientDiagnosis:
        unexplained = sorted(explanation.unexplained)
        all_of_it = len(unexplained) == len(self.right)
        text = f"no known mistake explains {'it' if all_of_it else _layers(unexplained)}"
        if explanation.names:
            text = f"mistakes: {self.named(explanation)}; {text}"
        found = [(None, explanation)]
        general = self.constant_factor(rounding)
        return self.diagnosis(text, found, self.documented, explanation, rounding, general)

    # -- their parts --

    def diagnosis(
        self,
        text: str,
        found: Sequence[tuple[object, Explanation]],
        reading: Reading,
        explanation: Explanation,
        rounding: Rounding,
        general: list[str],
    ) -> GradientDiagnosis:
        """One line for each layer, of the first explanation."""
        layers: list[LayerDiagnosis] = []
        passed = False  # whether a mistake comes from above
        for error, factors in zip(explanation.errors, explanation.factors, strict=True):
            layer = error.layer
            own = [m for m in explanation.mistakes if m.layer == layer]
            agrees = self.agrees(layer, rounding)
            off = self.off(error, reading, factors)
            if layer in explanation.unexplained:
                evidence, off = self.differences(layer, rounding)
            elif own:
                evidence = "; ".join(f"{m.name}: {m.said}" for m in _together(own))
            elif agrees:
                evidence = "agrees"
            else:
                evidence = "follows from the layers above" if passed else "agrees in that way"
            passed = passed or bool(error.mistakes)
            names = names_of(tuple(own))
            layers.insert(0, LayerDiagnosis(layer, agrees, names, evidence, off))
        names_of_each = tuple(tuple(sorted(e.names)) for _, e in found if e.names)
        return GradientDiagnosis(
            text,
            names_of_each,
            tuple(layers),
            tuple(dict.fromkeys(general)),
            not explanation.unexplained,
        )

    def named(self, explanation: Explanation) -> str:
        """The names of its mistakes and where they are."""
        texts: list[str] = []
        for name in names_of(explanation.mistakes):
            made = [m for m in explanation.mistakes if m.name == name]
            layers = sorted({m.layer for m in made} - {0})
            parts = {m.part for m in made}
            where = ""
            if len(parts) == 1 and "" not in parts and name not in (BIAS, TRANSPOSED):
                where = f" in the {parts.pop()}"
            if layers and len(layers) < len(self.right):
                where += f" {'of' if where else 'in'} {_layers(layers)}"
            texts.append(name + where)
        return ", ".join(texts)

    def off(
        self, error: Error, reading: Reading, factors: tuple[float, float] = (1.0, 1.0)
    ) -> float:
        """The largest difference from what is expected, relative to the part's largest number."""
        offs: list[float] = []
        for given, expected in (
            (reading.weights[error.layer - 1], factors[0] * error.weights),
            ((reading.biases[error.layer - 1],), factors[1] * error.biases),
        ):
            off = min(largest(array - expected) for array in given if array is not None)
            offs.append(_relative(off, expected))
        return max(offs, default=0.0)

    def parts(self, layer: int) -> list[tuple[str, Array | None, Array, float]]:
        """Name, what was given, what is right, and how large that is at least, for rounding."""
        error = self.right[layer - 1]
        return [
            (
                "weights",
                self.documented.weights[layer - 1][0],
                error.weights,
                error.weights_size,
            ),
            ("biases", self.documented.biases[layer - 1], error.biases, error.biases_size),
        ]

    def agrees(self, layer: int, rounding: Rounding) -> bool:
        return not self.documented.mistakes and all(
            self.part_agrees(layer, i, rounding) for i in range(2)
        )

    def part_agrees(self, layer: int, i: int, rounding: Rounding) -> bool:
        _, given, right, size = self.parts(layer)[i]
        tolerance = rounding.tolerance(right, size, rounding.nearby[layer - 1][i])
        return given is not None and largest(given - right) <= tolerance

    def differences(self, layer: int, rounding: Rounding) -> tuple[str, float]:
        """Of each part how far it is off, and where most; and the largest of both, relative."""
        texts: list[str] = []
        offs: list[float] = [0.0]
        for i, (name, given, right, _) in enumerate(self.parts(layer)):
            singular = "weight" if name == "weights" else "bias"
            if given is None:
                offs.append(np.inf)
                texts.append(f"{name} of another shape")
                continue
            if self.part_agrees(layer, i, rounding):
                texts.append(f"{name} agree")
                continue
            wrong = ~np.isfinite(given)
            off = np.where(wrong, np.inf, np.abs(given - right))
            place = np.unravel_index(int(off.argmax()), off.shape)
            offs.append(_relative(float(off[place]), right))
            at = f"{singular} {[int(index) for index in place]}"
            if wrong.any():
                texts.append(f"{at} is {given[place]:g}")
            elif not given.any():
                texts.append(f"every ∂C/∂{'W' if name == 'weights' else 'b'} is 0")
            else:
                texts.append(f"{at} is {given[place]:.6g} where {right[place]:.6g} is right")
        return "; ".join(texts), max(offs)

    def constant_factor(self, rounding: Rounding) -> list[str]:
        """Whether all of it is the right gradient times some number."""
        given = [array for l in range(1, len(self.right) + 1) for _, array, _, _ in self.parts(l)]
        right = [array for l in range(1, len(self.right) + 1) for _, _, array, _ in self.parts(l)]
        if any(array is None or not np.isfinite(array).all() for array in given):
            return []
        pairs = [(g, r) for g, r in zip(given, right, strict=True) if g is not None]
        scale = max(largest(r) for _, r in pairs)
        if scale == 0 or sum(g.size for g, _ in pairs) < 3:
            return []
        above = sum(float(np.sum(g * (r / scale))) for g, r in pairs)
        factor = above / (scale * sum(float(np.sum((r / scale) ** 2)) for _, r in pairs))
        if factor == 0:
            return []
        for i, (g, r) in enumerate(pairs):
            error = self.right[i // 2]
            size = (error.weights_size, error.biases_size)[i % 2]
            tolerance = rounding.tolerance(r, size, rounding.nearby[i // 2][i % 2])
            if not largest(g / factor - r) <= 2 * tolerance:
                return []
        text = f"every number is the right one times {factor:.6g}"
        cost, n_L = self.model.cost_function, self.model.sizes[-1]
        if np.isclose(factor * self.n, 1):
            text += f", or divided by {self.n}, the number of examples, once more"
        elif isinstance(cost, str) and COSTS[cost].is_mean and np.isclose(factor, n_L):
            text += f": {cost} is a mean over the {n_L} outputs"
        elif cost == "half_quadratic" and np.isclose(factor, 2):
            text += ": half_quadratic has no factor 2"
        return [text]


def _together(mistakes: list[Mistake]) -> list[Mistake]:
    """What is said of weights and biases alike is said once."""
    merged: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in mistakes:
        merged.setdefault((mistake.name, mistake.said), []).append(mistake)
    return [
        some[0] if len(some) > 1 else some[0]._replace(said=_of_part(some[0]))
        for some in merged.values()
    ]


def _of_part(mistake: Mistake) -> str:
    is_factor = mistake.said.startswith("times")
    return f"{mistake.part} {mistake.said}" if is_factor else mistake.said


def _relative(off: float, expected: Array) -> float:
    """To the largest number; infinite where there is none, or what came is no number."""
    size = largest(expected)
    if off == 0:
        return 0.0
    return off / size if size > 0 and np.isfinite(off) else np.inf


def _layers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"layer {numbers[0]}"
    return f"layers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
