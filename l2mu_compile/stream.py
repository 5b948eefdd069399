"""Sliding windows over a stream of samples: how long they are and how far apart they start.

A window starts from a state of zero, so a decision on the last ``window`` samples after every
``hop`` needs several states that run side by side, the lanes. Window k takes the samples
``[k·hop, k·hop + window)`` in lane ``k mod lanes``, which is free again before its next window.
"""

from __future__ import annotations

from dataclasses import dataclass

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network

MAX_WINDOW = 2**30 - 1  # the generated code counts samples of two rounds of lanes in 32 bits


@dataclass(frozen=True)
class Stream:
    """Windows of ``window`` samples, one starting every ``hop``.

    Raises `UsageError` unless ``1 <= hop <= window <= MAX_WINDOW``.
    """

    window: int
    hop: int

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MAX_WINDOW:
            raise UsageError(f"--window {self.window}: from 1 to {MAX_WINDOW} samples")
        if not 1 <= self.hop <= self.window:
            raise UsageError(
                f"--hop {self.hop}: from 1 to the window's {self.window} samples, "
                "or there would be samples that no window sees"
            )

    @property
    def lanes(self) -> int:
        """States that run side by side."""
        return -(-self.window // self.hop)


def stream_of(
    network: Network, window: int | None, hop: int | None, steps: int | None
) -> Stream | None:
    """The stream to compile for, None if nothing tells how long a window is.

    ``window`` and ``hop`` are what the user asks for, or None; ``steps`` is the length of the
    calibration windows, if there are any. The network's own window comes first. Raises `UsageError`
    for a window that the network was not made for, and for a hop without a window.
    """
    own = network.window
    if window is not None and own is not None and window != own:
        raise UsageError(f"--window {window}: network {network.name} was made for {own} samples")
    length = next((steps for steps in (window, own, steps) if steps is not None), None)
    if length is not None:
        return Stream(length, length if hop is None else hop)
    if hop is not None:
        raise UsageError(f"--hop {hop}: how long is a window? Give --window or --calibrate")
    return None
