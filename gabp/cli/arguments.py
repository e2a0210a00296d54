"""Kinds of command-line arguments that argparse does not know."""

import argparse
import math

import torch

from gabp.system import read_device

__all__ = ["blocks", "device", "positive_integer", "tolerance"]


def tolerance(text: str) -> float:
    """A relative tolerance, between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def positive_integer(text: str) -> int:
    """A whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def blocks(text: str) -> int | str:
    """The size of all blocks, or "auto"."""
    return text if text == "auto" else positive_integer(text)


def device(text: str) -> torch.device | None:
    """A device on which gabp can compute here."""
    try:
        return read_device(text)
    except (ValueError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
