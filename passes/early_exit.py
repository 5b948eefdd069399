"""early-exit: windows end once the leading class is unlikely to be overtaken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import check_samples, decided, leads, run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.verify import MAX_MARGIN
from l2mu_compile.windows import spread

CHUNK = 64  # windows that are run together
NEVER = MAX_MARGIN


@dataclass(frozen=True)
class EarlyExit(Pass):
    """Requires windows that no weight was fitted to, before planning; decides early; lossy.

    Every class gets a margin: the smallest lead in spikes, of those windows in which it was once so
    far ahead, after which another class decides so few that the chance is at most ``risk``. That is
    estimated as (k + 1) / (n + 2), for k of n windows (the rule of succession, Laplace 1814), so a
    class needs 1 / ``risk`` - 2 windows at least or is never decided early. At most ``windows``
    windows are used; while tuning, those to validate on. Run it last of all passes that change
    spikes: margins are those of this network. To stop at a calibrated confidence is the idea of Li,
    Jones and Furber, "Unleashing the Potential of Spiking Neural Networks by Dynamic Confidence",
    ICCV 2023, arXiv 2303.10276.
    """

    name: ClassVar[str] = "early-exit"
    risk: float = 0.02
    windows: int = 4096

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1:
            raise UsageError(f"early-exit: risk must be between 0 and 1, not {self.risk:g}")
        if self.windows < 1:
            raise UsageError(f"early-exit: windows must be at least 1, not {self.windows}")

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            raise ModelError("early-exit must come before plan-memory")
        if network.readout.rule != "spike_count":
            raise ModelError(
                f"early-exit is for classes that score by spikes, not by {network.readout.rule}"
            )
        if context.samples is None:
            raise UsageError("early-exit needs windows: give --calibrate data.npz")
        whole = network.replace(readout=replace(network.readout, margins=None))
        unseen = context.samples if context.labelled is None else context.labelled.validation.x
        samples = check_samples(network, unseen)
        scores = _scores(whole, samples[spread(self.windows, len(samples))], context)
        largest, final = leads(scores).max(axis=1), scores[:, -1].argmax(axis=1)
        margins = tuple(
            _margin(largest[:, c], final == c, self.risk) for c in range(network.classes)
        )
        self._tell(whole, scores, margins, context)
        if set(margins) == {NEVER}:
            return network if network.readout.margins is None else whole
        found = network.replace(readout=replace(network.readout, margins=margins))
        return network if found == network else found

    def _tell(
        self, network: Network, scores: NDArray, margins: tuple[int, ...], context: Context
    ) -> None:
        never = [n for n, m in zip(network.class_names, margins, strict=True) if m == NEVER]
        if never:
            context.note(
                f"early-exit: never for {', '.join(never)}: too few windows "
                f"(at least {int(np.ceil(1 / self.risk)) - 2} each), or too close a race"
            )
        needed, changed = _outcome(scores, margins)
        context.note(
            f"early-exit: {needed.mean():.1f} of {scores.shape[1]} steps a window; "
            f"{100 * changed.mean():.2f} % of {len(scores)} windows are decided otherwise"
        )


def _scores(network: Network, samples: NDArray, context: Context) -> NDArray:
    """Spike counts after every step, int64 ``[B, T, classes]``."""
    parts = []
    for start in range(0, len(samples), CHUNK):
        result = run(network, samples[start : start + CHUNK], record=("spikes",))
        parts.append(result.spikes[network.readout.population].cumsum(axis=1))
        if context.progress:
            context.progress(min(start + CHUNK, len(samples)), len(samples))
    return np.concatenate(parts)


def _margin(largest: NDArray, right: NDArray, risk: float) -> int:
    """The smallest lead of a class that decides a window with at most this risk: of every window
    the ``largest`` lead it ever has, and whether it is ``right`` in the end."""
    for margin in range(1, int(largest.max()) + 1):
        reached = largest >= margin
        if (np.sum(reached & ~right) + 1) / (reached.sum() + 2) <= risk:
            return margin
    return NEVER


def _outcome(scores: NDArray, margins: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """Steps that every window needs, and which are decided otherwise than by all steps."""
    reached = decided(scores, margins)
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), scores.shape[1] - 1)
    decisions = scores[np.arange(len(scores)), first].argmax(axis=1)
    return first + 1, decisions != scores[:, -1].argmax(axis=1)
