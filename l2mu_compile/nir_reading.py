"""How a NIR file is read: what it leaves open, and what each tool that writes such files means.

A node of NIR is a differential equation (``nir/ir/neuron.py`` of neuromorphs/NIR); a step of time,
how it is integrated, how a membrane is reset within it and where it starts are not in the file.
Forward Euler over a step ``dt`` makes of ``tau dv/dt = (v_leak - v) + r I``, as the authors of NIR
do (``paper/03_rnn/extras/debug_CubaLIF/nir_reference_impl.py``)::

    v = (1 - dt/tau) v + (dt/tau) v_leak + (r dt/tau) I

with the current of the same step, as snnTorch and Norse take it. What the tools do:

========= ===== ===================== ============================== ============== ======
producer  dt    decay                 gain of a current              reset          start
========= ===== ===================== ============================== ============== ======
nir       1e-4  1 - dt/tau            r dt/tau; w_in dt/tau_syn      zero           zero
snntorch  1e-4  1 - dt/tau            r dt/tau; w_in dt/tau_syn      subtract       zero
norse     1e-3  1 - dt/tau            r dt/tau; w_in dt/tau_syn      zero           leak
sinabs    1     exp(-dt/tau)          r (1 - decay); of LI r         subtract_first zero
rockpool  1e-3  exp(-dt/tau)          1; exp(-dt/tau_syn)            subtract_first zero
lava      1     1 - dt/tau            r; w_in dt/tau_syn             zero           zero
========= ===== ===================== ============================== ============== ======

- snntorch: ``snntorch/export_nir.py`` writes ``tau = dt/(1-beta)``, ``r = tau/dt``,
  ``w_in = tau_syn/dt`` with ``dt = 1e-4``, so every gain is 1.
- norse: ``norse/torch/utils/export_nir.py`` writes ``1/tau_mem_inv``, ``r = 1``;
  ``norse/torch/functional/lif_box.py`` integrates, and starts at ``v_leak``.
- sinabs: ``sinabs/nir.py`` writes ``tau`` in steps, ``r = 1``; ``sinabs/layers/functional/lif.py``
  integrates, with ``norm_input`` for a ``LIF`` and without for an ``ExpLeak`` (LI), unless it was
  told otherwise. It lets a neuron spike several times in a step; here it is once.
- rockpool: ``rockpool/nn/modules/torch/nir.py`` writes an ``r`` that depends on its dt;
  ``lif_torch.py`` integrates without it: ``isyn = beta (isyn + x)``, ``v = alpha v + isyn``, and
  ``lif_neuron_torch.py`` (LIF) ``v = alpha v + x``, ``exp_syn_torch.py`` (LI) as ``isyn``. It lets
  a neuron spike several times in a step, too.
- lava: ``lava/lib/dl/netx/nir_lava.py`` writes ``tau = 1/decay`` in steps, ``r = 1``,
  ``w_in = tau_syn``; ``slayer/neuron/cuba.py`` adds the whole current to the membrane.

An ``IF`` adds ``r I`` once a step for all of them, as Norse, Sinabs and snnTorch read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.neurons import RESETS
from l2mu_compile.nir_graph import shown

STARTS = ("zero", "leak")

Decay = Callable[[NDArray, float], NDArray]
Gain = Callable[[NDArray, NDArray, float], NDArray]


@dataclass(frozen=True)
class Producer:
    """What a tool means by a file it writes: see the table above.

    ``decay(tau, dt)`` is the factor of one step, ``membrane_gain(tau, r, dt)`` and
    ``synapse_gain(tau_syn, w_in, dt)`` what currents are multiplied with, of CubaLIF nodes;
    ``lif_gain`` and ``li_gain`` are those of LIF and LI nodes.
    """

    dt: float
    reset: str
    start: str
    decay: Decay
    lif_gain: Gain
    li_gain: Gain
    membrane_gain: Gain
    synapse_gain: Gain


@dataclass(frozen=True)
class NirOptions:
    """What the user says of a NIR file; None is left to its metadata, then to the producer."""

    producer: str | None = None
    dt: float | None = None
    reset: str | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or value not in known):
                raise UsageError(f"--nir {name}={shown(str(value))}: one of {', '.join(known)}")
        if self.dt is not None and not (math.isfinite(self.dt) and self.dt > 0):
            raise UsageError(f"--nir dt={self.dt:g}: a time above 0")

    def over(self, other: NirOptions) -> NirOptions:
        """These options, and where they say nothing ``other``'s."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class Reading:
    """How a file is read, nothing left open.

    ``reset`` is for all nodes if it ``overrides`` what they say, else for those that say nothing.
    ``assumed`` are the names of what nobody said.
    """

    producer: Producer
    name: str
    dt: float
    reset: str
    start: str
    overrides: bool = False
    assumed: tuple[str, ...] = ()

    def note(self) -> str:
        """One line for the user: what was assumed."""
        said = f"read as {self.name} means it, dt={self.dt:g}, reset={self.reset}"
        said += f", start={self.start}" if self.start != "zero" else ""
        if not self.assumed:
            return said
        guessed = " and ".join(self.assumed) if len(self.assumed) < 3 else ", ".join(self.assumed)
        return f"{said}; the file does not say {guessed} (--nir {self.assumed[0]}=...)"


def parse_options(text: str | None) -> NirOptions:
    """The value of ``--nir``: ``producer=norse,dt=0.001,reset=zero,start=leak``, any of them."""
    found: dict[str, str | float] = {}
    names = [f.name for f in fields(NirOptions)]
    for part in (text or "").split(",") if text is not None else ():
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or name not in names or not value:
            close = get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]}?" if close and name != close[0] else ""
            raise UsageError(f"--nir {part.strip()}: write {'=..., '.join(names)}=...{hint}")
        if name in found:
            raise UsageError(f"--nir: {name} is given twice")
        found[name] = _seconds(value) if name == "dt" else value
    return NirOptions(**found)  # type: ignore[arg-type]


def reading(options: NirOptions, metadata: NirOptions) -> Reading:
    """How to read a file whose user says ``options`` and whose own metadata says the other."""
    said = options.over(metadata)
    name = said.producer or "nir"
    producer = PRODUCERS[name]
    return Reading(
        producer,
        name,
        said.dt or producer.dt,
        said.reset or producer.reset,
        said.start or producer.start,
        options.reset is not None,
        tuple(name for name in ("producer", "dt", "reset") if getattr(said, name) is None),
    )


def said_in_metadata(values: Mapping[str, Any]) -> NirOptions:
    """What a file's own metadata says, by the same names; `ModelError` if it makes no sense."""
    found = {f.name: values[f.name] for f in fields(NirOptions) if f.name in values}
    if not _is_known(found.get("producer")):
        found.pop("producer", None)
    try:
        if "dt" in found:
            found["dt"] = float(found["dt"])
        return NirOptions(**found)
    except (UsageError, ValueError, TypeError) as error:
        raise ModelError(
            f"its metadata makes no sense: {str(error).removeprefix('--nir ')}"
        ) from None


def _is_known(producer: object) -> bool:
    return isinstance(producer, str) and producer in PRODUCERS


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--nir dt={text}: a time above 0") from None


def _steps(tau: NDArray, dt: float) -> NDArray:
    """``dt/tau``, float64. A tau of float32 was made with a dt of float32."""
    own = np.float64(np.float32(dt)) if tau.dtype == np.float32 else np.float64(dt)
    return own / tau.astype(np.float64)


def _euler(tau: NDArray, dt: float) -> NDArray:
    return 1 - _steps(tau, dt)


def _exponential(tau: NDArray, dt: float) -> NDArray:
    return np.exp(-_steps(tau, dt))


def _euler_gain(tau: NDArray, factor: NDArray, dt: float) -> NDArray:
    """``factor dt/tau``. Where decay is 1 an exporter divides by zero, and both are infinite."""
    both = np.isinf(tau) & np.isinf(factor)
    return np.where(both, 1.0, np.where(both, 1.0, factor) * _steps(tau, dt))


def _exact_gain(tau: NDArray, factor: NDArray, dt: float) -> NDArray:
    return factor * -np.expm1(-_steps(tau, dt))


def _plain_gain(tau: NDArray, factor: NDArray, dt: float) -> NDArray:
    return factor


def _unit_gain(tau: NDArray, factor: NDArray, dt: float) -> NDArray:
    return np.ones(tau.shape)


def _decayed_gain(tau: NDArray, factor: NDArray, dt: float) -> NDArray:
    return _exponential(tau, dt)


def _integrated(dt: float, reset: str, start: str) -> Producer:
    """By forward Euler, everywhere."""
    return Producer(dt, reset, start, _euler, *(_euler_gain,) * 4)


PRODUCERS = {
    "l2mu-compile": _integrated(1e-4, "subtract", "zero"),
    "nir": _integrated(1e-4, "zero", "zero"),
    "snntorch": _integrated(1e-4, "subtract", "zero"),
    "norse": _integrated(1e-3, "zero", "leak"),
    "sinabs": Producer(
        *(1.0, "subtract_first", "zero", _exponential),
        *(_exact_gain, _plain_gain, _exact_gain, _decayed_gain),
    ),
    "rockpool": Producer(
        *(1e-3, "subtract_first", "zero", _exponential),
        *(_unit_gain, _decayed_gain, _unit_gain, _decayed_gain),
    ),
    "lava": Producer(
        *(1.0, "zero", "zero", _euler),
        *(_plain_gain, _plain_gain, _plain_gain, _euler_gain),
    ),
}

_KNOWN = {"producer": tuple(PRODUCERS), "reset": RESETS, "start": STARTS}
