"""What a diagnosis says: that a gradient agrees, or which mistake is in it, with the evidence."""

from __future__ import annotations

from textwrap import fill
from typing import NamedTuple

WIDTH = 76


class LayerDiagnosis(NamedTuple):
    """One layer's part: whether it agrees, the mistakes made in it, and what shows them."""

    layer: int
    agrees: bool
    mistakes: tuple[str, ...]
    evidence: str
    difference: float


class GradientDiagnosis:
    """What is wrong with a gradient of somebody's own, or that nothing is.

    Attributes
    ----------
    agrees : bool
        Whether it is the network's gradient, up to rounding.
    mistakes : tuple of str
        The names of what explains it; empty where it agrees, or where no known mistake does.
        They are "σ′ missing", "σ′ taken of a", "σ′ twice", "transposed", "not averaged", "factor 2
        missing", "sign reversed", "bias forgotten", "order of the vector", "one path only" and "the
        layer above's error".
    explanations : tuple of tuple of str
        The mistakes again, by what explains everything together: more than one entry where
        different mistakes make the same numbers, of this network and these examples.
    layers : tuple of LayerDiagnosis
        For layer 1 … L ``layer``, ``agrees``, the ``mistakes`` made in it, and the ``evidence`` in
        one line: where the mistake was made above, and passed back, a layer has none of its own.
        ``difference`` is the largest from what the mistakes make, or from what is right where none
        explains it, relative to the largest number of the layer's weights or biases.
    evidence : tuple of str
        All of it, a line each.
    explained : bool
        Whether everything is, by these mistakes or because it agrees.
    """

    def __init__(
        self,
        headline: str,
        explanations: tuple[tuple[str, ...], ...],
        layers: tuple[LayerDiagnosis, ...],
        general: tuple[str, ...],
        explained: bool,
    ) -> None:
        self.headline = headline
        self.explanations = explanations
        self.mistakes = tuple(dict.fromkeys(name for names in explanations for name in names))
        self.layers = layers
        self.general = general
        self.explained = explained
        self.agrees = explained and not self.mistakes
        of_layers = tuple(f"layer {l.layer}: {l.evidence}" for l in reversed(layers))
        self.evidence = general + of_layers

    columns = ("layer", "agrees", "mistakes", "evidence", "difference")

    def rows(self) -> list[tuple[str, ...]]:
        """The columns of each layer as text.

        Returns
        -------
        list of tuple of str
            The five columns above, a tuple for each layer.
        """
        return [
            (
                str(l.layer),
                "yes" if l.agrees else "NO",
                ", ".join(l.mistakes),
                l.evidence,
                f"{l.difference:.1e}",
            )
            for l in self.layers
        ]

    def __str__(self) -> str:
        lines = [fill(self.headline, WIDTH, subsequent_indent="    ")]
        lines += [
            fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
            for line in self.evidence
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<GradientDiagnosis, {self.headline}>"

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.gradient_diagnosis(self)
