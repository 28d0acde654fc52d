"""The command line: ``cbackprop demo``, ``train``, ``predict``, ``explain`` and others.

Exit statuses: 0; 1 where the computation itself disappoints (a failed check, divergence); 2 for
what was asked wrongly; 130 for Ctrl-C; 141 where the reader of a pipe has gone. Every error is one
line on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cbackprop._version import __version__
from cbackprop.cli import bench, check, demo, explain, info, predict, step, train
from cbackprop.cli.options import Parser, meant_together
from cbackprop.cli.terminal import discard_output, failed, make_encodable, note, shown_output


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status. ``--help`` and ``--version`` raise SystemExit(0), as argparse does.
    """
    make_encodable()
    with shown_output():
        return _run(sys.argv[1:] if argv is None else list(argv))


def _run(argv: list[str]) -> int:
    try:
        parser = _parser()
        arguments, rest = parser.parse_known_args(argv)
        # DATA after options, which Python 3.11's argparse leaves over: train --hidden 8 iris.csv
        if (
            rest
            and vars(arguments).get("data", "") is None
            and (rest[0] == "-" or rest[0][:1] != "-")
        ):
            arguments.data = rest.pop(0)
        data = vars(arguments).get("data")
        if not rest and data is not None and data.isdigit() and not os.path.exists(data):
            rest = [data] if meant_together(argv, [data]) else []
        if rest:
            asked: Parser = arguments.parser
            hint = meant_together(argv, rest) or asked.meant_by(rest[0])
            asked.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        if arguments.run is None:
            parser.print_help(sys.stderr)
            return 2
        _require_files_apart(vars(arguments))
        status: int = arguments.run(arguments)
        # Here and not at interpreter exit, where a closed pipe could no longer be caught.
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        discard_output()
        return 141
    except (FloatingPointError, MemoryError) as error:
        return failed(error, 1)
    except (OSError, TypeError, ValueError) as error:
        return failed(error, 2)


def _require_files_apart(arguments: dict[str, object]) -> None:
    """What is written must not replace what is read, or what is written besides."""
    taken: dict[str, str] = {}
    for name in ("data", "model", "checkpoint", "save", "out", "svg", "html"):
        path = arguments.get(name)
        # Devices and pipes are nobody's own.
        if not isinstance(path, str) or (os.path.exists(path) and not os.path.isfile(path)):
            continue
        place = os.path.realpath(path)
        if place in taken and name != "model":
            raise ValueError(
                f"--{name} is {path!r}, which is {taken[place]}, too; expected a file of its own"
            )
        taken[place] = name.upper() if name in ("data", "model") else f"--{name}"


def _parser() -> Parser:
    parser = Parser(
        prog="cbackprop",
        description="Exact gradients and training of dense neural networks, with every factor of "
        "the chain rule open to inspection.",
    )
    parser.add_argument("--version", action="version", version=f"cbackprop {__version__}")
    parser.set_defaults(run=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="command")
    for command in (demo, train, predict, explain, step, check, bench, info):
        command.add(commands)
    return parser
