"""The command line: ``cbackprop demo``, ``train``, ``check``, ``bench`` and ``info``.

Exit statuses: 0; 1 where the computation itself disappoints (a failed check, divergence); 2 for
what was asked wrongly; 130 for Ctrl-C; 141 where the reader of a pipe has gone. Every error is one
line on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from cbackprop import __version__
from cbackprop.cli import bench, check, demo, info, train
from cbackprop.cli.terminal import discard_output, failed, make_encodable


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
    try:
        parser = _parser()
        arguments = parser.parse_args(argv)
        if arguments.run is None:
            parser.print_help(sys.stderr)
            return 2
        status: int = arguments.run(arguments)
        # Here and not at interpreter exit, where a closed pipe could no longer be caught.
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("cbackprop: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        discard_output()
        return 141
    except (FloatingPointError, MemoryError) as error:
        return failed(error, 1)
    except (OSError, TypeError, ValueError) as error:
        return failed(error, 2)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error of this program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="cbackprop",
        description="Exact gradients and training of dense neural networks, with every factor of "
        "the chain rule open to inspection.",
    )
    parser.add_argument("--version", action="version", version=f"cbackprop {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="command")
    for command in (demo, train, check, bench, info):
        command.add(commands)
    return parser
