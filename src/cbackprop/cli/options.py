"""Options that several commands have."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, Protocol

from cbackprop import Network
from cbackprop.functions import ACTIVATIONS, INITS
from cbackprop.tables import listed
from cbackprop.validation import is_list, is_mapping
from cbackprop.validation.keywords import meaning

LONGEST_MESSAGE = 500  # letters; an argument that is shown may have thousands


class Options(Protocol):
    """A parser, or a group of its options."""

    @property
    def add_argument(self) -> Callable[..., argparse.Action]: ...


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error of this program."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # From Python 3.14 on help has colours, whose escapes this program shows and does not send.
        self.color = False

    def error(self, message: str) -> NoReturn:
        short = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"
        raise ValueError(f"{short} (see {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Let what cannot be written be an error, which argparse does not tell."""
        stream = file or sys.stdout
        stream.write(message)
        stream.flush()

    def meant_by(self, word: str) -> str:
        """The end of a message about an unknown option: what is meant, or what it is in Python."""
        if word[:1] != "-":
            return ""
        own = [name.lstrip("-").replace("-", "_") for name in self._option_string_actions]
        found, call = meaning(word.lstrip("-").partition("=")[0], own)
        if call is not None:
            return f"; in Python {found} is an argument of {call}()"
        return f"; did you mean --{found.replace('_', '-')}?" if found else ""

    def parse_known_args(  # type: ignore[override]  # of one form of several
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but a value may begin with a minus: --drop -4,-3, --labels -1,1."""
        given = sys.argv[1:] if args is None else args
        known = argparse.Namespace() if namespace is None else namespace
        return super().parse_known_args(self._with_joined_values(given), known)

    def _with_joined_values(self, args: Sequence[str]) -> list[str]:
        """--drop=-4,-3 for --drop -4,-3, where -4,-3 is no option."""
        known = self._option_string_actions
        joined: list[str] = []
        for word in args:
            before = joined[-1] if joined else ""
            options = [known[before]] if before in known else []
            if not options and before.startswith("--"):  # the beginning of one alone
                options = [known[name] for name in known if name.startswith(before)]
            takes_value = len(options) == 1 and options[0].nargs in (None, "?")
            if takes_value and word[:1] == "-" and word[:2] not in ("-", "--", "-h"):
                joined[-1] = f"{before}={word}"
            else:
                joined.append(word)
        return joined


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
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def print_json(facts: dict[str, Any]) -> None:
    """One JSON object; what is not finite is null, as JSON has no word for it."""
    print(json.dumps(_finite(facts), indent=2, allow_nan=False))


def _finite(facts: Any) -> Any:
    if is_mapping(facts):
        return {name: _finite(fact) for name, fact in facts.items()}
    if is_list(facts):
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


def add_activations(parser: Options, hidden: str, output: str) -> None:
    """--activation and --output, which mean the same in every command; and what stands for none."""
    parser.add_argument(
        "--activation",
        metavar="NAME[,NAME...]",
        help="of the hidden layers; or one for each layer after the input: "
        f"{', '.join(ACTIVATIONS)} ({hidden})",
    )
    parser.add_argument("--output", metavar="NAME", help=f"activation of the outputs ({output})")


def activations(
    arguments: argparse.Namespace, n_layers: int, hidden: str, output: str
) -> list[str]:
    """The activation of each layer after the input, as --activation and --output say it."""
    given: list[str] = [] if arguments.activation is None else arguments.activation.split(",")
    if len(given) > 1 and arguments.output is None:
        return given
    own = given or [hidden]
    own = own * (n_layers - 1) if len(own) == 1 else own
    return [*own, arguments.output or output]


def network_of(
    arguments: argparse.Namespace,
    sizes: tuple[int, ...],
    backend: Literal["compiled", "reference"] = "compiled",
) -> Network:
    """The network that the options ask for; ``sizes`` stand where --sizes does not."""
    asked: Any = arguments.sizes or sizes
    words: Any = activations(arguments, len(asked) - 1, "sigmoid", "sigmoid")
    return Network(
        asked,
        words,
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
        help="whether the first line has names (told from what stands in it and below it)",
    )
    reading.add_argument(
        "--delimiter",
        metavar="CHARACTER",
        help="between the cells, or tab (, ; | tabs or blanks, as the lines have it)",
    )
    reading.add_argument(
        "--encoding", metavar="NAME", help="of a CSV file's letters, such as cp1252 (utf-8)"
    )
    reading.add_argument("--x-key", metavar="NAME", help="the array of inputs of a .npz file (X)")
    reading.add_argument("--y-key", metavar="NAME", help="the array of targets of a .npz file (Y)")


NUMBERS = ("--hidden", "--sizes")
LISTS = (*NUMBERS, "--activation", "--target", "--drop", "--categorical", "--labels", "--only")


def meant_together(argv: Sequence[str], rest: Sequence[str]) -> str:
    """The end of a message about arguments that are left over: --hidden 16 16 means 16,16."""
    for start, name in enumerate(argv):
        if name not in LISTS:
            continue
        values = list(argv[start + 1 : start + 2])
        for word in argv[start + 2 :]:
            is_another = word.isdigit() if name in NUMBERS else word in rest
            if not is_another or word.startswith("--"):
                break
            values.append(word)
        if len(values) > 1:
            together = ",".join(value.strip(",") for value in values)
            return f"; several values of {name} have commas between them: {name} {together}"
    return ""


def integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected an integer or several with commas between, such as 16,16"
        ) from None


def names(option: str, text: str | None) -> list[str] | None:
    """Names with commas between; one that has a comma itself stands in double quotes."""
    return None if text is None else listed(option, text)
