"""Validation: the network and the module it was made from, step by step on the same windows.

Tracing sees a module's code over a few dozen steps. Here it runs at full length: until the first
spike that differs, all membranes must agree to within float32 rounding, and where a spike differs,
the membrane must be that close to its threshold. What follows such a spike may differ as it will.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import Run, run
from l2mu_compile.lift import Lifted
from l2mu_compile.network import Network, Population
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.original import ForwardError, Original, Recording
from l2mu_compile.readout import outputs, shows

# Of the largest number that goes into a membrane: a thousand times what one float32 sum may lose.
MARGIN = 1e-4

STEPS, FEW_STEPS = 128, 8
AMPLITUDES = np.geomspace(0.1, 100.0, 8)


@dataclass(frozen=True)
class Agreement:
    """How ``windows`` went: in ``diverged`` of them rounding decided some spike differently, in
    ``rescored`` of these the scores differ too, in ``redecided`` the decision."""

    windows: int
    diverged: int
    rescored: int
    redecided: int

    def note(self) -> str | None:
        """A line for the user, if rounding reaches the scores."""
        if not self.rescored:
            return None
        return (
            f"in {self.diverged} of {self.windows} windows a membrane meets its threshold to "
            "within float32 rounding and spikes differ from PyTorch's from there on; "
            f"{self.redecided} decided differently"
        )


def validate(original: Original, samples: NDArray) -> Agreement:
    """Run windows, float32 ``[B, T, inputs]``, through the module and through its network.

    Raises `ModelError` naming neuron module, step, neuron and both membranes where they differ by
    more than rounding, and if the module returns something else than the network's readout.
    """
    return _compare(original, samples, original.run(samples)[0])


def validate_on_noise(original: Original, fewer: int) -> list[str]:
    """`validate` on noise of several amplitudes; returns lines the user should see.

    Windows have `STEPS` steps, or ``fewer`` where ``forward`` cannot run that many.
    """
    notes, network = [], original.lifted.network
    samples = _noise(network, network.window or STEPS)
    try:
        first, again = _run_twice(original, samples)
    except ForwardError as error:
        if network.window is not None:
            raise
        samples = _noise(network, fewer)
        first, again = _run_twice(original, samples)
        notes.append(f"checked on windows of {fewer} steps only: {error}")
    _compare(original, samples, first)
    for path, membrane in again.membranes.items():
        before = first.membranes[path][:, : membrane.shape[1]]
        if not np.array_equal(membrane, before, equal_nan=True):
            notes.append(
                f"forward carries state from window to window (seen at {path}); "
                "the compiled code starts every window from zero, as after reset_mem()"
            )
            break
    return notes


def magnitudes(network: Network, population: Population, samples: NDArray, found: Run) -> NDArray:
    """The largest number that has gone into each membrane so far, ``[B, T, neurons]``."""
    name, neuron = population.name, population.neuron
    gross = np.abs(found.membranes[name])
    if isinstance(neuron, CuBaLIF):
        gross = np.maximum(gross, np.abs(found.synapses[name]))
    arriving = np.zeros_like(gross)
    if population.bias is not None:
        arriving += np.abs(population.bias)
    for projection in network.into(name):
        if projection.source == network.input.name:
            source = np.abs(samples)
        else:
            source = found.spikes[projection.source].astype(np.float32)
            source = np.roll(source, projection.delay, axis=1)
            source[:, : projection.delay] = 0
        arriving += projection.applied(np.abs(projection.weight), source)
    gross = np.maximum(np.maximum(gross, arriving), neuron.threshold)
    return np.maximum.accumulate(gross, axis=1)


def _run_twice(original: Original, samples: NDArray) -> list[Recording]:
    """Run windows, then, without a fresh start, the same again, or just their first steps."""
    steps = original.lifted.network.window or FEW_STEPS
    return original.run(samples, samples[:, :steps])


def _noise(network: Network, steps: int) -> NDArray:
    generator = np.random.default_rng(0)
    windows, channels = len(AMPLITUDES), network.input.size
    noise = generator.normal(size=(windows, steps, channels))
    noise += generator.normal(size=(windows, 1, channels))
    return (AMPLITUDES[:, None, None] * noise).astype(np.float32)


def _compare(original: Original, samples: NDArray, recording: Recording) -> Agreement:
    network = original.lifted.network
    found = run(network, samples, record=("spikes", "membranes"))
    theirs = _by_population(recording, original.lifted)
    end = _first_difference(network, theirs, found)
    _require_close(original, samples, theirs, found, end)
    _require_shown(original, recording)
    never = samples.shape[1] * len(network.populations)
    return _agreement(original.scores(recording), found, end < never)


def _first_difference(network: Network, theirs: Recording, found: Run) -> NDArray:
    """The moment ``[B]`` at which each window first has a spike that differs, or their number.

    Moments count steps and, within a step, populations in update order.
    """
    order = [population.name for population in network.order()]
    differs = [(theirs.spikes[name] != found.spikes[name]).any(-1) for name in order]
    moments = np.stack(differs, axis=-1).reshape(len(differs[0]), -1)
    return np.where(moments.any(1), moments.argmax(1), moments.shape[1])


def _require_close(
    original: Original, samples: NDArray, theirs: Recording, found: Run, end: NDArray
) -> None:
    """Refuse membranes that differ by more than rounding, up to the moment ``end`` and at it."""
    network, steps = original.lifted.network, samples.shape[1]
    order = network.order()
    faults = []
    for turn, population in enumerate(order):
        name = population.name
        margin = MARGIN * magnitudes(network, population, samples, found)
        wrong = _apart(theirs.membranes[name], found.membranes[name], margin)
        clear = np.abs(found.membranes[name] - population.neuron.threshold) > margin
        wrong |= clear & (theirs.spikes[name] != found.spikes[name])
        wrong &= (np.arange(steps) * len(order) + turn <= end[:, None])[..., None]
        if wrong.any():
            step = int(wrong.any((0, 2)).argmax())
            window, neuron = (int(k) for k in np.argwhere(wrong[:, step])[0])
            faults.append((step, turn, window, neuron))
    if faults:
        step, turn, window, neuron = min(faults)
        name = order[turn].name
        numbers = (m.membranes[name][window, step, neuron] for m in (theirs, found))
        raise ModelError(
            f"{type(original.module).__name__} and its network differ at step {step} of a window "
            f"of {steps}: {_neuron(original.lifted, name, neuron)} has membrane "
            "{:.7g} in the module and {:.7g} in the network; forward does something there that "
            "its trace does not show".format(*numbers)
        )


def _agreement(scores: NDArray, found: Run, diverged: NDArray) -> Agreement:
    rescored = np.abs(scores - found.scores) > MARGIN * np.abs(found.scores).max()
    redecided = np.argmax(scores, axis=1) != found.decisions
    counts = (int((diverged & some).sum()) for some in (diverged, rescored.any(1), redecided))
    return Agreement(len(scores), *counts)


def _apart(a: NDArray, b: NDArray, margin: NDArray) -> NDArray:
    with np.errstate(invalid="ignore"):
        return (a != b) & ~(np.abs(a - b) <= margin)


def _neuron(lifted: Lifted, name: str, neuron: int) -> str:
    """The module path of a population's neuron, and its number there."""
    for path, place in lifted.places.items():
        if place.population == name and place.first <= neuron < place.first + place.size:
            return f"{path}, neuron {neuron - place.first},"
    raise KeyError(name)


def _by_population(recording: Recording, lifted: Lifted) -> Recording:
    """What neuron modules did, put together as the populations they are part of."""
    parts: dict[str, list[str]] = {p.name: [] for p in lifted.network.populations}
    for path in sorted(lifted.places, key=lambda path: lifted.places[path].first):
        parts[lifted.places[path].population].append(path)
    spikes, membranes = (
        {name: np.concatenate([of[path] for path in paths], -1) for name, paths in parts.items()}
        for of in (recording.spikes, recording.membranes)
    )
    return Recording(spikes, membranes, recording.output)


def _require_shown(original: Original, recording: Recording) -> None:
    """What the module returned must be what the readout was read off."""
    shown = original.lifted.shown
    recorded = recording.spikes if shown.kind == "spikes" else recording.membranes
    rows = torch.from_numpy(recorded[shown.path]).transpose(0, 1).double()
    tensors = outputs(recording.output, len(rows)).get(shown.place, [])
    if tensors and shows([t.cpu().double() for t in tensors], rows, shown.steps, MARGIN):
        return
    raise ModelError(
        f"over windows of {len(rows)} steps {type(original.module).__name__} returns something "
        f"else than the {shown.kind} of {shown.path}, which is what it returns over fewer"
    )
