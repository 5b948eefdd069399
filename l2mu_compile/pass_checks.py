"""What the author of a pass tests it with: `check_pass`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, PassError, UsageError
from l2mu_compile.interpreter import Run, run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.pipeline import applied
from l2mu_compile.random_networks import STAGES, random_network, random_windows
from l2mu_compile.text import parse, to_text

SEEDS = 12


def check_pass(
    item: Pass,
    networks: Iterable[Network] | None = None,
    context: Context | None = None,
    seed: int = 0,
) -> None:
    """Check that a pass does as a pass must, and as it claims, on ``networks``.

    Without any these are random ones (`random_network`), twelve of each stage. ``context`` is what
    the pass looks at; where it has no ``samples``, these are random too. Checked is that the pass

    - leaves its argument as it was, and returns the same for the same;
    - makes windows as long as its ``window_after`` says;
    - returns the very network that it was given where it changes nothing;
    - returns a network that breaks no rule (`l2mu_compile.verify`), keeps channels and classes, and
      is read back equal from its text;
    - where it is ``idempotent``, changes nothing when it is run again;
    - where it is ``exact``, keeps the scores on random windows, bit for bit, and the spikes: every
      neuron that is left spikes as one did before; else moves no score by more than its ``bound``.

    Networks that the pass refuses (`ModelError`, `UsageError`) are passed over. Raises `PassError`
    naming the pass, the network and the rule; also if no network was changed.
    """
    given = _random(seed) if networks is None else tuple(networks)
    changed, refusal = False, None
    for network in given:
        windows = random_windows(network, seed)
        its = context or Context()
        its = its if its.samples is not None else replace(its, samples=windows)
        try:
            after = applied(item, network, its)
            changed |= after is not network
            _check_result(item, network, after, its)
            _check_meaning(item, network, after, windows)
        except PassError as error:
            where = f"network {network.name} ({network.stage})"
            raise PassError(f"pass {item}: {where}: {error}") from error
        except (ModelError, UsageError) as error:
            refusal = error
    if not changed:
        last = f"; the last one refused: {refusal}" if refusal else ""
        raise PassError(f"pass {item}: changes none of the {len(given)} networks{last}")


def _random(seed: int) -> tuple[Network, ...]:
    return tuple(random_network(n, stage) for stage in STAGES for n in range(seed, seed + SEEDS))


def _check_result(item: Pass, network: Network, after: Network, context: Context) -> None:
    if after is not network and after == network:
        raise PassError("returns an equal network, not the one it was given, if nothing changes")
    if applied(item, network, context) != after:
        raise PassError("returns another network when it is given the same one again")
    if after.window != (window := item.window_after(network.window)):
        raise PassError(f"makes windows of {after.window} steps; its window_after says {window}")
    if parse(to_text(after), after.tensors()) != after:
        raise PassError("makes a network that is not read back equal from its text")
    if item.idempotent and applied(item, after, context) != after:
        raise PassError("changes its own result when it is run again, but is idempotent")


def _check_meaning(item: Pass, network: Network, after: Network, windows: NDArray) -> None:
    before, now = (run(n, windows, record=("spikes",)) for n in (network, after))
    if item.exact:
        if not np.array_equal(before.scores, now.scores, equal_nan=True):
            window, class_ = np.argwhere(before.scores != now.scores)[0].tolist()
            raise PassError(
                f"changes the score of class {class_} in window {window} from "
                f"{before.scores[window, class_]} to {now.scores[window, class_]}, but is exact"
            )
        _check_spikes(before, now)
    elif (bound := item.bound(network)) < np.inf:
        moved = np.abs(now.scores.astype(np.float64) - before.scores).max()
        if not moved <= bound:
            raise PassError(f"moves a score by {moved:g}; its bound is {bound:g}")


def _check_spikes(before: Run, now: Run) -> None:
    """Every train of spikes that is left was there before, as often at least."""
    there = Counter(train for trains in _trains(before).values() for train in trains)
    for name, trains in _trains(now).items():
        for neuron, train in enumerate(trains):
            there[train] -= 1
            if there[train] < 0:
                raise PassError(f"changes the spikes of {name} (neuron {neuron}), but is exact")


def _trains(result: Run) -> dict[str, list[bytes]]:
    """What every neuron of every population did in all windows."""
    return {
        name: [spikes[:, :, neuron].tobytes() for neuron in range(spikes.shape[2])]
        for name, spikes in result.spikes.items()
    }
