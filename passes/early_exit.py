"""early-exit: windows end once the leading class is unlikely to be overtaken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.samples import check_samples
from l2mu_compile.scores import decided, leads
from l2mu_compile.windows import spread

CHUNK = 64  # windows that are run together


@dataclass(frozen=True)
class EarlyExit(Pass):
    """Requires windows that no weight was fitted to, before planning; decides early; lossy.

    Every class gets a margin, the lead in spikes with which it decides a window. Margins come down
    from one that no class which loses in the end ever led by: those of all classes by one, class
    after class, again and again, while (k + 1) / (n + 1) is at most ``risk``, where k of the n
    windows were decided otherwise by some margins on the way. So all margins differ by one at most.

    This is conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024, arXiv
    2208.02814, theorem 1): a further window, exchangeable with these n, is decided otherwise with a
    probability of at most ``risk``, in the mean over classes and over draws of the n windows, and
    for any n from 1 / ``risk`` - 1. It holds because windows only choose where to stop on a way
    that was laid out before: margins chosen for each class by the same windows would be wrong far
    more often than these windows show. It says nothing of windows unlike these, such as those of
    other people.

    At most ``windows`` windows are used; while tuning, those to validate on. Run it last of all
    passes that change spikes: margins are those of this network. To stop at a calibrated confidence
    is the idea of Li, Jones and Furber, "Unleashing the Potential of Spiking Neural Networks by
    Dynamic Confidence", ICCV 2023, arXiv 2303.10276.
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
        whole = network.replace(readout=replace(network.readout, margins=None))
        x, y = _unseen(context)
        samples = check_samples(network, x)
        chosen = spread(self.windows, len(samples))
        scores = _scores(whole, samples[chosen], context)
        margins = _margins(scores, self.risk)
        needed = _needed(scores, margins)
        if 1 / (len(scores) + 1) > self.risk or needed.min() == scores.shape[1]:
            context.note(
                f"early-exit: never: {len(scores)} windows are too few for risk={self.risk:g} "
                f"(at least {int(np.ceil(1 / self.risk)) - 1}), or too close a race"
            )
            return network if network.readout.margins is None else whole
        context.note(_told(scores, needed, None if y is None else y[chosen]))
        found = network.replace(readout=replace(network.readout, margins=margins))
        return network if found == network else found


def _unseen(context: Context) -> tuple[NDArray, NDArray | None]:
    """Windows that no weight was fitted to, and their classes where they are known."""
    if context.labelled is not None:
        return context.labelled.validation.x, context.labelled.validation.y
    if context.samples is None:
        raise UsageError("early-exit needs windows: give --calibrate data.npz")
    return context.samples, None


def _scores(network: Network, samples: NDArray, context: Context) -> NDArray:
    """Spike counts after every step, int64 ``[B, T, classes]``."""
    parts = []
    for start in range(0, len(samples), CHUNK):
        result = run(network, samples[start : start + CHUNK], record=("spikes",))
        parts.append(result.spikes[network.readout.population].cumsum(axis=1))
        if context.progress:
            context.progress(min(start + CHUNK, len(samples)), len(samples))
    return np.concatenate(parts)


def _margins(scores: NDArray, risk: float) -> tuple[int, ...]:
    """The least margins on their way down that change decisions of few enough windows, by scores
    after every step ``[B, T, classes]``."""
    lead, final = leads(scores), scores[:, -1].argmax(axis=1)
    windows, steps, classes = lead.shape
    loses = np.arange(classes) != final[:, None]
    largest = int((lead.max(axis=1) * loses).max())
    margins = [largest + 1] * classes
    first = np.stack([_first(lead[..., c] > largest) for c in range(classes)], axis=1)
    changed = np.zeros(windows, dtype=bool)
    for margin, c in product(range(largest, 0, -1), range(classes)):
        first[:, c] = _first(lead[..., c] >= margin)
        changed |= (first.min(axis=1) < steps) & (first.argmin(axis=1) != final)
        if (changed.sum() + 1) / (windows + 1) > risk:
            break
        margins[c] = margin
    return tuple(margins)


def _needed(scores: NDArray, margins: tuple[int, ...]) -> NDArray:
    """Steps after which every window is decided."""
    return np.minimum(_first(decided(scores, margins)) + 1, scores.shape[1])


def _first(reached: NDArray) -> NDArray:
    """The first step in which something is true of each window, ``[B, T]``; T if it never is."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1), reached.shape[1])


def _told(scores: NDArray, needed: NDArray, labels: NDArray | None) -> str:
    """What deciding after the steps ``needed`` does to the windows it was calibrated on."""
    windows, steps, _ = scores.shape
    early = scores[np.arange(windows), needed - 1].argmax(axis=1)
    whole = scores[:, -1].argmax(axis=1)
    told = (
        f"early-exit: {needed.mean():.1f} of {steps} steps a window; "
        f"{100 * (early != whole).mean():.2f} % of {windows} windows are decided otherwise"
    )
    if labels is None:
        return told
    right, before = (100 * (d == labels).mean() for d in (early, whole))
    return f"{told}; {right:.2f} % are right, by all steps {before:.2f} %"
