"""Trace: run a module's own Python once and keep what it did as an fx graph.

`trace` finds out how the module takes its windows (`probing`), has one op stand for each neuron
update (`instrument`) and records one run over a few steps (`recording`). What the neurons'
parameters say is read beside it (`snntorch_neurons`). The module comes back as it was: attributes,
buffers, hidden states and training mode are put back whatever happens (`preserve`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn.parameter import is_lazy

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.instrument import Meter, uneven_updates
from l2mu_compile.neurons import parameter_names
from l2mu_compile.preserve import one_thread, only_own_instances, preserved, quiet
from l2mu_compile.probing import find_layout, unused_size, zeros
from l2mu_compile.recording import record
from l2mu_compile.snntorch_neurons import NeuronRecord, neuron_modules, neuron_record
from l2mu_compile.source_lines import first_line


@dataclass(frozen=True, eq=False)
class Trace:
    """What a module's code did over ``steps`` steps on a batch of ``batch`` windows.

    ``graph`` has one ``l2mu`` node per neuron update. Its single placeholder is
    ``[steps, batch, inputs]``, or ``[batch, steps, inputs]`` when not ``time_first``; its
    ``get_attr`` nodes name parameters, buffers and constants, which are in ``tensors``. ``neurons``
    maps module paths to records, in order of first update. ``window`` is the number of steps the
    module hard-codes, or the one the caller asked for. ``inputs_found`` is true when the number of
    inputs was found by probing.
    """

    module: str
    graph: Graph
    tensors: dict[str, Tensor]
    steps: int
    batch: int
    inputs: int
    time_first: bool
    neurons: dict[str, NeuronRecord]
    window: int | None = None
    inputs_found: bool = False

    def dtypes(self) -> dict[str, str]:
        """The type of number of each neuron's current: ``float32``."""
        updates = (node for node in self.graph.nodes if str(node.target).startswith("l2mu."))
        return {str(node.args[-1]): _dtype(node.args[0].meta["val"]) for node in updates}

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
        smallest = " (smallest number that runs)" if self.inputs_found else ""
        head = f"trace of {self.module}: {self.steps} steps, input [{order}]{window}"
        rows = [f"  {self.inputs} inputs{smallest}"]
        for path, found in self.neurons.items():
            names = parameter_names(found.neuron)
            sizes = " ".join(f"{name}={_brief(getattr(found.neuron, name))}" for name in names)
            rows.append(
                f"  {path} : {found.neuron.kind}{list(found.shape)} {sizes} "
                f"reset={found.neuron.reset}"
            )
        return "\n".join([head, *rows])


def trace(
    module: nn.Module,
    inputs: int | None = None,
    time_first: bool | None = None,
    window: int | None = None,
    steps: int | None = None,
    least_batch: int = 61,
) -> Trace:
    """Trace ``module``, whose ``forward`` maps a whole window of samples to output spikes.

    ``forward`` takes one tensor ``[T, B, I]`` (``time_first``) or ``[B, T, I]``. What is None is
    found by probing. ``window`` is the number of steps of a window; give it when the code accepts
    no other. ``steps`` is how many are recorded where the code leaves it open (three by default),
    on a batch of ``least_batch`` windows or a few more. Raises `ModelError` naming what is not
    supported, where, and what to do.
    """
    if window is not None and window < 2:
        raise UsageError(f"window must be at least 2 steps, not {window}")
    if inputs is not None and inputs < 1:
        raise UsageError(f"inputs must be at least 1, not {inputs}")
    _check_tensors(module)
    neurons = neuron_modules(module)
    with preserved(module), only_own_instances(module), quiet(), one_thread(), torch.no_grad():
        module.eval()
        meter = Meter(neurons)
        layout = find_layout(module, meter, inputs, time_first, window)
        if None not in (window, layout.window) and window != layout.window:
            raise ModelError(
                f"{type(module).__name__}.forward runs {layout.window} steps whatever its window; "
                f"window={window} cannot be had"
            )
        if steps is not None and layout.window is None and window is None:
            layout = replace(layout, steps=steps)
        batch = unused_size(module, layout, least_batch)
        meter.start(batch, recording=True)
        graph, tensors = _recorded(module, layout.shape(batch))
        records = {path: neuron_record(path, neurons[path], s) for path, s in meter.shapes.items()}
    if set(meter.calls.values()) != {layout.steps}:
        raise uneven_updates(meter.calls, layout.steps)
    _check_finite(graph, tensors)
    return Trace(
        module=type(module).__name__,
        graph=graph,
        tensors=tensors,
        steps=layout.steps,
        batch=batch,
        inputs=layout.inputs,
        time_first=layout.time_first,
        neurons=records,
        window=layout.window if layout.window is not None else window,
        inputs_found=inputs is None,
    )


def operation(node: Node) -> str:
    """An fx node's operation in short: ``aten.linear``."""
    text = getattr(node.target, "__name__", "") if callable(node.target) else ""
    name = text if text == "getitem" else str(node.target)
    return re.sub(r"\.(default|Tensor|int|Scalar|using_ints)$", "", name)


def source_line(node: Node) -> str:
    """The line of the user's code a node comes from: ``model.py:12: x = self.fc(x)``, or ""."""
    return str(node.meta.get("source_line", ""))


def _check_tensors(module: nn.Module) -> None:
    """Refuse a module whose tensors have no numbers yet, or numbers that are not plain ones."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            reason = "is not initialized yet; run the module once on a window"
        elif tensor.is_meta:
            reason = "is on the meta device and holds no numbers; load the weights first"
        elif tensor.is_complex() and isinstance(tensor, nn.Parameter):
            reason = f"is {_dtype(tensor)}; a Network computes with real numbers"
        elif tensor.layout != torch.strided or tensor.is_quantized:
            reason = "is not a dense tensor; store it with .to_dense() or .dequantize()"
        else:
            continue
        raise ModelError(f"{name} of {type(module).__name__} {reason}")


def _recorded(module: nn.Module, shape: tuple[int, ...]) -> tuple[Graph, dict[str, Tensor]]:
    try:
        return record(module, zeros(module, shape))
    except ModelError:
        raise
    except Exception as failure:
        raise ModelError(
            f"{type(module).__name__}.forward cannot be traced: {first_line(failure)}; control "
            "flow may depend on shapes, not on values, and state must start from zeros of the "
            "batch's size"
        ) from failure


def _check_finite(graph: Graph, tensors: dict[str, Tensor]) -> None:
    for node in graph.nodes:
        if node.op == "get_attr" and node.users:
            tensor = tensors[node.target]
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    f"{node.target} holds values that are not finite; the checkpoint is damaged"
                )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _keyword(item: tuple[str, Any]) -> str:
    return f"{item[0]}={item[1]}"


def _brief(array: NDArray) -> str:
    return f"{float(array):g}" if array.ndim == 0 else f"{array.min():g}..{array.max():g}"
