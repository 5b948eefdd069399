"""Whatever a model comes from, brought to one form: a traced Network and its float original."""

from __future__ import annotations

import hashlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import L2MUError, ModelError, UsageError
from l2mu_compile.network import Input, Network, identifier
from l2mu_compile.report import Source
from l2mu_compile.text import load_network
from l2mu_compile.verify import verify

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 256

# What holds over three steps must hold over this many, on a batch of another size.
LONG_STEPS, OTHER_BATCH = 40, 97

Decide = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class Model:
    """A model at the start of the road.

    ``network`` is traced and verified. ``decide`` maps float32 windows ``[N, T, inputs]`` to the
    original PyTorch model's decisions int64 ``[N]``; None where only the network is at hand.
    ``notes`` are lines the user should see.
    """

    network: Network
    source: Source
    decide: Decide | None = None
    notes: tuple[str, ...] = ()

    def with_labels(self, labels: tuple[str, ...], origin: str) -> Model:
        """The same model, its classes named; `ModelError` naming ``origin`` if that cannot be."""
        readout = replace(self.network.readout, labels=labels)
        network = self.network.replace(readout=readout)
        try:
            verify(network)
        except ModelError as error:
            raise ModelError(f"{origin}: {error}") from None
        return replace(self, network=network)

    def with_input(self, scale: list[float] | None, offset: list[float] | None) -> Model:
        """The same model reading raw sensor counts: it sees ``scale · count + offset``."""
        if scale is None and offset is None:
            return self
        entry = replace(self.network.input, scale=_per_channel(scale), offset=_per_channel(offset))
        size = entry.size
        for name, values in (("scale", entry.scale), ("offset", entry.offset)):
            if values is not None and values.shape not in ((), (size,)):
                raise UsageError(f"--input-{name}: {values.size} numbers for {size} channels")
        network = self.network.replace(input=entry)
        return replace(self, network=network, decide=self.decide and on_counts(self.decide, entry))


def on_counts(decide: Decide, entry: Input) -> Decide:
    """``decide`` for raw sensor counts, converted by ``entry``'s scale and offset."""

    def decide_counts(x: NDArray) -> NDArray:
        scaled = x if entry.scale is None else x * entry.scale
        return decide(scaled if entry.offset is None else scaled + entry.offset)

    return decide_counts


def load_model(
    path: Path | None,
    params: Path | None = None,
    module: str | None = None,
    inputs: int | None = None,
    readout: str | None = None,
    name: str | None = None,
) -> Model:
    """Load a model from a checkpoint, a network text, or ``module`` ("package.module:factory").

    With ``module``, ``path`` may name a ``state_dict`` to load into it. ``inputs`` is the number of
    channels (found by trial if None), ``readout`` a rule for modules that return membranes, and
    ``name`` the prefix of everything generated. Raises `ModelError` or `UsageError`.
    """
    if module is not None:
        return _from_module(module, path, inputs, readout, name)
    if path is None:
        raise UsageError("give a checkpoint, a network text, or --module package.module:factory")
    if path.suffix == ".txt":
        network = read_network(path)
        return Model(network, Source(kind="network", name=path.name, sha256=_sha256(path)))
    from l2mu_compile.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path, params)
    source = Source(kind=checkpoint.layout, name=path.name, sha256=checkpoint.digest)
    channels = checkpoint.model.config.inputs
    try:
        model = _trace(checkpoint.model, channels, readout, name or path.stem, source)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return model if checkpoint.labels is None else model.with_labels(checkpoint.labels, str(path))


def read_network(path: Path) -> Network:
    """A network's text form, verified. Raises `ModelError` naming the file."""
    try:
        network = load_network(path)
        verify(network)
    except ModelError as error:
        text = str(error)
        known = text.startswith((str(path), str(path.with_suffix(".safetensors"))))
        raise ModelError(text if known else f"{path}: {text}") from error
    return network


def from_module(
    module: nn.Module,
    inputs: int | None = None,
    time_first: bool | None = None,
    readout: str | None = None,
    name: str = "l2mu",
) -> Model:
    """Trace a torch module taking ``[T, B, inputs]`` or ``[B, T, inputs]``, as it is.

    What is None is found by trial (``readout`` by what the module returns). Raises `ModelError`.
    """
    source = Source(kind="module", name=type(module).__name__)
    return _trace(module, inputs, readout, name, source, time_first)


def _from_module(
    spec: str, path: Path | None, inputs: int | None, readout: str | None, name: str | None
) -> Model:
    module = _make_module(spec)
    digest = None
    if path is not None:
        digest = _sha256(path)
        _load_state(module, path)
    source = Source(kind="module", name=spec, sha256=digest)
    return _trace(module, inputs, readout, name or spec.rpartition(":")[2], source)


def _make_module(spec: str) -> nn.Module:
    from torch import nn

    package, separator, factory = spec.partition(":")
    if not separator or not package or not factory:
        raise UsageError(f"--module {spec}: write package.module:factory")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = getattr(importlib.import_module(package), factory)
        module = module if isinstance(module, nn.Module) else module()
    except L2MUError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"--module {spec}: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"--module {spec}: is a {type(module).__name__}, not a torch module")
    return module


def _load_state(module: nn.Module, path: Path) -> None:
    from l2mu_compile.checkpoint import read_state_dict

    try:
        module.load_state_dict(read_state_dict(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: does not fit the module: {reason}") from None


def _trace(
    module: nn.Module,
    inputs: int | None,
    readout: str | None,
    name: str,
    source: Source,
    time_first: bool | None = None,
) -> Model:
    from l2mu_compile.lift import lift
    from l2mu_compile.trace import trace

    name = identifier(name, fallback="l2mu")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # torch's own dumps
        traced = trace(module, inputs=inputs, time_first=time_first)
        again = trace(
            module, traced.inputs, traced.time_first, steps=LONG_STEPS, least_batch=OTHER_BATCH
        )
    network = lift(traced, name=name, readout=readout)
    verify(network)
    if lift(again, name=name, readout=readout) != network:
        raise ModelError(
            f"{type(module).__name__}.forward computes something else for {again.steps} steps and "
            f"{again.batch} windows than for {traced.steps} and {traced.batch}: its weights must "
            "not depend on the length of a window or the size of a batch"
        )
    rule = network.readout.rule
    decide = _torch_decisions(module, traced.time_first) if rule == "spike_count" else None
    notes: tuple[str, ...] = ()
    if traced.inputs_found:
        notes = (f"{traced.inputs} channels: the smallest number the module runs with (--inputs)",)
    return Model(network, source, decide, notes)


def _torch_decisions(module: nn.Module, time_first: bool) -> Decide:
    """The module's own decisions: most spikes over the window, lowest index among equals."""
    import torch

    def decide(x: NDArray) -> NDArray:
        module.eval()
        found = []
        with torch.no_grad():
            for chunk in _chunks(x):
                _forget(module)
                batch = torch.from_numpy(np.ascontiguousarray(chunk))
                output = module(batch.transpose(0, 1) if time_first else batch)
                counts = _spike_counts(output, chunk.shape[1], len(chunk))
                found.append(np.argmax(counts.numpy(), axis=1))
        return np.concatenate(found).astype(np.int64)

    return decide


def _chunks(x: NDArray) -> Iterator[NDArray]:
    """Parts of a batch, none with as many windows as steps, so that the axes can be told apart."""
    for start in range(0, len(x), BATCH):
        chunk = x[start : start + BATCH]
        if len(chunk) == chunk.shape[1] > 1:
            yield chunk[:1]
            chunk = chunk[1:]
        yield chunk


def _spike_counts(output: Any, steps: int, windows: int) -> Tensor:
    """Spikes ``[windows, classes]`` from what a module returns: the first tensor that holds them
    (one value besides zero), over time or already counted, or a list with one for each step."""
    import torch
    from torch.utils._pytree import tree_leaves

    tensors = [t for t in tree_leaves(output) if isinstance(t, torch.Tensor)]
    if len(tensors) == steps and all(t.ndim == 2 for t in tensors):
        tensors = [torch.stack(tensors)]
    spiking = (t for t in tensors if t.ndim == 3 and len(t[t != 0].unique()) <= 1)
    found = next(spiking, tensors[0])
    if found.ndim == 3:
        found = found.sum(0 if found.shape[:2] == (steps, windows) else 1)
    return found


def _forget(module: nn.Module) -> None:
    """Put hidden states to zero: not every module does so at the start of a window."""
    from snntorch import Leaky, Synaptic

    for neuron in module.modules():
        if isinstance(neuron, (Leaky, Synaptic)):
            neuron.reset_mem()


def _per_channel(values: list[float] | None) -> NDArray | None:
    if values is None:
        return None
    array = np.asarray(values, dtype=np.float32)
    return array[0] if array.size == 1 else array


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
