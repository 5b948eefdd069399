"""Trace: run a module's own Python once and keep what it did as an fx graph.

`trace` exports the module with ``torch.export`` (non-strict) over a short sequence of zeros. For
the duration every snnTorch ``Leaky`` and ``Synaptic`` computes one custom op instead of its own
arithmetic, so one fx node is one neuron update::

    l2mu::lif(current, membrane, name)                 -> (spikes, membrane)
    l2mu::cuba_lif(current, synaptic, membrane, name)  -> (spikes, synaptic, membrane)

What the neurons' parameters say is read before the export. The module comes back as it was:
attributes, buffers, hidden states and training mode are put back whatever happens.

Before the export a few cheap runs with stand-in neurons find what the caller did not say: whether
time or batch comes first, how many inputs there are (the smallest number `forward` accepts), and
whether the code hard-codes its number of steps.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import snntorch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.neurons import LIF, CuBaLIF, Neuron, parameter_names

STEPS = 3
PROBE_BATCH = 2
PROBE_LENGTHS = (STEPS, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

_LIBRARY = torch.library.Library("l2mu", "DEF")
_LIBRARY.define("lif(Tensor current, Tensor membrane, str name) -> (Tensor, Tensor)")
_LIBRARY.define(
    "cuba_lif(Tensor current, Tensor synaptic, Tensor membrane, str name)"
    " -> (Tensor, Tensor, Tensor)"
)


@torch.library.register_fake("l2mu::lif", lib=_LIBRARY)
def _(current: Tensor, membrane: Tensor, name: str) -> tuple[Tensor, ...]:
    return torch.empty_like(current), torch.empty_like(current)


@torch.library.register_fake("l2mu::cuba_lif", lib=_LIBRARY)
def _(current: Tensor, synaptic: Tensor, membrane: Tensor, name: str) -> tuple[Tensor, ...]:
    return torch.empty_like(current), torch.empty_like(current), torch.empty_like(current)


@dataclass(frozen=True, eq=False)
class NeuronRecord:
    """One snnTorch neuron module of the traced model.

    ``path`` is its place in the module, ``shape`` the shape of its current without the batch axis,
    ``neuron`` its dynamics with float32 parameters, scalar or one per neuron (flattened).
    """

    path: str
    shape: tuple[int, ...]
    neuron: Neuron


@dataclass(frozen=True, eq=False)
class Trace:
    """What a module's code did over ``steps`` steps on a batch of ``batch`` windows.

    ``program`` is the exported program; its single input is ``[steps, batch, inputs]``, or
    ``[batch, steps, inputs]`` when not ``time_first``. ``neurons`` maps module paths to records, in
    order of first update. ``window`` is the number of steps the module hard-codes, or the one the
    caller asked for. ``inputs_found`` is true when the number of inputs was found by probing.
    """

    module: str
    program: ExportedProgram
    steps: int
    batch: int
    inputs: int
    time_first: bool
    neurons: dict[str, NeuronRecord]
    window: int | None = None
    inputs_found: bool = False

    @property
    def graph(self) -> torch.fx.Graph:
        """The fx graph; one ``l2mu`` node per neuron update."""
        return self.program.graph

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and constants by the name of their placeholder node."""
        values = {**self.program.constants, **self.program.state_dict}
        specs = self.program.graph_signature.input_specs
        return {s.arg.name: values[s.target] for s in specs if s.target is not None}

    def table(self) -> str:
        """The fx graph as text, one node per line, with the module line each node comes from."""
        rows = []
        for node in self.graph.nodes:
            if node.op == "call_function" and (node.users or "l2mu" in str(node.target)):
                arguments = ", ".join([*map(str, node.args), *map(_keyword, node.kwargs.items())])
                rows.append((f"{node.name} = {operation(node)}({arguments})", source_line(node)))
        width = min(max((len(text) for text, _ in rows), default=0), 90)
        return "\n".join(f"{text:<{width}}  # {line}".rstrip(" #") for text, line in rows)

    def __str__(self) -> str:
        order = "time, batch, inputs" if self.time_first else "batch, time, inputs"
        window = f", window of {self.window} steps" if self.window else ""
        found = " (smallest number that runs)" if self.inputs_found else ""
        head = f"trace of {self.module}: {self.steps} steps, input [{order}]{window}"
        rows = [f"  {self.inputs} inputs{found}"]
        for record in self.neurons.values():
            sizes = " ".join(
                f"{name}={_brief(getattr(record.neuron, name))}"
                for name in parameter_names(record.neuron)
            )
            rows.append(
                f"  {record.path} : {record.neuron.kind}{list(record.shape)} {sizes} "
                f"reset={record.neuron.reset}"
            )
        return "\n".join([head, *rows])


def trace(
    module: nn.Module,
    inputs: int | None = None,
    time_first: bool | None = None,
    window: int | None = None,
) -> Trace:
    """Trace ``module``, whose ``forward`` maps a whole window of samples to output spikes.

    ``forward`` takes one tensor ``[T, B, I]`` (``time_first``) or ``[B, T, I]``. What is None is
    found by probing. ``window`` is the number of steps of a window; give it when the code accepts
    no other. Raises `ModelError` naming what is not supported, where, and what to do.
    """
    if window is not None and window < 2:
        raise UsageError(f"window must be at least 2 steps, not {window}")
    neurons = _neuron_modules(module)
    with _preserved(module), _only_own_instances(module), _quiet(), torch.no_grad():
        module.eval()
        meter = _Meter(neurons)
        layout = _find_layout(module, meter, inputs, time_first, window)
        if None not in (window, layout.window) and window != layout.window:
            raise ModelError(
                f"{type(module).__name__}.forward runs {layout.window} steps whatever its window; "
                f"window={window} cannot be had"
            )
        batch = _unused_size(module, layout)
        meter.start(batch, exporting=True)
        program = _export(module, layout.shape(batch))
        records = {p: _record(p, neurons[p], shape) for p, shape in meter.shapes.items()}
    found = Trace(
        module=type(module).__name__,
        program=program,
        steps=layout.steps,
        batch=batch,
        inputs=layout.inputs,
        time_first=layout.time_first,
        neurons=records,
        window=layout.window if layout.window is not None else window,
        inputs_found=inputs is None,
    )
    _check_calls(found, meter)
    _check_finite(found)
    return found


def operation(node: Node) -> str:
    """An fx node's operation in short: ``aten.linear``."""
    text = getattr(node.target, "__name__", "") if callable(node.target) else ""
    name = text if text == "getitem" else str(node.target)
    return re.sub(r"\.(default|Tensor|int|Scalar|using_ints)$", "", name)


def source_line(node: Node) -> str:
    """The line of the user's code a node comes from: ``model.py:12: x = self.fc(x)``, or ""."""
    frames = re.findall(
        r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)', node.meta.get("stack_trace") or ""
    )
    for file, line, code in reversed(frames):
        path = Path(file)
        if path != Path(__file__) and not {"torch", "snntorch"} & set(path.parts):
            return f"{path.name}:{line}: {code.strip()}"
    return ""


# ---- neurons: which are accepted, and what stands in for them ----


def _neuron_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Paths and modules of all snnTorch neurons; refuses those that are not supported."""
    found = {}
    for path, child in module.named_modules():
        snn = any(c.__module__.startswith("snntorch._neurons") for c in type(child).__mro__)
        if snn and not type(child).__name__.startswith("RecurrentOneToOne"):
            _check_supported(path or "the module", child)
            found[path] = child
    if not found:
        raise ModelError(
            f"{type(module).__name__} has no snnTorch neurons; "
            "its spiking layers must be snntorch.Leaky or snntorch.Synaptic"
        )
    return found


def _check_supported(path: str, neuron: Any) -> None:
    kind = type(neuron)
    base = next((b for b in (snntorch.Leaky, snntorch.Synaptic) if isinstance(neuron, b)), None)
    methods = ("forward", "fire", "mem_reset", "reset_mem", "_base_state_function")
    if base is None or any(getattr(kind, name) is not getattr(base, name) for name in methods):
        raise ModelError(
            f"{path} is a {kind.__name__}, which is not supported; use Leaky or Synaptic"
        )
    for option, refused in (("inhibition", True), ("state_quant", True), ("reset_delay", False)):
        value = getattr(neuron, option, not refused)
        if bool(value) is refused:
            shown = value if isinstance(value, bool) else "..."
            raise ModelError(f"{path} uses {option}={shown}, which is not supported; train without")
    probe = torch.tensor([[-1e3, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e3]])
    with torch.no_grad():
        spikes = neuron.spike_grad(probe)
    if not torch.equal(spikes.float(), (probe > 0).float()):
        raise ModelError(f"{path} has a spike_grad whose forward is not a step at zero")


def _reset_rule(path: str, neuron: Any) -> str:
    """The reset its forward really follows: the state function is fixed when a neuron is built."""
    rules = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
    name = getattr(neuron.state_function, "__name__", "")
    if name not in rules:
        raise ModelError(f"{path} has a state function of its own ({name}), which is not supported")
    if isinstance(neuron, snntorch.Synaptic) and rules[name] == "zero":
        return "clamp"
    return rules[name]


def _record(path: str, module: Any, shape: tuple[int, ...]) -> NeuronRecord:
    cuba = isinstance(module, snntorch.Synaptic)
    names = ("alpha", "beta", "threshold") if cuba else ("beta", "threshold")
    values = {name: _parameter(path, name, getattr(module, name), shape) for name in names}
    factor = module.graded_spikes_factor
    if factor.numel() != 1 or not bool(torch.isfinite(factor).all()):
        raise ModelError(f"{path}.graded_spikes_factor must be one finite number")
    kind = CuBaLIF if cuba else LIF
    return NeuronRecord(path, shape, kind(**values, reset=_reset_rule(path, module)))


def _parameter(path: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> NDArray:
    """A neuron parameter as a float32 scalar, or one value per neuron of ``shape`` flattened."""
    array = tensor.detach().cpu().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise ModelError(f"{path}.{name} holds values that are not finite")
    if name == "threshold":
        if (array <= 0).any():
            raise ModelError(f"{path}.threshold must be positive, not {array.min():g}")
    elif (array < 0).any() or (array > 1).any():
        worst = array.min() if (array < 0).any() else array.max()
        raise ModelError(f"{path}.{name} must be between 0 and 1, not {worst:g}")
    if array.size == 1:
        return array.reshape(())
    trimmed = array[0] if array.ndim == len(shape) + 1 and array.shape[0] == 1 else array
    try:
        return np.broadcast_to(trimmed, shape).reshape(-1)
    except ValueError:
        raise ModelError(
            f"{path}.{name} has shape {list(array.shape)}, but its current has "
            f"{list(shape)} neurons; give one value or one per neuron"
        ) from None


class _Meter:
    """Stands in for the neurons' ``forward``: counts updates and notes the shape of the current."""

    def __init__(self, neurons: dict[str, Any]) -> None:
        self.calls: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.batch = 0
        self.exporting = False
        for path, neuron in neurons.items():
            leaky = isinstance(neuron, snntorch.Leaky)
            forward = _leaky_forward if leaky else _synaptic_forward
            neuron.__dict__["_unit_spikes"] = bool((neuron.graded_spikes_factor == 1).all())
            neuron.__dict__["forward"] = forward(neuron, path, self)
            for state in ("mem",) if leaky else ("syn", "mem"):
                neuron._buffers[state] = torch.zeros(0, device=neuron._buffers[state].device)

    def start(self, batch: int, exporting: bool = False) -> None:
        """Forget earlier counts; updates from now on see ``batch`` windows."""
        self.calls, self.shapes = Counter(), {}
        self.batch, self.exporting = batch, exporting

    def update(self, path: str, current: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One neuron update: spikes and new state."""
        self.calls[path] += 1
        if current.ndim < 2 or current.shape[0] != self.batch:
            raise ModelError(
                f"{path} receives a current of shape {list(current.shape)} for a batch of "
                f"{self.batch}; one step's current must be [batch, neurons]"
            )
        shape = tuple(map(int, current.shape[1:]))
        if self.shapes.setdefault(path, shape) != shape:
            raise ModelError(f"{path} receives currents of different shapes")
        if not self.exporting:
            return (torch.zeros_like(current),) * (1 + len(state))
        op = torch.ops.l2mu.lif if len(state) == 1 else torch.ops.l2mu.cuba_lif
        return op(current, *state, path)


def _leaky_forward(neuron: Any, path: str, meter: _Meter) -> Callable[..., Any]:
    def forward(input_: Tensor, mem: Tensor | None = None) -> Any:
        _take_state(neuron, input_, mem=mem)
        spikes, neuron.mem = meter.update(path, input_, neuron.mem)
        return _result(neuron, spikes, neuron.mem)

    return forward


def _synaptic_forward(neuron: Any, path: str, meter: _Meter) -> Callable[..., Any]:
    def forward(input_: Tensor, syn: Tensor | None = None, mem: Tensor | None = None) -> Any:
        _take_state(neuron, input_, syn=syn, mem=mem)
        spikes, neuron.syn, neuron.mem = meter.update(path, input_, neuron.syn, neuron.mem)
        return _result(neuron, spikes, neuron.syn, neuron.mem)

    return forward


def _take_state(neuron: Any, current: Tensor, **states: Tensor | None) -> None:
    """snnTorch's rules: a state that is passed replaces the hidden one; a misshapen one is zero."""
    for name, state in states.items():
        if state is not None:
            if neuron.init_hidden:
                raise TypeError(f"`{name}` should not be passed while `init_hidden=True`")
            setattr(neuron, name, state)
        if getattr(neuron, name).shape != current.shape:
            zeros = torch.zeros(current.shape, dtype=current.dtype, device=current.device)
            setattr(neuron, name, zeros)


def _result(neuron: Any, spikes: Tensor, *state: Tensor) -> Any:
    if not neuron._unit_spikes:
        spikes = spikes * neuron.graded_spikes_factor
    return spikes if neuron.init_hidden and not neuron.output else (spikes, *state)


# ---- leaving the module as it was ----


@contextmanager
def _preserved(module: nn.Module, values: bool = True) -> Iterator[None]:
    """Undo, on exit, whatever happens inside to the attributes of ``module`` and its children.

    With ``values`` also to the contents of buffers and tensor attributes.
    """
    attributes = [(m, dict(m.__dict__)) for m in module.modules()]
    lists = [(v, v[:]) for _, a in attributes for v in a.values() if isinstance(v, list)]
    dicts = [(v, dict(v)) for _, a in attributes for v in a.values() if isinstance(v, dict)]
    held = [v for _, d in [*attributes, *dicts] for v in d.values()]
    held += [v for _, saved in lists for v in saved]
    tensors = [t for t in held if isinstance(t, Tensor) and not isinstance(t, nn.Parameter)]
    copies = [(t, t.detach().clone()) for t in tensors] if values else []
    try:
        yield
    finally:
        for owner, saved in attributes:
            owner.__dict__.clear()
            owner.__dict__.update(saved)
        for entries, kept in lists:
            entries[:] = kept
        for mapping, content in dicts:
            mapping.clear()
            mapping.update(content)
        for tensor, copy in copies:
            if not torch.equal(tensor, copy):
                tensor.detach().copy_(copy)


@contextmanager
def _only_own_instances(module: nn.Module) -> Iterator[None]:
    """Keep ``snntorch.utils.reset`` off the neurons of other models while tracing this one."""
    classes = (snntorch.SpikingNeuron, snntorch.Leaky, snntorch.Synaptic)
    saved = [(c, c.__dict__["instances"]) for c in classes if "instances" in c.__dict__]
    own = [m for m in module.modules() if isinstance(m, snntorch.SpikingNeuron)]
    try:
        for holder, _ in saved:
            holder.instances = own
        yield
    finally:
        for holder, instances in saved:
            holder.instances = instances


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines of torch's export machinery."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# ---- probing ----


@dataclass(frozen=True)
class _Layout:
    """How a window is laid out; ``window`` is set when its length is hard-coded."""

    steps: int
    inputs: int
    time_first: bool
    window: int | None = None

    def shape(self, batch: int) -> tuple[int, int, int]:
        sizes = (self.steps, batch) if self.time_first else (batch, self.steps)
        return (*sizes, self.inputs)


def _find_layout(
    module: nn.Module,
    meter: _Meter,
    inputs: int | None,
    time_first: bool | None,
    window: int | None,
) -> _Layout:
    """Run the module on small windows until one works; see the module docstring."""
    lengths = PROBE_LENGTHS if window is None else (STEPS, window)
    sizes = _input_candidates(module) if inputs is None else (inputs,)
    orders = (True, False) if time_first is None else (time_first,)
    failures: list[Exception] = []
    for steps in lengths:
        for size in sizes:
            for order in orders:
                layout = _Layout(steps, size, order)
                failure = _run(module, meter, layout)
                if failure is None:
                    layout = _settle(module, meter, layout, time_first is None)
                    return layout if inputs is not None else _fewest_inputs(module, meter, layout)
                failures.append(failure)
    reasons = [f for f in failures if isinstance(f, ModelError)] or failures
    shape = list(_Layout(lengths[0], sizes[0], orders[0]).shape(PROBE_BATCH))
    raise ModelError(
        f"{type(module).__name__}.forward fails on a window of shape {shape}: "
        f"{_first_line(reasons[0])}; give inputs=, time_first= or window= if it needs another shape"
    )


def _settle(module: nn.Module, meter: _Meter, layout: _Layout, free_order: bool) -> _Layout:
    """Read layout and hard-coded window off how often the neurons were updated in a run."""
    calls = set(meter.calls.values())
    steps, inputs, order = layout.steps, layout.inputs, layout.time_first
    if not calls:
        raise ModelError(f"{type(module).__name__}.forward never calls its snnTorch neurons")
    if len(calls) == 1 and steps not in calls:
        (count,) = calls
        if count == PROBE_BATCH and free_order:
            swapped = _Layout(steps, inputs, not order)
            if _run(module, meter, swapped) is None and set(meter.calls.values()) == {steps}:
                return _settle(module, meter, swapped, False)
        if STEPS <= count < steps:
            exact = _Layout(count, inputs, order, window=count)
            if _run(module, meter, exact) is None and set(meter.calls.values()) == {count}:
                return exact
        _run(module, meter, layout)
    elif len(calls) == 1:
        longer = _Layout(steps + 2, inputs, order)
        if _run(module, meter, longer) is None and set(meter.calls.values()) == {steps + 2}:
            return _Layout(min(steps, STEPS), inputs, order) if steps != STEPS else layout
        _run(module, meter, layout)
        return _Layout(steps, inputs, order, window=steps)
    path, count = next((p, n) for p, n in meter.calls.items() if n != steps)
    raise ModelError(
        f"{path} is updated {count} times in a window of {steps} steps; "
        "every neuron must be updated exactly once per step"
    )


def _run(module: nn.Module, meter: _Meter, layout: _Layout) -> Exception | None:
    """One cheap run on zeros; the exception it raised, if any. ``meter`` holds the counts."""
    meter.start(PROBE_BATCH)
    tensor = _example(module, layout.shape(PROBE_BATCH))
    with _preserved(module), torch.random.fork_rng(devices=[]):
        try:
            module(tensor)
        except Exception as failure:
            return failure
    return None


def _example(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    floats = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    like = next(floats, torch.zeros(1))
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _input_candidates(module: nn.Module) -> tuple[int, ...]:
    """Numbers of inputs worth trying: small ones, sizes of weights, lengths of module lists."""
    sizes = set(range(1, 33)) | _tensor_sizes(module)
    sizes |= {len(m) for m in module.modules() if isinstance(m, (nn.ModuleList, nn.ModuleDict))}
    return tuple(sorted(sizes - {0}))


def _fewest_inputs(module: nn.Module, meter: _Meter, layout: _Layout) -> _Layout:
    """``layout`` with the smallest number of inputs that still runs; ends on a run of it."""
    while layout.inputs > 1:
        fewer = _Layout(layout.steps, layout.inputs - 1, layout.time_first, layout.window)
        if _run(module, meter, fewer) is not None:
            break
        layout = fewer
    _run(module, meter, layout)
    return layout


def _tensor_sizes(module: nn.Module) -> set[int]:
    return {n for t in (*module.parameters(), *module.buffers()) for n in t.shape}


def _unused_size(module: nn.Module, layout: _Layout) -> int:
    """A batch size that no other axis has, so that axes cannot be confused."""
    taken = _tensor_sizes(module) | {layout.steps, layout.inputs}
    return next(n for n in range(61, 61 + len(taken) + 1) if n not in taken)


# ---- the export ----


class _Window(nn.Module):
    """The module, with attributes it assigns in ``forward`` put back at the end of each call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, samples: Tensor) -> Any:
        with _preserved(self.module, values=False):
            return self.module(samples)


def _export(module: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    name, example = type(module).__name__, _example(module, shape)
    wrapper = _Window(module).eval()
    try:
        return torch.export.export(wrapper, (example,), strict=False)
    except ModelError:
        raise
    except Exception as failure:
        raise ModelError(
            f"{name}.forward cannot be traced: {_first_line(failure)}; control flow may depend on "
            "shapes, not on values, and state must start from zeros of the batch's size"
        ) from failure


def _check_calls(found: Trace, meter: _Meter) -> None:
    for path, count in meter.calls.items():
        if count != found.steps:
            raise ModelError(
                f"{path} is updated {count} times in a window of {found.steps} steps; "
                "every neuron must be updated exactly once per step"
            )


def _check_finite(found: Trace) -> None:
    used = {node.name for node in found.graph.nodes if node.op == "placeholder" and node.users}
    targets = {s.arg.name: s.target for s in found.program.graph_signature.input_specs}
    for name, tensor in found.tensors().items():
        if name in used and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            path = str(targets[name]).removeprefix("module.")
            raise ModelError(f"{path} holds values that are not finite; the checkpoint is damaged")


def _first_line(failure: Exception) -> str:
    text = str(failure).strip() or type(failure).__name__
    return text.splitlines()[0].rstrip(".;:")


def _keyword(item: tuple[str, Any]) -> str:
    return f"{item[0]}={item[1]}"


def _brief(array: NDArray) -> str:
    return f"{float(array):g}" if array.ndim == 0 else f"{array.min():g}..{array.max():g}"
