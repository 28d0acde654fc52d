"""Options that several commands have."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Callable
from typing import Any, Literal, NoReturn, Protocol

from cbackprop import Network
from cbackprop.functions import ACTIVATIONS, INITS


class Options(Protocol):
    """A parser, or a group of its options."""

    @property
    def add_argument(self) -> Callable[..., argparse.Action]: ...


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error of this program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def add_command(
    commands: Any, name: str, run: Any, short: str, description: str, examples: str
) -> Parser:
    """A command's own parser; ``short`` stands in the list of commands."""
    parser: Parser = commands.add_parser(
        name,
        help=short,
        description=textwrap.fill(description, 78),
        epilog="examples:\n" + textwrap.indent(textwrap.dedent(examples).strip("\n"), "  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(facts: dict[str, Any]) -> None:
    """One JSON object; what is not finite is null, as JSON has no word for it."""
    print(json.dumps(_finite(facts), indent=2, allow_nan=False))


def _finite(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {name: _finite(fact) for name, fact in facts.items()}
    if isinstance(facts, (list, tuple)):
        return [_finite(fact) for fact in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def add_seed(parser: Options, what: str) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"fixes {what} (0)")


def add_number_type(parser: Options, default: str) -> None:
    parser.add_argument("--dtype", help=f"float32 or float64 ({default})")


def add_init(parser: Options) -> None:
    parser.add_argument("--init", help=f"first parameters: {', '.join(INITS)} (auto)")


def add_sizes(parser: Options, metavar: str, default: str) -> None:
    what = f"inputs, hidden layers, outputs ({default})"
    parser.add_argument("--sizes", type=integers, metavar=metavar, help=what)


def add_activation(parser: Options) -> None:
    parser.add_argument(
        "--activation",
        metavar="NAME[,NAME...]",
        help="one for all layers, or one for each after the input: "
        f"{', '.join(ACTIVATIONS)} (sigmoid)",
    )


def network_of(
    arguments: argparse.Namespace,
    sizes: tuple[int, ...],
    backend: Literal["compiled", "reference"] = "compiled",
) -> Network:
    """The network that the options ask for; ``sizes`` stand where --sizes does not."""
    given: Any = (arguments.activation or "sigmoid").split(",")
    return Network(
        arguments.sizes or sizes,
        given[0] if len(given) == 1 else given,
        arguments.cost or "quadratic",
        dtype=arguments.dtype or "float64",
        init=arguments.init or "auto",
        seed=arguments.seed,
        backend=backend,
    )


def add_examples(parser: argparse.ArgumentParser, mnist: str, target: str) -> None:
    """DATA, --digits or --mnist, and how a file is to be read."""
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="a CSV, .npy or .npz file; - for CSV from stdin"
    )
    parser.add_argument(
        "--digits", action="store_true", help="instead of DATA the 1,797 bundled digits"
    )
    parser.add_argument(
        "--mnist", metavar="DIR", help=f"instead of DATA {mnist}, in the folder DIR"
    )
    reading = parser.add_argument_group(
        "how DATA is read",
        "Columns are named as the header does, or by numbers from 0; -1 is the last.",
    )
    reading.add_argument("--target", metavar="COLUMN[,...]", help=target)
    reading.add_argument("--drop", metavar="COLUMN[,...]", help="columns that are not read")
    reading.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="the first line has names (it has them if no cell of it is a number)",
    )
    reading.add_argument(
        "--delimiter", metavar="CHARACTER", help="between the cells (, or ; or a tabulator)"
    )
    reading.add_argument("--x-key", metavar="NAME", help="the array of inputs of a .npz file (X)")
    reading.add_argument("--y-key", metavar="NAME", help="the array of targets of a .npz file (Y)")


def integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected an integer or several with commas between, such as 16,16"
        ) from None


def names(text: str | None) -> list[str] | None:
    """Names with commas between; one that has a comma itself stands in double quotes."""
    import csv

    if text is None:
        return None
    empty: list[str] = []
    return [name.strip() for name in next(csv.reader([text]), empty)]
