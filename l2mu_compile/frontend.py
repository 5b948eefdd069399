"""Whatever a model comes from, brought to one form: a traced Network and its float original."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import L2MUError, ModelError, UsageError
from l2mu_compile.importers import import_network
from l2mu_compile.network import READOUT_RULES, Input, Network, identifier
from l2mu_compile.network_files import load_network
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.plugins import importer_for
from l2mu_compile.report import Source
from l2mu_compile.verify import verify

if TYPE_CHECKING:
    from torch import nn

    from l2mu_compile.original import Original
    from l2mu_compile.trace import Trace
    from l2mu_compile.windows import Windows

# What holds over three steps must hold over this many, on a batch of another size.
LONG_STEPS, OTHER_BATCH = 40, 97

Decide = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class Model:
    """A model at the start of the road.

    ``network`` is traced and verified; ``original`` is the PyTorch model it was made from, or None
    where only the network is at hand. ``notes`` are lines the user should see.
    """

    network: Network
    source: Source
    original: Original | None = None
    notes: tuple[str, ...] = ()

    @property
    def decide(self) -> Decide | None:
        """The original's decisions: float32 windows ``[N, T, inputs]`` to int64 ``[N]``."""
        if self.original is None:
            return None
        return on_counts(self.original.decide, self.network.input)

    def validate(self, x: NDArray) -> list[str]:
        """Compare the network with its original, spike by spike, on windows ``[N, T, inputs]``.

        Returns lines the user should see: where rounding reaches the scores. Raises `ModelError`
        naming neuron and step if the two differ by more than rounding. Does nothing without an
        original.
        """
        if self.original is None:
            return []
        from l2mu_compile.samples import check_samples
        from l2mu_compile.validation import validate

        x = check_samples(self.network, x)
        note = validate(self.original, seen(x, self.network.input)).note()
        return [note] if note else []

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
            if values is not None and not np.isfinite(values).all():
                raise UsageError(f"--input-{name}: a number too large for float32")
        if entry.scale is not None and not entry.scale.all():
            raise UsageError("--input-scale: 0 (in float32) would make all samples look the same")
        return replace(self, network=self.network.replace(input=entry))


def on_counts(decide: Decide, entry: Input) -> Decide:
    """``decide`` for raw sensor counts, converted by ``entry``'s scale and offset."""
    return lambda x: decide(seen(x, entry))


def seen(x: NDArray, entry: Input) -> NDArray:
    """What the model sees of raw sensor counts."""
    scaled = x if entry.scale is None else x * entry.scale
    return scaled if entry.offset is None else scaled + entry.offset


def load_model(
    path: StrPath | None,
    params: StrPath | None = None,
    module: str | None = None,
    inputs: int | None = None,
    readout: str | None = None,
    name: str | None = None,
    nir: str | None = None,
) -> Model:
    """Load a model from a checkpoint, a network text, or ``module`` ("package.module:factory").

    ``path`` is a checkpoint (``.pt``, ``.pth``, ``.ckpt``, ``.safetensors``; ``params`` is its file
    of hyper-parameters, if it needs one), a network text (``.txt``), an ONNX model (``.onnx``), a
    NIR graph (``.nir``; ``nir`` says what such a file leaves open, "producer=norse,dt=0.001", see
    `l2mu_compile.nir_reading`) or a file that a plug-in reads. With ``module`` it may name a
    ``state_dict`` to load into what the factory makes. ``inputs`` is the number of channels of a
    ``module`` (found by trial if None), ``readout`` the rule to decide by, one of `READOUT_RULES`,
    which a module that returns membranes needs. ``name`` is the prefix of everything generated.

    Raises `UsageError` for arguments that do not go together, `ModelError` for a file or module
    that is missing, damaged or not supported: one line that names it.
    """
    path = None if path is None else Path(path)
    params = None if params is None else Path(params)
    if nir is not None and (module is not None or path is None or not _is_nir(path)):
        raise UsageError("--nir belongs to a NIR graph, a file that ends in .nir")
    if module is not None:
        _refuse("--params", params, "a checkpoint; a --module holds its own parameters")
        return _from_module(module, path, inputs, readout, name)
    if path is None:
        raise UsageError("give a checkpoint, a network text, or --module package.module:factory")
    _refuse("--inputs", inputs, "a --module; a file says how many channels it has")
    if path.suffix == ".txt":
        _refuse("--params", params, "a checkpoint; a network text holds its own parameters")
        _refuse("--readout", readout, "a checkpoint or --module; a network text has its own rule")
        return _named(read_network(path), "network", path, name)
    if _is_nir(path):
        _refuse("--params", params, "a checkpoint; a NIR graph holds its own parameters")
        return _from_nir(path, readout, name, nir)
    if path.suffix.lower() == ".onnx":
        _refuse("--params", params, "a checkpoint; an ONNX model holds its own parameters")
        return _from_onnx(path, readout, name)
    importer = importer_for(path)
    if importer is not None:
        _refuse("--params", params, "a checkpoint, which this file is not")
        _refuse("--readout", readout, "a checkpoint or --module; an imported network has its rule")
        return _named(import_network(importer, path), importer.name, path, name)
    from l2mu_compile.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path, params)
    source = Source(kind=checkpoint.layout, name=printable(path.name), sha256=checkpoint.digest)
    channels = checkpoint.model.config.inputs
    try:
        model = _trace(checkpoint.model, channels, readout, name or path.stem, source)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    model = replace(model, notes=checkpoint.notes + model.notes)
    return model if checkpoint.labels is None else model.with_labels(checkpoint.labels, str(path))


def load_model_for(
    windows: Windows | None,
    path: StrPath | None,
    params: StrPath | None = None,
    module: str | None = None,
    inputs: int | None = None,
    readout: str | None = None,
    name: str | None = None,
    nir: str | None = None,
) -> Model:
    """`load_model`; a ``module`` whose channels are not given must have those of ``windows``."""
    if module is None or inputs is not None or windows is None:
        return load_model(path, params, module, inputs, readout, name, nir)
    channels = windows.x.shape[2]
    try:
        return load_model(path, params, module, channels, readout, name, nir)
    except ModelError as error:
        raise ModelError(f"{error} (with {channels} channels, as {windows.source} has)") from error


def _named(network: Network, kind: str, path: Path, name: str | None) -> Model:
    if name is not None:
        network = network.replace(name=identifier(name, fallback="l2mu"))
    source = Source(kind=kind, name=printable(path.name), sha256=_sha256(path))
    return Model(network, source)


def _refuse(option: str, value: object, place: str) -> None:
    if value is not None:
        raise UsageError(f"{option} belongs to {place}")


def _is_nir(path: Path) -> bool:
    return path.suffix.lower() == ".nir"


def _from_nir(path: Path, readout: str | None, name: str | None, nir: str | None) -> Model:
    from l2mu_compile.nir_import import import_nir
    from l2mu_compile.nir_reading import parse_options

    if readout is not None and readout not in READOUT_RULES:
        raise UsageError(f"--readout {readout}: one of {', '.join(READOUT_RULES)}")
    imported = import_nir(path, parse_options(nir), readout, name)
    source = Source(kind="nir", name=printable(path.name), sha256=_sha256(path))
    return Model(imported.network, source, notes=imported.notes)


def _from_onnx(path: Path, readout: str | None, name: str | None) -> Model:
    from l2mu_compile.onnx_import import import_onnx

    found = import_onnx(path)
    if isinstance(found, Network):
        _refuse("--readout", readout, f"a checkpoint or --module; {path} has its own rule")
        return _named(found, "onnx", path, name)
    source = Source(kind="onnx", name=printable(path.name), sha256=_sha256(path))
    layout = found.time_first, found.window
    try:
        return _trace(found, found.inputs, readout, name or path.stem, source, *layout)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def read_network(path: StrPath) -> Network:
    """A network's text form, verified. Raises `ModelError` naming the file."""
    path = Path(path)
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
    """The model that a torch module of snnTorch neurons computes, read off its own code.

    ``module(x)`` takes float32 windows ``[T, B, inputs]`` (``time_first``) or ``[B, T, inputs]``
    and returns the spikes of one layer, ``[T, B, C]`` or ``[B, T, C]`` or summed over time
    ``[B, C]``, or its membranes. These need a ``readout``: "last_membrane", "max_membrane" or
    "mean_membrane" (or "spike_count", to count the layer's spikes all the same). ``inputs`` and
    ``time_first`` are found by trial if None. ``name`` is the prefix of everything generated. The
    module stays as it is.

    Raises `ModelError`, one line naming neuron, step, operation or source line, for whatever a
    Network cannot express (see docs/modules.md), `UsageError` for an unknown ``readout``.
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
    source = Source(kind="module", name=printable(spec), sha256=digest)
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
    from l2mu_compile.tensor_files import read_state_dict

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
    window: int | None = None,
) -> Model:
    from l2mu_compile.lift import lift, lift_with_places
    from l2mu_compile.original import Original
    from l2mu_compile.trace import trace
    from l2mu_compile.validation import validate_on_noise

    name = identifier(name, fallback="l2mu")
    traced = trace(module, inputs=inputs, time_first=time_first, window=window)
    _require_float32(traced)
    lifted = lift_with_places(traced, name=name, readout=readout)
    verify(lifted.network)
    again = trace(
        module, traced.inputs, traced.time_first, window, LONG_STEPS, least_batch=OTHER_BATCH
    )
    if lift(again, name=name, readout=readout) != lifted.network:
        raise ModelError(
            f"{type(module).__name__}.forward computes something else for {again.steps} steps and "
            f"{again.batch} windows than for {traced.steps} and {traced.batch}: its weights must "
            "not depend on the length of a window or the size of a batch"
        )
    original = Original(module, traced.time_first, lifted)
    notes = validate_on_noise(original, again.steps)
    if traced.inputs_found:
        found = f"{traced.inputs} channels: the smallest number the module runs with (--inputs)"
        notes.insert(0, found)
    return Model(lifted.network, source, original, tuple(notes))


def _require_float32(traced: Trace) -> None:
    for path, dtype in traced.dtypes().items():
        if dtype != "float32":
            raise ModelError(
                f"{path} of {traced.module} computes in {dtype}, compiled code in float32: convert "
                "it with module.float(), and see that it still decides well"
            )


def _per_channel(values: list[float] | None) -> NDArray | None:
    if values is None:
        return None
    with np.errstate(over="ignore"):
        array = np.asarray(values, dtype=np.float32)
    return array[0] if array.size == 1 else array


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
