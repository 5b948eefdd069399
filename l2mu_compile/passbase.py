"""What a pass is: a frozen dataclass whose fields are its options and whose ``apply`` is pure.

Subclasses live one per file in ``passes/``. The first line of their docstring states what they
require, keep and break, and whether they are exact or lossy::

    @dataclass(frozen=True)
    class PrunePopulation(Pass):
        '''Requires a traced network; keeps ...; lossy.'''

        name: ClassVar[str] = "prune-population"
        sparsity: float = 0.5

        def apply(self, network: Network, context: Context) -> Network: ...

On the command line that is ``prune-population{sparsity=0.5}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar

from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import Progress
from l2mu_compile.kept import Kept
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.network import Network
from l2mu_compile.targets.record import Target


def _silent(_note: str) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """What a pass may look at besides the network.

    ``target``: capabilities of the device, as data; None when no target was named. ``samples``:
    calibration windows, float32 ``[B, T, inputs]``, or None; ``samples_from`` names their file for
    messages. ``labelled``: windows to train on and to validate on, or None. ``original``: the model
    as it was given, for passes that learn from it, or None. ``note`` takes a line for the user and
    the report; ``progress(done, total)`` is for passes that take seconds, ``kept`` for those that
    take minutes and can go on where a killed run was.
    """

    target: Target | None = None
    samples: NDArray | None = None
    samples_from: str = "calibration windows"
    labelled: LabelledWindows | None = None
    original: Network | None = None
    note: Callable[[str], None] = field(default=_silent)
    progress: Progress | None = None
    kept: Kept | None = None


@dataclass(frozen=True)
class Pass:
    """Base of all passes. ``apply`` returns a new network, or the same one if nothing changed.

    What a pass claims is checked by `check_pass`: an ``idempotent`` one changes nothing that it
    made, an ``exact`` one keeps spikes and scores.
    """

    name: ClassVar[str] = ""
    idempotent: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    def apply(self, network: Network, context: Context) -> Network:
        """Transform ``network``, or raise `ModelError` or `UsageError`."""
        raise NotImplementedError

    def bound(self, network: Network) -> float:
        """The most by which a lossy pass may move a score of ``network``, in the score's unit."""
        return math.inf

    def window_after(self, window: int | None) -> int | None:
        """Steps that windows of the result have, if those of the network have ``window``; None
        where the network does not say."""
        return window

    def require(self, option: str, low: float, high: float) -> None:
        """Raise `UsageError` unless an option is from ``low`` to ``high``."""
        value = getattr(self, option)
        if not low <= value <= high:
            least, most, given = (
                f"{x:g}" if isinstance(x, float) else x for x in (low, high, value)
            )
            raise UsageError(f"{self.name}: {option} must be from {least} to {most}, not {given}")

    def refuse_margins(self, network: Network) -> None:
        """Raise `ModelError` for a network that decides early, as this pass moves its scores."""
        if network.readout.margins is not None:
            raise ModelError(
                f"network {network.name} decides early, by margins that {self.name} would make "
                f"wrong: run {self.name} before early-exit"
            )

    def __str__(self) -> str:
        options = ",".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))
        return self.name + (f"{{{options}}}" if options else "")

    @classmethod
    def contract(cls) -> str:
        """First line of the docstring: requires, keeps, breaks; exact or lossy."""
        return (cls.__doc__ or "").strip().splitlines()[0]
