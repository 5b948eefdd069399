"""The text form of a Network: printed, read back equal, weights in a ``.safetensors`` sidecar.

::

    format 1
    network NAME stage=STAGE window=STEPS [full_window=STEPS]
      input      NAME : f32[SIZE] [scale=V] [offset=V] [unit=V center=V] [low=F high=F] [fraction=N]
                 (or spikes[SIZE])
      population NAME : KIND[N] or KIND[CELLS,ORDER]  PARAMETER=V ... reset=RULE [bias=V] ...
      projection SOURCE -> TARGET : dense[R,C] @W [delay=1] [shift=V] [quantum=V] [kernel=NAME]
      projection SOURCE -> TARGET : blocks[R,C]xCOUNT @W ...          one block, repeated
      projection SOURCE -> TARGET : blocks[COUNT,R,C] @W ...          each block its own
      projection SOURCE -> TARGET : conv[OUT,IN,H,W] @W from=C,H,W to=C,H,W [stride=H,W]
                 [padding=H,W] [dilation=H,W] [groups=N] [pool=H,W] ...
      readout    POPULATION : RULE [margins=[N, ...]] [labels=["NAME", ...]]
      buffer     NAME : CTYPE[COUNT] @OFFSET state|scratch

A value ``V`` is a number or ``@name#digest``: an array in the sidecar and the first 12 hex digits
of the SHA-256 of its type, shape and bytes. Numbers with a point or an exponent are float32. Lines
that start with ``#`` are comments. Files begin with their format; without that line it is 1.
Labels are a JSON array, last on its line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError, reason
from l2mu_compile.grids import GRIDS, INT4
from l2mu_compile.network import SENSOR_ARRAYS, Buffer, Input, Network, Population, Readout
from l2mu_compile.neurons import NEURONS, parameter_names
from l2mu_compile.output import write_together
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.projection import Projection
from l2mu_compile.versions import unknown_version

FORMAT = 1  # of the files that are written
MAX_TEXT_BYTES, MAX_TENSOR_BYTES = 16 << 20, 1 << 30
NUMPY_KINDS = "biuf"  # of types; packages such as ml_dtypes bring more
LINE_KINDS = ("network", "input", "population", "projection", "readout", "buffer")
_HEAD = re.compile(r"(?P<name>\S+) : (?P<type>[A-Za-z_0-9]+)\[(?P<dims>[0-9,]+)\](?P<rest>.*)")
_ARROW = re.compile(
    r"(?P<source>\S+) -> (?P<target>\S+) : (?P<type>dense|blocks|conv)\[(?P<dims>[0-9,]+)\]"
    r"(?:x(?P<count>[0-9]{1,9}))? @(?P<weight>\S+?)#(?P<digest>[0-9a-f]+)(?P<rest>.*)"
)
_READOUT = re.compile(
    r"(?P<name>\S+) : (?P<rule>\S+)(?: margins=\[(?P<margins>[0-9, ]+)\])?"
    r"(?: labels=(?P<labels>.*))?"
)

_MAPS = {"source": "from", "target": "to"}
_CONVOLUTION = {_MAPS.get(f.name, f.name): f.name for f in fields(Convolution)}

Node = TypeVar("Node", Population, Projection)


def to_text(network: Network) -> str:
    """The text form, ending in a newline."""
    window = "none" if network.window is None else str(network.window)
    window += "" if network.full_window is None else f" full_window={network.full_window}"
    lines = [f"network {network.name} stage={network.stage} window={window}"]
    lines.append(_input_line(network.input))
    lines += [_population_line(p) for p in network.populations]
    lines += [_projection_line(p) for p in network.projections]
    lines.append(_readout_line(network.readout))
    lines += [
        f"buffer     {b.name} : {b.ctype}[{b.count}] @{b.offset} {b.lifetime}"
        for b in network.buffers
    ]
    return "\n  ".join(lines) + "\n"


def parse(text: str, tensors: Mapping[str, NDArray]) -> Network:
    """Read a text form; ``tensors`` holds the arrays it names.

    Raises `ModelError` with the line number when a line, a digest or a reference is wrong. What
    the network as a whole must satisfy is for `l2mu_compile.verify` to say.
    """
    return _Parser(tensors).parse(text)


def file_text(network: Network) -> str:
    """The text form as files hold it, which begin with their format."""
    return f"format {FORMAT}\n{to_text(network)}"


def save_network(network: Network, path: StrPath) -> None:
    """Write ``path`` and its sidecar ``path`` with suffix ``.safetensors``, both or none."""
    path = Path(path)
    sidecar = path.with_suffix(".safetensors")
    write_together({sidecar: tensor_bytes(network), path: file_text(network)})


def load_network(path: StrPath) -> Network:
    """Read what `save_network` wrote. Raises `ModelError` if either file is unreadable."""
    path = Path(path)
    try:
        if file_bytes(path) > MAX_TEXT_BYTES:
            raise ModelError(f"{path}: larger than {MAX_TEXT_BYTES} bytes, not a network text")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot read network text: {reason(error)}") from None
    sidecar = path.with_suffix(".safetensors")
    try:
        tensors = _read_tensors(sidecar) if sidecar.exists() else {}
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{sidecar}: cannot read weights: {reason(error)}") from None
    return parse(text, tensors)


def _read_tensors(path: Path) -> dict[str, NDArray]:
    if file_bytes(path) > MAX_TENSOR_BYTES:
        raise ModelError(f"{path}: larger than {MAX_TENSOR_BYTES} bytes")
    tensors = load_file(path)
    for tensor in tensors.values():
        if tensor.dtype.kind not in NUMPY_KINDS:
            raise TypeError(f"numpy itself has no {tensor.dtype}")
    return tensors


def tensor_bytes(network: Network) -> bytes:
    """The sidecar's bytes: every array of the network, sorted by name."""
    return save(dict(sorted(network.tensors().items())))


def network_digest(network: Network) -> str:
    """SHA-256, 64 hex digits, of what a network computes: of its text form without kernels and
    buffers, which differ from target to target, then of every array's bytes, sorted by name."""

    def bare(node: Node) -> Node:
        return node if node.kernel is None else replace(node, kernel=None)

    network = network.map_populations(bare).map_projections(bare).replace(buffers=())
    found = hashlib.sha256(to_text(network).encode())
    for _, array in sorted(network.tensors().items()):
        found.update(array.tobytes())
    return found.hexdigest()


def digest(array: NDArray) -> str:
    """First 12 hex digits of the SHA-256 of an array's type, shape and bytes."""
    head = f"{array.dtype.str}{list(array.shape)}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


def _input_line(entry: Input) -> str:
    options = {f.name: getattr(entry, f.name) for f in fields(entry)[2:] if f.name != "spiking"}
    kind = "spikes" if entry.spiking else "f32"
    return f"input      {entry.name} : {kind}[{entry.size}]" + _options(entry.name, options)


def _population_line(population: Population) -> str:
    neuron = population.neuron
    options = {name: getattr(neuron, name) for name in parameter_names(neuron)}
    options["reset"] = neuron.reset
    options |= {f.name: getattr(population, f.name) for f in fields(population)[3:]}
    shape = ",".join(map(str, population.shape))
    return f"population {population.name} : {neuron.kind}[{shape}]" + _options(
        population.name, options
    )


def _projection_line(p: Projection) -> str:
    dims = ",".join(map(str, p.weight.shape))
    kind = "conv" if p.convolution else "blocks" if p.blocks else "dense"
    structure = f"{kind}[{dims}]"
    repeat = f"x{p.blocks}" if p.shared else ""
    options: dict[str, Any] = _convolution_options(p.convolution) if p.convolution else {}
    options |= {"delay": p.delay or None, "shift": p.shift}
    grid = None if p.grid == INT4.name else p.grid
    options |= {"quantum": p.quantum, "grid": grid, "kernel": p.kernel}
    return (
        f"projection {p.source} -> {p.target} : {structure}{repeat} @{p.name}#{digest(p.weight)}"
        + _options(p.name, options)
    )


def _convolution_options(convolution: Convolution) -> dict[str, str]:
    """What is not as it is by default."""
    found = {}
    for field in fields(Convolution):
        value = getattr(convolution, field.name)
        if value != field.default:
            name = _MAPS.get(field.name, field.name)
            found[name] = ",".join(map(str, np.atleast_1d(value)))
    return found


def _readout_line(readout: Readout) -> str:
    margins = "" if readout.margins is None else f" margins={list(readout.margins)}"
    labels = "" if readout.labels is None else f" labels={json.dumps(readout.labels)}"
    return f"readout    {readout.population} : {readout.rule}{margins}{labels}"


def _options(owner: str, options: Mapping[str, Any]) -> str:
    return "".join(
        f" {name}={_value(f'{owner}.{name}', value)}"
        for name, value in options.items()
        if value is not None
    )


def _value(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"@{name}#{digest(value)}" if value.ndim else _number(value.dtype.type(value))
    return repr(float(value)) if isinstance(value, float) else str(value)


def _number(value: np.generic) -> str:
    """Shortest text that reads back as the same number of the same kind."""
    if isinstance(value, np.integer):
        return str(value)
    text = str(value)
    return text if re.search(r"[.en]", text) else text + ".0"


class _Parser:
    def __init__(self, tensors: Mapping[str, NDArray]) -> None:
        self.tensors = tensors
        self.where = ""
        self.parts: dict[str, list[Any]] = {}

    def parse(self, text: str) -> Network:
        header: dict[str, Any] | None = None
        for keyword, rest in self._lines(text):
            if keyword == "format":
                self._check_format(rest, first=header is None and not self.parts)
                continue
            if keyword == "network":
                if header is not None:
                    self._fail("a second 'network' line")
                header = self._header(rest)
                continue
            reader = getattr(self, f"_read_{keyword}", None)
            if reader is None or keyword not in LINE_KINDS:
                self._fail(f"unknown line kind {keyword!r}")
            try:
                self.parts.setdefault(keyword, []).append(reader(rest))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                self._fail(str(error))
        self.where = "network text"
        if header is None:
            self._fail("no 'network' line")
        return Network(
            input=self._single("input"),
            populations=tuple(self.parts.get("population", [])),
            projections=tuple(self.parts.get("projection", [])),
            readout=self._single("readout"),
            buffers=tuple(self.parts.get("buffer", [])),
            **header,
        )

    def _lines(self, text: str) -> Iterator[tuple[str, str]]:
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            self.where = f"line {number}"
            keyword, _, rest = stripped.partition(" ")
            yield keyword, rest.strip()

    def _check_format(self, version: str, first: bool) -> None:
        if not first:
            self._fail("'format' belongs before everything else")
        if version != str(FORMAT):
            self._fail(unknown_version(version, FORMAT, "format"))

    def _header(self, rest: str) -> dict[str, Any]:
        name, _, options = rest.partition(" ")
        values = self._read_options(options, ("stage", "window", "full_window"))
        header: dict[str, Any] = {"name": name, "stage": values.get("stage", "traced")}
        for key in ("window", "full_window"):
            steps = values.get(key, "none")
            if steps != "none" and not re.fullmatch("[0-9]{1,9}", steps):
                self._fail(f"{key} must be a number of steps or 'none', not {steps!r}")
            header[key] = None if steps == "none" else int(steps)
        return header

    def _read_input(self, rest: str) -> Input:
        head = self._match(_HEAD, rest, "input NAME : f32[SIZE]")
        if "," in head["dims"]:
            self._fail(f"an input has one size, not [{head['dims']}]")
        if head["type"] not in ("f32", "spikes"):
            self._fail(f"input type must be f32 or spikes, not {head['type']}")
        names = (*SENSOR_ARRAYS, "low", "high", "fraction")
        options = self._read_options(head["rest"], names)
        (size,) = _dims(head["dims"])
        arrays: dict[str, Any] = {name: self._array(options.get(name)) for name in SENSOR_ARRAYS}
        return Input(
            head["name"],
            size,
            **arrays,
            **_numbers(options, ("low", "high"), float),
            **_numbers(options, ("fraction",), int),
            spiking=head["type"] == "spikes",
        )

    def _read_population(self, rest: str) -> Population:
        head = self._match(_HEAD, rest, "population NAME : KIND[SIZE]")
        neuron = NEURONS.get(head["type"])
        if neuron is None:
            self._fail(f"unknown neuron {head['type']!r}; known: {', '.join(NEURONS)}")
        names = parameter_names(neuron)
        extra = ("reset", "bias", "membrane_bits", "rate", "low", "high", "kernel")
        options = self._read_options(head["rest"], (*names, *extra))
        missing = [name for name in names if name not in options]
        if missing:
            self._fail(f"population {head['name']} lacks {', '.join(missing)}")
        parameters: dict[str, Any] = {name: self._array(options[name]) for name in names}
        if "reset" in options:
            parameters["reset"] = options["reset"]
        return Population(
            head["name"],
            _dims(head["dims"]),
            neuron(**parameters),
            bias=self._array(options.get("bias")),
            **_numbers(options, ("membrane_bits",), int),
            **_numbers(options, ("rate", "low", "high"), float),
            kernel=options.get("kernel"),
        )

    def _read_projection(self, rest: str) -> Projection:
        names = ("delay", "shift", "quantum", "grid", "kernel")
        head = self._match(_ARROW, rest, "projection SOURCE -> TARGET : dense[R,C] @weights#digest")
        conv = head["type"] == "conv"
        options = self._read_options(head["rest"], (*names, *_CONVOLUTION) if conv else names)
        if "grid" in options and ("quantum" not in options or options["grid"] not in GRIDS):
            self._fail(f"grid is one of {', '.join(GRIDS)}, beside a quantum")
        weight = self._tensor(head["weight"], head["digest"])
        dims, blocks = _dims(head["dims"]), 0
        if weight.shape != dims:
            self._fail(f"weights {head['weight']} have shape {list(weight.shape)}, not {dims}")
        if head["type"] == "blocks":
            blocks = int(head["count"]) if head["count"] else dims[0]
            if len(dims) != (2 if head["count"] else 3):
                self._fail("blocks are [R,C]xCOUNT or [COUNT,R,C]")
        elif conv:
            if len(dims) != 4 or head["count"]:
                self._fail("kernels of a convolution are [OUT,IN,H,W]")
        elif len(dims) != 2 or head["count"]:
            self._fail("dense weights are [R,C]")
        return Projection(
            head["source"],
            head["target"],
            weight,
            delay=int(options.get("delay", "0")),
            blocks=blocks,
            shift=self._array(options.get("shift")),
            quantum=self._array(options.get("quantum")),
            grid=options.get("grid"),
            kernel=options.get("kernel"),
            convolution=self._convolution(options) if conv else None,
        )

    def _convolution(self, options: Mapping[str, str]) -> Convolution:
        values: dict[str, Any] = {}
        for name, field in _CONVOLUTION.items():
            wanted = 3 if name in _MAPS.values() else 1 if name == "groups" else 2
            if name not in options:
                if wanted == 3:
                    self._fail(f"a convolution has from=C,H,W and to=C,H,W: no {name}")
                continue
            parts = options[name].split(",")
            if len(parts) != wanted or not all(re.fullmatch("[0-9]{1,9}", p) for p in parts):
                self._fail(f"{name}={options[name]}: expected {wanted} whole numbers")
            numbers = tuple(map(int, parts))
            values[field] = numbers[0] if wanted == 1 else numbers
        return Convolution(**values)

    def _read_readout(self, rest: str) -> Readout:
        match = self._match(_READOUT, rest, "readout POPULATION : RULE")
        given = match["margins"]
        margins = tuple(map(int, given.split(","))) if given else None
        if match["labels"] is None:
            return Readout(match["name"], match["rule"], margins=margins)
        labels = json.loads(match["labels"])
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            self._fail("labels are a JSON array of strings")
        return Readout(match["name"], match["rule"], tuple(labels), margins)

    def _read_buffer(self, rest: str) -> Buffer:
        head = self._match(_HEAD, rest, "buffer NAME : CTYPE[COUNT] @OFFSET LIFETIME")
        if "," in head["dims"]:
            self._fail(f"a buffer has one size, not [{head['dims']}]")
        offset, _, lifetime = head["rest"].strip().removeprefix("@").partition(" ")
        (count,) = _dims(head["dims"])
        return Buffer(head["name"], head["type"], count, int(offset), lifetime)

    def _single(self, kind: str) -> Any:
        found = self.parts.get(kind, [])
        if len(found) != 1:
            self._fail(f"expected one '{kind}' line, found {len(found)}")
        return found[0]

    def _match(self, pattern: re.Pattern[str], text: str, form: str) -> dict[str, str]:
        match = pattern.fullmatch(text)
        if match is None:
            self._fail(f"expected: {form}")
        return match.groupdict()

    def _read_options(self, text: str, known: tuple[str, ...]) -> dict[str, str]:
        options: dict[str, str] = {}
        for item in text.split():
            name, separator, value = item.partition("=")
            if not separator or name not in known:
                self._fail(f"unexpected {item!r}; options here: {', '.join(known)}")
            options[name] = value
        return options

    def _array(self, text: str | None) -> NDArray | None:
        if text is None:
            return None
        if text.startswith("@"):
            name, _, expected = text[1:].partition("#")
            return self._tensor(name, expected)
        if re.fullmatch(r"[+-]?[0-9]+", text):
            return np.asarray(int(text), dtype=np.int32)
        with np.errstate(over="ignore"):  # infinity, which verify refuses
            return np.asarray(float(text), dtype=np.float32)

    def _tensor(self, name: str, expected: str) -> NDArray:
        array = self.tensors.get(name)
        if array is None:
            self._fail(f"weights {name!r} are not in the .safetensors sidecar")
        if digest(array) != expected:
            self._fail(f"weights {name!r} have digest {digest(array)}, the text says {expected}")
        return array

    def _fail(self, problem: str) -> NoReturn:
        raise ModelError(f"{self.where}: {problem}")


def _dims(text: str) -> tuple[int, ...]:
    dims = tuple(int(part) for part in text.split(","))
    if any(not 1 <= d < 2**31 for d in dims):
        raise ValueError(f"sizes must be between 1 and 2^31 - 1: [{text}]")
    return dims


def _numbers(options: Mapping[str, str], names: tuple[str, ...], kind: type) -> dict[str, Any]:
    return {name: kind(options[name]) for name in names if name in options}
