"""Lines of the text form, kind by kind: how each is written and read back.

Reading raises ValueError, or whatever Python does, for what is not written so; `l2mu_compile.text`
says in which line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from l2mu_compile.convolution import Convolution
from l2mu_compile.grids import GRIDS, INT4
from l2mu_compile.network import SENSOR_ARRAYS, Buffer, Input, Network, Population, Readout
from l2mu_compile.neurons import NEURONS, parameter_names
from l2mu_compile.projection import Projection
from l2mu_compile.text_values import (
    Tensors,
    digest,
    dims_text,
    options_text,
    read_array,
    read_dims,
    read_numbers,
    read_options,
    read_tensor,
)

_HEAD = re.compile(r"(?P<name>\S+) : (?P<type>[A-Za-z_0-9]+)\[(?P<dims>[0-9,]+)\](?P<rest>.*)")
_ARROW = re.compile(
    r"(?P<source>\S+) -> (?P<target>\S+) : (?P<type>dense|blocks|conv)\[(?P<dims>[0-9,]+)\]"
    r"(?:x(?P<count>[0-9]{1,9}))? @(?P<weight>\S+?)#(?P<digest>[0-9a-f]+)(?P<rest>.*)"
)
_READOUT = re.compile(
    r"(?P<name>\S+) : (?P<rule>\S+)(?: margins=\[(?P<margins>[0-9, ]+)\])?"
    r"(?: labels=(?P<labels>.*))?"
)
_WHOLE = re.compile("[0-9]{1,9}")

# ---- the network ---------------------------------------------------------------------------------


def network_line(network: Network) -> str:
    """Its name and what is said of it as a whole."""
    window = "none" if network.window is None else str(network.window)
    window += "" if network.full_window is None else f" full_window={network.full_window}"
    return f"network {network.name} stage={network.stage} window={window}"


def read_network(rest: str, _tensors: Tensors) -> dict[str, Any]:
    """The fields of a `Network` that its line has."""
    name, _, text = rest.partition(" ")
    options = read_options(text, ("stage", "window", "full_window"))
    header: dict[str, Any] = {"name": name, "stage": options.get("stage", "traced")}
    for key in ("window", "full_window"):
        steps = options.get(key, "none")
        if steps != "none" and not _WHOLE.fullmatch(steps):
            raise ValueError(f"{key} must be a number of steps or 'none', not {steps!r}")
        header[key] = None if steps == "none" else int(steps)
    return header


# ---- the input -----------------------------------------------------------------------------------


def input_line(entry: Input) -> str:
    """Its size, and how samples are to be read."""
    options = {f.name: getattr(entry, f.name) for f in fields(entry)[2:] if f.name != "spiking"}
    kind = "spikes" if entry.spiking else "f32"
    return f"input      {entry.name} : {kind}[{entry.size}]" + options_text(entry.name, options)


def read_input(rest: str, tensors: Tensors) -> Input:
    """What `input_line` wrote."""
    head = _match(_HEAD, rest, "input NAME : f32[SIZE]")
    if "," in head["dims"]:
        raise ValueError(f"an input has one size, not [{head['dims']}]")
    if head["type"] not in ("f32", "spikes"):
        raise ValueError(f"input type must be f32 or spikes, not {head['type']}")
    options = read_options(head["rest"], (*SENSOR_ARRAYS, "low", "high", "fraction"))
    (size,) = read_dims(head["dims"])
    arrays: dict[str, Any] = {n: read_array(options.get(n), tensors) for n in SENSOR_ARRAYS}
    return Input(
        head["name"],
        size,
        **arrays,
        **read_numbers(options, ("low", "high"), float),
        **read_numbers(options, ("fraction",), int),
        spiking=head["type"] == "spikes",
    )


# ---- populations ---------------------------------------------------------------------------------


def population_line(population: Population) -> str:
    """Its shape, its neurons' parameters, and what was found out about it."""
    neuron, name = population.neuron, population.name
    options = {parameter: getattr(neuron, parameter) for parameter in parameter_names(neuron)}
    options["reset"] = neuron.reset
    options |= {f.name: getattr(population, f.name) for f in fields(population)[3:]}
    head = f"population {name} : {neuron.kind}[{dims_text(population.shape)}]"
    return head + options_text(name, options)


def read_population(rest: str, tensors: Tensors) -> Population:
    """What `population_line` wrote."""
    head = _match(_HEAD, rest, "population NAME : KIND[SIZE]")
    neuron = NEURONS.get(head["type"])
    if neuron is None:
        raise ValueError(f"unknown neuron {head['type']!r}; known: {', '.join(NEURONS)}")
    names = parameter_names(neuron)
    extra = ("reset", "bias", "membrane_bits", "rate", "low", "high", "kernel")
    options = read_options(head["rest"], (*names, *extra))
    missing = [name for name in names if name not in options]
    if missing:
        raise ValueError(f"population {head['name']} lacks {', '.join(missing)}")
    parameters: dict[str, Any] = {name: read_array(options[name], tensors) for name in names}
    if "reset" in options:
        parameters["reset"] = options["reset"]
    return Population(
        head["name"],
        read_dims(head["dims"]),
        neuron(**parameters),
        bias=read_array(options.get("bias"), tensors),
        **read_numbers(options, ("membrane_bits",), int),
        **read_numbers(options, ("rate", "low", "high"), float),
        kernel=options.get("kernel"),
    )


# ---- projections ---------------------------------------------------------------------------------

_SYNAPSES = ("delay", "shift", "quantum", "grid", "kernel")
_MAPS = {"source": "from", "target": "to"}
_CONVOLUTION = {_MAPS.get(f.name, f.name): f for f in fields(Convolution)}


def projection_line(p: Projection) -> str:
    """What it joins, its weights, and how they are applied."""
    kind = "conv" if p.convolution else "blocks" if p.blocks else "dense"
    repeat = f"x{p.blocks}" if p.shared else ""
    options: dict[str, Any] = _convolution_options(p.convolution) if p.convolution else {}
    options |= {"delay": p.delay or None, "shift": p.shift}
    grid = None if p.grid == INT4.name else p.grid
    options |= {"quantum": p.quantum, "grid": grid, "kernel": p.kernel}
    weights = f"{kind}[{dims_text(p.weight.shape)}]{repeat} @{p.name}#{digest(p.weight)}"
    return f"projection {p.source} -> {p.target} : {weights}" + options_text(p.name, options)


def read_projection(rest: str, tensors: Tensors) -> Projection:
    """What `projection_line` wrote."""
    head = _match(_ARROW, rest, "projection SOURCE -> TARGET : dense[R,C] @weights#digest")
    conv = head["type"] == "conv"
    options = read_options(head["rest"], (*_SYNAPSES, *_CONVOLUTION) if conv else _SYNAPSES)
    if "grid" in options and ("quantum" not in options or options["grid"] not in GRIDS):
        raise ValueError(f"grid is one of {', '.join(GRIDS)}, beside a quantum")
    weight = read_tensor(head["weight"], head["digest"], tensors)
    dims = read_dims(head["dims"])
    if weight.shape != dims:
        raise ValueError(f"weights {head['weight']} have shape {list(weight.shape)}, not {dims}")
    blocks = _read_blocks(head["type"], dims, head["count"])
    return Projection(
        head["source"],
        head["target"],
        weight,
        delay=int(options.get("delay", "0")),
        blocks=blocks,
        shift=read_array(options.get("shift"), tensors),
        quantum=read_array(options.get("quantum"), tensors),
        grid=options.get("grid"),
        kernel=options.get("kernel"),
        convolution=_read_convolution(options) if conv else None,
    )


def _read_blocks(kind: str, dims: tuple[int, ...], count: str | None) -> int:
    """How many blocks there are; ValueError if weights of this ``kind`` have no such sizes."""
    if kind == "blocks":
        if len(dims) != (2 if count else 3):
            raise ValueError("blocks are [R,C]xCOUNT or [COUNT,R,C]")
        return int(count) if count else dims[0]
    if kind == "conv" and (len(dims) != 4 or count):
        raise ValueError("kernels of a convolution are [OUT,IN,H,W]")
    if kind == "dense" and (len(dims) != 2 or count):
        raise ValueError("dense weights are [R,C]")
    return 0


def _convolution_options(convolution: Convolution) -> dict[str, str]:
    """What is not as it is by default."""
    return {
        name: dims_text(tuple(np.atleast_1d(getattr(convolution, field.name))))
        for name, field in _CONVOLUTION.items()
        if getattr(convolution, field.name) != field.default
    }


def _read_convolution(options: Mapping[str, str]) -> Convolution:
    values: dict[str, Any] = {}
    for name, field in _CONVOLUTION.items():
        wanted = 3 if name in _MAPS.values() else 1 if name == "groups" else 2
        if name not in options:
            if wanted == 3:
                raise ValueError(f"a convolution has from=C,H,W and to=C,H,W: no {name}")
            continue
        parts = options[name].split(",")
        if len(parts) != wanted or not all(_WHOLE.fullmatch(part) for part in parts):
            raise ValueError(f"{name}={options[name]}: expected {wanted} whole numbers")
        numbers = tuple(map(int, parts))
        values[field.name] = numbers[0] if wanted == 1 else numbers
    return Convolution(**values)


# ---- readout and buffers -------------------------------------------------------------------------


def readout_line(readout: Readout) -> str:
    """How a decision is read."""
    margins = "" if readout.margins is None else f" margins={list(readout.margins)}"
    labels = "" if readout.labels is None else f" labels={json.dumps(readout.labels)}"
    return f"readout    {readout.population} : {readout.rule}{margins}{labels}"


def read_readout(rest: str, _tensors: Tensors) -> Readout:
    """What `readout_line` wrote."""
    match = _match(_READOUT, rest, "readout POPULATION : RULE")
    given = match["margins"]
    margins = tuple(map(int, given.split(","))) if given else None
    if match["labels"] is None:
        return Readout(match["name"], match["rule"], margins=margins)
    labels = json.loads(match["labels"])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels are a JSON array of strings")
    return Readout(match["name"], match["rule"], tuple(labels), margins)


def buffer_line(buffer: Buffer) -> str:
    """Its place in memory."""
    place = f"{buffer.ctype}[{buffer.count}] @{buffer.offset} {buffer.lifetime}"
    return f"buffer     {buffer.name} : {place}"


def read_buffer(rest: str, _tensors: Tensors) -> Buffer:
    """What `buffer_line` wrote."""
    head = _match(_HEAD, rest, "buffer NAME : CTYPE[COUNT] @OFFSET LIFETIME")
    if "," in head["dims"]:
        raise ValueError(f"a buffer has one size, not [{head['dims']}]")
    offset, _, lifetime = head["rest"].strip().removeprefix("@").partition(" ")
    (count,) = read_dims(head["dims"])
    return Buffer(head["name"], head["type"], count, int(offset), lifetime)


READERS: dict[str, Callable[[str, Tensors], Any]] = {
    "network": read_network,
    "input": read_input,
    "population": read_population,
    "projection": read_projection,
    "readout": read_readout,
    "buffer": read_buffer,
}


def _match(pattern: re.Pattern[str], text: str, form: str) -> dict[str, str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"expected: {form}")
    return match.groupdict()
