"""shorten-window: a decision takes only the first steps of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass


@dataclass(frozen=True)
class ShortenWindow(Pass):
    """Requires windows of more steps, before planning; takes the first ``steps`` of each; lossy.

    No number changes. From here on passes, and whoever runs the network, still take windows as long
    as they were, and read their beginning alone: what is fine-tuned, calibrated or given margins
    after this pass is so for the shorter window. Decisions of the float network that others are
    compared with stay those of whole windows. How long these are is told by the network or else by
    the windows at hand.
    """

    name: ClassVar[str] = "shorten-window"
    steps: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"shorten-window: steps must be at least 1, not {self.steps}")

    def window_after(self, window: int | None) -> int | None:
        """Those it takes."""
        return self.steps

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            raise ModelError("shorten-window must come before plan-memory")
        if network.full_window is not None and network.window == self.steps:
            return network
        self.refuse_margins(network)
        shortest, longest, origin = _lengths(network, context)
        if self.steps >= shortest:
            raise ModelError(
                f"{origin} of {shortest} steps, which is no more than the {self.steps} of "
                "shorten-window"
            )
        context.note(f"shorten-window: decides by the first {self.steps} of {longest} steps")
        return network.replace(window=self.steps, full_window=longest)


def _lengths(network: Network, context: Context) -> tuple[int, int, str]:
    """The least and most steps that windows have, and what has them."""
    if network.window is not None:
        longest = network.full_window or network.window
        return network.window, longest, f"network {network.name} has windows"
    data = context.labelled
    given = [] if data is None else [data.train.x, data.validation.x]
    given += [] if context.samples is None else [context.samples]
    if not given:
        raise UsageError("shorten-window: how long is a window? give --calibrate data.npz")
    steps = [x.shape[1] for x in given]
    return min(steps), max(steps), f"{context.samples_from or 'samples'}: has windows"
