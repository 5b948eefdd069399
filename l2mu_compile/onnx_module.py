"""An ONNX graph as a torch module of snnTorch neurons, which takes the road of any such module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.onnx_graph import OnnxGraph, OnnxNode
from l2mu_compile.onnx_neurons import Neurons, Update
from l2mu_compile.onnx_ops import MAX_VALUES
from l2mu_compile.tensor_files import shown

BATCH = 2
TOLERANCE = 1e-9
MAX_PATH = 200
LEAST_STEPS = 3

Values = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Layer:
    """A neuron's updates, one for every step that the graph has."""

    name: str
    updates: tuple[Update, ...]


class OnnxModel(nn.Module):
    """The model that ``graph`` computes: ``window`` steps of it, or one, as often as there are
    samples (None). ``forward`` takes windows as the graph does, or ``[T, B, inputs]``."""

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.graph = graph
        self.neurons = Neurons(graph, graph.run_carefully(_at_rest(graph)))
        shape = graph.inputs[self.neurons.sample]
        if len(shape) not in (2, 3) or not shape[-1]:
            raise ModelError(
                f"input {shown(self.neurons.sample)} has shape {list(shape)}: samples are "
                "[batch, inputs], or windows [batch, steps, inputs], of a fixed number of inputs"
            )
        self.inputs, windows = int(shape[-1]), len(shape) == 3
        self.layers = _chains(self.neurons) if windows else _steps(self.neurons)
        self.window = len(self.layers[0].updates) if windows else None
        self.time_first = self.window is None or _time_axis(shape, self.window) == 0
        self.owner = {u.membrane: layer for layer in self.layers for u in layer.updates}
        self.spikes: dict[str, list[str]] = {}
        for fired, membrane in self.neurons.fired.items():
            self.spikes.setdefault(membrane, []).append(fired)
        self.spiking = nn.Module()
        for layer in self.layers:
            update = layer.updates[-1]
            neuron = _neuron(update, self.neurons.made[update.membrane])
            _place(self.spiking, layer.name.split("."), neuron)
        batch_axis = 1 if windows and self.time_first else 0
        self.batch_axis, self.batch = batch_axis, shape[batch_axis]
        self.graph = _any_batch(graph, self.neurons.at_rest, self.batch)
        self.shown = self._outputs()
        self.plan = self._plan()

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """What the graph puts out of its last neurons, of all steps."""
        found = list(self.environments(samples))
        if self.window is not None:
            return tuple(found[0][name] for name in self.shown)
        return tuple(torch.stack([values[name] for values in found]) for name in self.shown)

    def environments(self, samples: Tensor) -> Iterator[Values]:
        """All values, of every run of the graph."""
        states: dict[str, tuple[Tensor, ...]] = {}
        for entry in [samples] if self.window is not None else samples:
            values = {**self.graph.constants, self.neurons.sample: entry}
            if self.window is None:
                self._recall(values, states, entry.shape[0])
            for item in self.plan:
                if isinstance(item, OnnxNode):
                    values[item.output] = item.run(values)
                else:
                    self._step(item, values, states)
            yield values

    def _recall(self, values: Values, states: dict[str, tuple[Tensor, ...]], batch: int) -> None:
        """Spikes of the step before, or none."""
        for layer in self.layers:
            shape = self.neurons.at_rest[layer.updates[0].membrane].shape[1:]
            spikes = states[layer.name][0] if layer.name in states else None
            for fired in self.spikes.get(str(layer.updates[0].before), []):
                none = values[self.neurons.sample].new_zeros(batch, *shape)
                values[fired] = none if spikes is None else spikes

    def _step(self, update: Update, values: Values, states: dict[str, tuple[Tensor, ...]]) -> None:
        layer = self.owner[update.membrane]
        current: Any = 0
        for k, (sign, name) in enumerate(update.current):
            term = values[name] if sign > 0 else -values[name]
            current = current + term if k else term
        neuron = self.spiking.get_submodule(layer.name)
        if not isinstance(current, Tensor):
            raise ModelError(f"{self.neurons.made[update.membrane]} hears of no sample or spike")
        count = 2 if isinstance(neuron, snntorch.Synaptic) else 1
        before = states.get(layer.name, (current,) + (torch.zeros_like(current),) * count)[1:]
        states[layer.name] = neuron(current, *before)
        values[update.membrane] = states[layer.name][-1]
        for fired in self.spikes.get(update.membrane, []):
            values[fired] = states[layer.name][0]

    def _outputs(self) -> list[str]:
        """What is put out of the neurons that are updated last, else whatever is a neuron's."""
        heard = {name: self._heard(name) for name in self.graph.outputs}
        own = [name for name in self.graph.outputs if heard[name]]
        last = [name for name in own if heard[name] == {self.layers[-1].name}]
        if not own:
            raise ModelError("puts out neither spikes nor membranes of a neuron")
        return last or own

    def _heard(self, output: str) -> set[str]:
        """Layers that an output shows; none where it shows anything else."""
        reached = self.neurons.direct(output)
        spikes: frozenset[str] = self.neurons.heard.get(output, frozenset())
        names = {*reached, *(spikes if output not in self.owner else frozenset())}
        return {self.owner[n].name for n in names} if names <= set(self.owner) else set()

    def _plan(self) -> list[OnnxNode | Update]:
        """What is run, in order: neurons, and the nodes that lead to their currents."""
        needed, pending = set(self.shown), list(self.shown)
        pending += [v for layer in self.layers for u in layer.updates for _, v in u.current]
        while pending:
            name = pending.pop()
            needed.add(name)
            if name in self.owner or name in self.neurons.fired or name not in self.neurons.made:
                continue
            inputs = self.neurons.made[name].inputs
            pending += [i for i in inputs if i is not None and i not in needed]
        found: list[OnnxNode | Update] = []
        for node in self.graph.nodes:
            if node.output in self.owner:
                found.append(self.neurons.updates[node.output])
            elif node.output in needed and node.output not in self.neurons.fired:
                found.append(node)
        return found


def check_same(module: OnnxModel, steps: int = 12, batch: int = 3) -> None:
    """Run graph and module in float64 on noise; `ModelError` where a membrane differs.

    ``module`` is in float64 afterwards.
    """
    graph, neurons = _doubled(module.graph), module.neurons
    axis = 1 if module.window is None else module.batch_axis
    module.double()
    module.graph = graph
    generator = torch.Generator().manual_seed(1)
    shape = [steps, batch, module.inputs]
    if module.window is not None:
        shape = [s or batch for s in graph.inputs[neurons.sample]]
    shape[axis] = module.batch * batch if module.batch else batch
    torch.set_default_dtype(torch.float64)
    try:
        for scale in (1.0, 10.0):
            noise = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                _compare(module, noise)
    finally:
        torch.set_default_dtype(torch.float32)


def _compare(module: OnnxModel, samples: Tensor) -> None:
    """Graph and module on the same samples; the graph on as many windows at once as it takes."""
    neurons, axis = module.neurons, 1 if module.window is None else module.batch_axis
    runs = samples.split(module.batch or samples.shape[axis], axis)
    told = [list(_told(module, run)) for run in runs]
    for step, found in enumerate(module.environments(samples)):
        for name in module.owner:
            wanted = torch.cat([run[step][name] for run in told])
            if wanted.shape != found[name].shape or not torch.allclose(
                wanted, found[name], rtol=TOLERANCE, atol=TOLERANCE
            ):
                raise ModelError(f"{neurons.made[name]} is no neuron that is understood")


def _told(module: OnnxModel, samples: Tensor) -> Iterator[Values]:
    """All values of the graph, of every run of it."""
    neurons, graph = module.neurons, module.graph
    states = {
        name: torch.zeros([s or samples.shape[1] for s in shape], dtype=samples.dtype)
        for name, shape in graph.inputs.items()
        if name != neurons.sample
    }
    after = {} if module.window is not None else _after(module)
    for entry in [samples] if module.window is not None else samples:
        told = graph.run({**states, neurons.sample: entry})
        states = {name: told[after[name]] for name in states}
        yield {name: told[name] for name in module.owner}


def _after(module: OnnxModel) -> dict[str, str]:
    """The value that every state is after the step."""
    neurons, found = module.neurons, {}
    for layer in module.layers:
        update = layer.updates[0]
        found[str(update.before)] = update.membrane
        if update.synapse is not None:
            arriving = set(update.arriving)
            found[update.synapse] = next(
                n.output for n in module.graph.nodes if set(neurons.terms(n.output)) == arriving
            )
    missing = [n for n in module.graph.inputs if n not in found and n != neurons.sample]
    if missing:
        raise ModelError(f"input {shown(missing[0])} is neither samples nor a state of a neuron")
    return found


def _any_batch(graph: OnnxGraph, at_rest: Mapping[str, Any], batch: int | None) -> OnnxGraph:
    """``graph`` with every `Reshape` to the one size of batch that it is for taking any other."""
    nodes, constants = [], dict(graph.constants)
    for node in graph.nodes:
        value, sizes = (*node.inputs, None)[:2]
        fixed = node.kind == "Reshape" and not node.attributes.get("allowzero")
        if fixed and batch and sizes in graph.constants and value not in graph.constants:
            wanted = np.array(graph.constants[sizes])
            first = at_rest[str(value)].shape[:1]
            if wanted.ndim == 1 and wanted.size and first == (batch,) and wanted[0] == batch:
                wanted[0] = 0  # as many as there are
                free = f"{node.output} for any batch"
                constants[free] = wanted
                node = replace(node, inputs=(value, free))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _doubled(graph: OnnxGraph) -> OnnxGraph:
    def double(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    return replace(graph, constants={name: double(v) for name, v in graph.constants.items()})


def _at_rest(graph: OnnxGraph) -> dict[str, Tensor]:
    _require_steps(graph)
    given = [shape[0] for shape in graph.inputs.values() if shape and shape[0]]
    batch = given[0] if given else BATCH
    shapes = {name: [s or batch for s in shape] for name, shape in graph.inputs.items()}
    if sum(prod(shape) for shape in shapes.values()) > MAX_VALUES:
        raise ModelError(f"has inputs of more than {MAX_VALUES} values")
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def _require_steps(graph: OnnxGraph) -> None:
    """A window, the only input of its graph, must say how many steps it has."""
    for name, shape in graph.inputs.items():
        given = [size for size in shape[:2] if size and size > 1]
        if len(graph.inputs) == 1 and len(shape) == 3 and not given:
            raise ModelError(
                f"input {shown(name)} leaves open how many steps a window has: export with no axis "
                "but that of the batch in dynamic_axes"
            )


def _steps(neurons: Neurons) -> list[Layer]:
    """Layers of a graph of one step; their states are inputs."""
    found: list[Layer] = []
    for name, update in neurons.updates.items():
        if update.before not in neurons.graph.inputs:
            raise ModelError(
                f"{neurons.made[name]} has no membrane of the step before: export a step with all "
                "states as inputs and outputs, or a window"
            )
        if name not in neurons.graph.outputs:
            raise ModelError(
                f"{neurons.made[name]} is a membrane that is not put out, although the one before, "
                f"{shown(update.before)}, is an input"
            )
        found.append(Layer(_named(neurons, name, [layer.name for layer in found]), (update,)))
    return found


def _chains(neurons: Neurons) -> list[Layer]:
    """Layers of a graph of a window; step after step, a neuron's membrane is made of its last."""
    chains: list[list[Update]] = []
    ends: dict[str, list[Update]] = {}
    for update in neurons.updates.values():
        chain = ends.pop(update.before, None) if update.before else []
        if chain is None:
            raise ModelError(f"{neurons.made[update.membrane]} shares its membrane's past")
        if not chain:
            chains.append(chain)
        chain.append(update)
        ends[update.membrane] = chain
    steps = max((len(chain) for chain in chains), default=0)
    for chain in chains:
        if len(chain) < max(steps, LEAST_STEPS):
            raise ModelError(
                f"{neurons.made[chain[0].membrane]} is updated {len(chain)} times in a window of "
                f"{steps} steps; every neuron must be updated once per step, in at least "
                f"{LEAST_STEPS} steps"
            )
    found: list[Layer] = []
    for chain in chains:
        _require_alike(neurons, chain)
        name = _named(neurons, chain[0].membrane, [layer.name for layer in found])
        found.append(Layer(name, tuple(chain)))
    return found


def _require_alike(neurons: Neurons, chain: list[Update]) -> None:
    first = chain[1]
    for update in chain[2:]:
        pairs = [(getattr(update, n), getattr(first, n)) for n in ("threshold", "beta", "alpha")]
        same = all(torch.equal(a, b) if None not in (a, b) else a is b for a, b in _known(pairs))
        if not same or update.reset != first.reset:
            raise ModelError(f"{neurons.made[update.membrane]}: another neuron than in step 1")


def _known(pairs: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    for a, b in pairs:
        if a is not None and b is not None:
            yield a, b
        elif a is not b:
            yield torch.zeros(1), torch.ones(1)


def _named(neurons: Neurons, membrane: str, taken: list[str]) -> str:
    """A path for a layer: that of the module its nodes come from, if they say."""
    label = neurons.made[membrane].label
    parts = label.strip("/").split("/")[:-1] if label.startswith("/") else []
    clean = re.sub(r"[^\w.]", "_", ".".join(parts)[:MAX_PATH], flags=re.ASCII).strip(".")
    known = nn.Module()
    path = ".".join(
        f"lif_{part}" if part.isalnum() or hasattr(known, part) else part
        for part in clean.split(".")
    )
    inside = any(f"{path}.".startswith(f"{t}.") or t.startswith(f"{path}.") for t in taken)
    return f"lif_{len(taken) + 1}" if inside or not path or ".." in path else path


def _place(root: nn.Module, path: list[str], neuron: nn.Module) -> None:
    for part in path[:-1]:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]  # type: ignore[assignment]
    root.add_module(path[-1], neuron)


def _neuron(update: Update, node: OnnxNode) -> nn.Module:
    options: dict[str, Any] = {
        "threshold": _parameter(update.threshold),
        "reset_mechanism": {"clamp": "zero"}.get(str(update.reset), update.reset),
        "spike_grad": _spike,
    }
    if update.alpha is not None:
        if update.reset == "zero":
            raise ModelError(
                f"{node}: a neuron with a synaptic current whose membrane alone is reset to zero"
            )
        return snntorch.Synaptic(alpha=update.alpha, beta=update.beta, **options)
    if update.reset == "clamp":
        raise ModelError(
            f"{node}: is held at zero for the step after a spike, input included, as snnTorch's "
            "RLeaky with reset_mechanism='zero'; that is supported with a synaptic current only"
        )
    return snntorch.Leaky(beta=update.beta, **options)


def _parameter(threshold: Tensor) -> Tensor:
    flat = threshold.flatten()
    return flat[0].clone() if bool((flat == flat[0]).all()) else threshold.clone()


def _spike(shifted: Tensor) -> Tensor:
    return (shifted > 0).to(shifted.dtype)


def _time_axis(shape: tuple[int | None, ...], steps: int) -> int:
    """The axis of windows that has the graph's number of steps."""
    axes = [axis for axis in (0, 1) if shape[axis] == steps]
    if len(axes) != 1:
        raise ModelError(
            f"windows of shape {list(shape)}, but {steps} steps: which axis is time cannot be "
            "told; export with a batch of 1, or with that axis in dynamic_axes"
        )
    return axes[0]
