"""Gaussian belief propagation on sparse systems."""
