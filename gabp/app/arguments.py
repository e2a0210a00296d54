"""Kinds of command-line arguments that argparse does not know."""

import argparse
import math

import torch

__all__ = ["device", "positive_integer", "tolerance"]


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


def device(text: str) -> torch.device:
    """A torch device on which something can run here."""
    try:
        found = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a torch device, such as cpu or cuda:0") from error
    try:
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch explains itself over many lines; the first says it
        reason = str(error).partition("\n")[0]
        raise argparse.ArgumentTypeError(f"device {text!r} cannot be used here: {reason}") from error
    return found
