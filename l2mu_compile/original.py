"""The original: a torch module run as its user runs it, with every neuron update written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.instrument import uneven_updates
from l2mu_compile.lift import Lifted
from l2mu_compile.preserve import one_thread, only_own_instances, preserved, quiet
from l2mu_compile.probing import zeros
from l2mu_compile.snntorch_neurons import neuron_modules
from l2mu_compile.source_lines import first_line

BATCH = 256


class ForwardError(ModelError):
    """A module's ``forward`` raised an exception on windows that its network could run."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One run: ``spikes`` (bool) and ``membranes`` ``[B, T, neurons]`` of neuron modules by path,
    and what the module returned."""

    spikes: dict[str, NDArray]
    membranes: dict[str, NDArray]
    output: Any


@dataclass(frozen=True, eq=False)
class Original:
    """The torch module that ``lifted`` was made from.

    It runs in evaluation mode, without gradients, from states at zero, and is left as it was.
    """

    module: nn.Module
    time_first: bool
    lifted: Lifted

    def decide(self, samples: NDArray) -> NDArray:
        """Decisions int64 ``[N]`` for windows ``[N, T, inputs]``: the readout's rule applied to the
        module's own spikes or membranes."""
        path = self.lifted.shown.path
        found = []
        for start in range(0, len(samples), BATCH):
            recording = self.run(samples[start : start + BATCH], paths=[path])[0]
            found.append(np.argmax(self.scores(recording), axis=1))
        return np.concatenate(found).astype(np.int64)

    def scores(self, recording: Recording) -> NDArray:
        """Scores ``[B, classes]``, as `Readout` defines them."""
        path, rule = self.lifted.shown.path, self.lifted.network.readout.rule
        if rule == "spike_count":
            return recording.spikes[path].sum(1)
        membrane = recording.membranes[path]
        if rule == "last_membrane":
            return membrane[:, -1]
        return membrane.max(1) if rule == "max_membrane" else membrane.sum(1)

    def run(self, *windows: NDArray, paths: Collection[str] | None = None) -> list[Recording]:
        """Run batches of windows ``[B, T, inputs]``, one after the other; only the first starts
        anew.

        Neurons at ``paths`` are recorded, or all. Raises `ForwardError` if ``forward`` fails,
        `ModelError` if it does not update a neuron once per step.
        """
        with _fresh(self.module):
            return [self._run(x, self.lifted.places if paths is None else paths) for x in windows]

    def _run(self, windows: NDArray, paths: Collection[str]) -> Recording:
        steps = windows.shape[1]
        ordered = np.swapaxes(windows, 0, 1) if self.time_first else windows
        samples = torch.from_numpy(np.array(ordered, dtype=np.float32, order="C"))
        samples = samples.to(zeros(self.module, (0,)).device)
        log: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in paths}
        name = type(self.module).__name__
        with _watched(self.module, log):
            try:
                output = self.module(samples)
            except Exception as failure:
                raise ForwardError(
                    f"{name}.forward fails on windows of {steps} steps: {first_line(failure)}"
                ) from failure
        calls = {path: len(entries) for path, entries in log.items()}
        if set(calls.values()) != {steps}:
            raise uneven_updates(calls, steps)
        spikes, membranes = (
            {path: _stacked(entry[k] for entry in entries) for path, entries in log.items()}
            for k in (0, 1)
        )
        return Recording(spikes, membranes, output)


@contextmanager
def _fresh(module: nn.Module) -> Iterator[None]:
    """``module`` ready for windows, its neurons' states at zero."""
    with preserved(module), only_own_instances(module), quiet(), one_thread(), torch.no_grad():
        module.eval()
        for neuron in neuron_modules(module).values():
            neuron.reset_mem()  # type: ignore[operator]
        yield


@contextmanager
def _watched(module: nn.Module, log: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    """Append spikes and membrane of every update of the neurons in ``log``."""
    neurons = {path: neuron for path, neuron in neuron_modules(module).items() if path in log}
    try:
        for path, neuron in neurons.items():
            neuron.__dict__["forward"] = _logged(neuron, log[path])
        yield
    finally:
        for neuron in neurons.values():
            del neuron.__dict__["forward"]


def _logged(neuron: Any, entries: list[tuple[Tensor, Tensor]]) -> Callable[..., Any]:
    update = neuron.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        result = update(*args, **kwargs)
        spikes = result if isinstance(result, Tensor) else result[0]
        entries.append((spikes.flatten(1) != 0, neuron.mem.flatten(1).clone()))
        return result

    return forward


def _stacked(steps: Iterator[Tensor]) -> NDArray:
    return torch.stack(list(steps), dim=1).cpu().numpy()
