"""Kinds of command-line arguments that argparse does not know."""

import argparse
import math

import torch

from gabp.factors import Loss, losses
from gabp.system import InvalidSystemError, read_device

__all__ = ["blocks", "device", "loss", "positive_integer", "tolerance"]

LOSSES = {name.lower(): getattr(losses, name) for name in losses.__all__ if name != "Loss"}


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


def loss(text: str) -> Loss:
    """A loss by its name and scale, ``huber:1.0``."""
    name, _, scale = text.partition(":")
    if name.lower() not in LOSSES:
        raise argparse.ArgumentTypeError(f"there is no loss {name!r}; choose one of {', '.join(LOSSES)}")
    try:
        return LOSSES[name.lower()](float(scale or 1.0))
    except (ValueError, InvalidSystemError) as error:
        raise argparse.ArgumentTypeError(f"{scale!r} is no scale: {name}:1.0 is an example") from error
