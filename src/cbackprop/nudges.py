"""Nudges: what a derivative predicts of a small change, and what the cost then does."""

from __future__ import annotations

from cbackprop.validation import counted

NUDGE_SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class Nudge:
    """A small change of one quantity: what its derivative predicts, and what happens.

    Attributes
    ----------
    size : float
        The change h of the weight, bias or activation.
    predicted : float
        h times the derivative.
    measured : float
        C after minus C before, computed by the reference in float64.
    ratio : float
        measured / h: it tends to the derivative as h shrinks, and only in the limit.
    """

    def __init__(self, size: float, derivative: float, measured: float) -> None:
        self.size = size
        self.derivative = derivative
        self.predicted = size * derivative
        self.measured = measured
        self.ratio = measured / size

    def __str__(self) -> str:
        return (
            f"nudge {self.size:+.6g}: cost changes by {self.measured:+z.9g}, predicted "
            f"{self.predicted:+z.9g}; ratio {self.ratio:z.9g}, derivative {self.derivative:z.9g}"
        )

    def __repr__(self) -> str:
        return f"<Nudge {self}>"


class Nudges(tuple[Nudge, ...]):
    """Nudges of one quantity, side by side: a tuple that prints as a table.

    The columns are the size h, the measured change of the cost, measured / h, how far that is from
    the derivative, and this error / h. Where the last column settles, the error shrinks like h: it
    tends to half of the second derivative.

    Attributes
    ----------
    name : str
        The quantity, such as "w[3, 7] of layer 2".
    derivative : float
        What the ratios tend to.
    """

    columns = ("nudge h", "measured change", "change / h", "error", "error / h")

    name: str
    derivative: float

    def __new__(cls, name: str, derivative: float, nudges: list[Nudge]) -> Nudges:
        table = super().__new__(cls, nudges)
        table.name = name
        table.derivative = derivative
        return table

    def __getnewargs__(self) -> tuple[str, float, list[Nudge]]:
        return self.name, self.derivative, list(self)

    @property
    def errors(self) -> tuple[float, ...]:
        """measured / h − derivative of each nudge."""
        return tuple(nudge.ratio - self.derivative for nudge in self)

    def rows(self) -> list[tuple[str, ...]]:
        """The columns of each nudge as text.

        Returns
        -------
        list of tuple of str
            The five columns above, a tuple for each nudge.
        """
        return [
            (
                f"{nudge.size:g}",
                f"{nudge.measured:z.9g}",
                f"{nudge.ratio:z.9g}",
                f"{error:z.3g}",
                f"{error / nudge.size:z.3g}",
            )
            for nudge, error in zip(self, self.errors, strict=True)
        ]

    def __str__(self) -> str:
        lines = [
            f"{h:>10}{measured:>20}{ratio:>20}{error:>12}{slope:>12}"
            for h, measured, ratio, error, slope in (self.columns, *self.rows())
        ]
        return "\n".join((f"nudges of {self.name}, derivative {self.derivative:z.9g}", *lines))

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'nudge')} of {self.name}, derivative {self.derivative:z.9g}>"

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.nudges(self)
