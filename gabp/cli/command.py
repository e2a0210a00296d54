"""The command line: ``gabp COMMAND ...``.

Results go to stdout, everything else to stderr. The exit code is 0 when converged or done, 1 when not
converged, 2 for bad input; 130 when interrupted and 141 when the reader of stdout has closed it, as in shells.
"""

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, NoReturn, Protocol

import torch

import gabp
from gabp.cli.commands import bench, check, demo, marginals, optimize, solve
from gabp.cli.errors import CommandError
from gabp.files import FileError

__all__ = ["main"]

BAD_INPUT, INTERRUPTED, READER_LEFT = 2, 130, 141


class Command(Protocol):
    """The interface of a subcommand's module."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare its arguments."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Run the subcommand; returns the exit code."""


COMMANDS: dict[str, Command] = {
    "solve": solve,
    "check": check,
    "marginals": marginals,
    "optimize": optimize,
    "bench": bench,
    "demo": demo,
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="gabp",
        description="Gaussian belief propagation on sparse systems.",
        epilog="Exit codes: 0 converged or done, 1 not converged, 2 bad input.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gabp {gabp.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.add_arguments(subparser)
    return parser


def _report(name: str, message: object) -> None:
    """One line on stderr, whatever the message holds."""
    if sys.stderr is not None:
        print(f"{name}: {' '.join(str(message).split())}", file=sys.stderr)


class _OneLine(logging.Formatter):
    """A log record as ``gabp: warning: message``."""

    def format(self, record: logging.LogRecord) -> str:
        return f"gabp: {record.levelname.lower()}: {' '.join(record.getMessage().split())}"


@contextmanager
def _notices_on_stderr() -> Iterator[None]:
    """Show the library's log and Python's warnings as single lines on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("gabp")
    logger.addHandler(handler)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: IO[str] | None = None,
        line: str | None = None,
    ) -> None:
        _report("gabp: warning", message)

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        finally:
            logger.removeHandler(handler)


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter's own flush at exit cannot fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _out_of_memory(error: Exception) -> bool:
    """Whether numpy, Python or torch ran out of memory (torch's CPU allocator raises a bare RuntimeError)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    name = "gabp"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for terminals whose encoding lacks ‖
    try:
        with _notices_on_stderr():
            try:
                arguments = _build_parser().parse_args(argv)
            except SystemExit:  # --help and --version have been answered
                code = 0
            else:
                name = f"gabp {arguments.command}"
                code = COMMANDS[arguments.command].run(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
    except (CommandError, FileError) as error:
        _report(name, f"error: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        _report(name, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return READER_LEFT
    except OSError as error:
        _discard_stdout()
        _report(name, f"error: the output cannot be written: {error}")
        return BAD_INPUT
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _report(name, "error: not enough memory for a problem of this size")
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
