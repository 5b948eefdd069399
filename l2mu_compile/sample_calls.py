"""The kernel calls that make of a sample, floats or raw counts, what the network computes with."""

from __future__ import annotations

from l2mu_compile.network import Input
from l2mu_compile.program import Argument, Call, Place


def from_floats(entry: Input) -> Call | None:
    """The call that converts a float sample; None where it is taken as it is."""
    arguments = _arguments(entry, "sample")
    if entry.spiking:
        return Call("l2mu_list_samples", arguments, entry.name)
    if entry.fraction is None:
        return None
    return Call("l2mu_quantize_sample", (*arguments, entry.fraction), entry.name)


def from_counts(entry: Input) -> Call:
    """The call that converts a sample of raw counts."""
    arguments = _arguments(entry, "counts")
    if entry.spiking:
        return Call("l2mu_list_counts", arguments, entry.name)
    if entry.fraction is None:
        return Call("l2mu_convert_counts", arguments, entry.name)
    scale = count_scale(entry.fraction)
    return Call("l2mu_quantize_counts", (*arguments, *scale), entry.name)


def count_scale(fraction: int) -> tuple[int, int]:
    """2^fraction as a factor and a right shift, for counts that are clipped to int16.

    A count times 2^16 is zero or clipped, and over 2^17 it rounds to zero: so are those beyond.
    """
    return 1 << min(max(fraction, 0), 16), min(max(-fraction, 0), 17)


def _arguments(entry: Input, given: str) -> tuple[Argument, ...]:
    return Place("converted"), entry.size, Place(given)
