"""Probe: find what the caller did not say about a module's window by running it a few times.

Runs are on zeros, with stand-ins for the neurons that only count how often they are updated. They
tell whether time or batch comes first, how many inputs there are (the smallest number ``forward``
accepts), and whether the code hard-codes its number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.instrument import Meter, uneven_updates
from l2mu_compile.preserve import preserved
from l2mu_compile.source_lines import first_line

STEPS = 3
PROBE_BATCH = 2
PROBE_LENGTHS = (STEPS, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Layout:
    """How a window is laid out; ``window`` is set when its length is hard-coded."""

    steps: int
    inputs: int
    time_first: bool
    window: int | None = None

    def shape(self, batch: int) -> tuple[int, int, int]:
        sizes = (self.steps, batch) if self.time_first else (batch, self.steps)
        return (*sizes, self.inputs)


def find_layout(
    module: nn.Module,
    meter: Meter,
    inputs: int | None,
    time_first: bool | None,
    window: int | None,
) -> Layout:
    """The layout of the smallest window that ``module`` runs on; what is None is tried out.

    Raises `ModelError` with the first failure if no window works, or if neurons are not updated
    once per step.
    """
    probe = _Probe(module, meter)
    lengths = PROBE_LENGTHS if window is None else (STEPS, window)
    sizes = _input_candidates(module) if inputs is None else (inputs,)
    orders = (True, False) if time_first is None else (time_first,)
    candidates = [Layout(t, i, order) for t in lengths for i in sizes for order in orders]
    failures: list[Exception] = []
    for layout in candidates:
        failure = probe.run(layout)
        if failure is None:
            layout = _settled(probe, layout, time_first is None)
            return layout if inputs is not None else _fewest_inputs(probe, layout)
        failures.append(failure)
    reasons = [f for f in failures if isinstance(f, ModelError)] or failures
    raise ModelError(
        f"{type(module).__name__}.forward fails on a window of shape "
        f"{list(candidates[0].shape(PROBE_BATCH))}: {first_line(reasons[0])}; "
        "give inputs=, time_first= or window= if it needs another shape"
    )


class _Probe:
    """Runs a module on zeros, with metered neurons."""

    def __init__(self, module: nn.Module, meter: Meter) -> None:
        self.module = module
        self.meter = meter

    def run(self, layout: Layout) -> Exception | None:
        """One run; the exception it raised, if any. The meter holds the counts."""
        self.meter.start(PROBE_BATCH)
        window = zeros(self.module, layout.shape(PROBE_BATCH))
        with preserved(self.module), torch.random.fork_rng(devices=[]):
            try:
                self.module(window)
            except Exception as failure:
                return failure
        return None

    def fits(self, layout: Layout) -> bool:
        """True if the module runs and updates its neurons once per step."""
        return self.run(layout) is None and set(self.meter.calls.values()) == {layout.steps}


def _settled(probe: _Probe, layout: Layout, free_order: bool) -> Layout:
    """Correct a layout that runs by how often the neurons were updated in that run."""
    calls = dict(probe.meter.calls)
    counts = set(calls.values())
    if not counts:
        raise ModelError(f"{type(probe.module).__name__}.forward never calls its snnTorch neurons")
    if counts == {layout.steps}:
        return _fixed_or_free(probe, layout)
    if len(counts) == 1:
        for other in _alternatives(layout, counts.pop(), free_order):
            if probe.fits(other):
                return other if other.window else _fixed_or_free(probe, other)
    raise uneven_updates(calls, layout.steps)


def _alternatives(layout: Layout, count: int, free_order: bool) -> Iterator[Layout]:
    """Layouts that would explain ``count`` updates where ``layout`` has another number of steps."""
    if count == PROBE_BATCH and free_order:
        yield replace(layout, time_first=not layout.time_first)
    if STEPS <= count < layout.steps:
        yield replace(layout, steps=count, window=count)


def _fixed_or_free(probe: _Probe, layout: Layout) -> Layout:
    """Mark the window as hard-coded unless a longer one works as well."""
    if probe.fits(replace(layout, steps=layout.steps + 2)):
        return replace(layout, steps=min(layout.steps, STEPS))
    return replace(layout, window=layout.steps)


def _fewest_inputs(probe: _Probe, layout: Layout) -> Layout:
    """``layout`` with the smallest number of inputs that still runs."""
    while layout.inputs > 1:
        fewer = replace(layout, inputs=layout.inputs - 1)
        if probe.run(fewer) is not None:
            break
        layout = fewer
    return layout


def _input_candidates(module: nn.Module) -> tuple[int, ...]:
    """Numbers of inputs worth trying: small ones, sizes of weights, lengths of module lists."""
    sizes = set(range(1, 33)) | _tensor_sizes(module)
    sizes |= {len(m) for m in module.modules() if isinstance(m, (nn.ModuleList, nn.ModuleDict))}
    return tuple(sorted(sizes - {0}))


def _tensor_sizes(module: nn.Module) -> set[int]:
    return {n for t in (*module.parameters(), *module.buffers()) for n in t.shape}


def unused_size(module: nn.Module, layout: Layout, least: int = 61) -> int:
    """A batch size, ``least`` or more, that no other axis has, so that axes cannot be confused."""
    taken = _tensor_sizes(module) | {layout.steps, layout.inputs}
    return next(n for n in range(least, least + len(taken) + 1) if n not in taken)


def zeros(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Zeros on the device of the module's numbers, in float32 if any of these are."""
    tensors = (*module.parameters(), *module.buffers())
    floats = [t for t in tensors if t.is_floating_point() and t.numel()]
    single = (t for t in floats if t.dtype == torch.float32)
    like = next(single, floats[0] if floats else torch.zeros(1))
    return torch.zeros(shape, dtype=like.dtype, device=like.device)
