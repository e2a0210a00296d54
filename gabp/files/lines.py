"""Lines of numbers, parsed strictly: what is wrong is named with its line."""

import re
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|infinity|nan)", re.IGNORECASE)
_LARGEST_ID = 2**53  # float64 holds whole numbers up to here


class GraphFileError(ValueError):
    """The text is no factor graph that can be read; the message names the line."""


def fail(line: int, problem: str) -> NoReturn:
    """Raise `GraphFileError` about a line, counted from 1."""
    raise GraphFileError(f"line {line}: {problem}")


def shown(text: str) -> str:
    """A piece of a line, safe to print."""
    text = text.strip()
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def parse_numbers(lines: Sequence[str], numbers: Sequence[int], width: int, form: str) -> np.ndarray:
    """Lines of ``width`` finite numbers each, shape (lines, width).

    Parameters
    ----------
    lines : sequence of str
    numbers : sequence of int
        Of the lines in the file.
    width : int
    form : str
        What a line should be, for the message.

    Raises
    ------
    GraphFileError
    """
    if not lines:
        return np.empty((0, width))
    if not any(map(str.strip, lines)):  # which `loadtxt` takes for no data
        _diagnose(lines, numbers, width, form)
    try:
        values = np.loadtxt(lines, ndmin=2, comments=None)
    except ValueError:
        _diagnose(lines, numbers, width, form)
    if values.shape != (len(lines), width):
        _diagnose(lines, numbers, width, form)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        row = int(bad.argmax())
        column = int((~np.isfinite(values[row])).argmax())
        fail(numbers[row], f"{values[row, column]} is not finite")
    return values


def parse_ids(values: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Identifiers that were read as numbers, shape (lines, …), int64."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    bad = ~((flat >= 0) & (flat < _LARGEST_ID) & (flat == np.floor(flat)))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        fail(numbers[row], f"{flat[row, column]:.17g} is no identifier: a whole number from 0 below 2**53 is needed")
    return values.astype(np.int64)


def _diagnose(lines: Sequence[str], numbers: Sequence[int], width: int, form: str) -> NoReturn:
    """Name the first line that is not made of the right numbers."""
    for line, number in zip(lines, numbers, strict=True):
        words = line.split()
        for word in words:
            if not _NUMBER.fullmatch(word):
                fail(number, f"{shown(word)} is not a number")
        if len(words) != width:
            fail(number, f"expected '{form}', {width} numbers, found {len(words)}")
    raise GraphFileError(f"lines {numbers[0]} to {numbers[-1]} are not made of '{form}'")
