"""Neurons in TensorIR: they fire, decay and reset as the portable C kernels of those names do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from tvm.tirx.script import builder as T

from l2mu_compile.network import NARROW_BITS
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.targets.tvm_loops import (
    Buffer,
    Fields,
    Value,
    clip,
    integer,
    list_spikes,
    rounded,
    store,
)

Q15, Q16 = 15, 16


def neuron_kernels() -> dict[str, Callable[..., None]]:
    """All of them, by the names that calls have without ``l2mu_``."""
    found: dict[str, Callable[..., None]] = {"saturate_i32": _Wide().saturate}
    for kind in (_Floats(), _Wide(), _Narrow()):
        found[f"add_bias_{kind.numbers}"] = kind.add_bias
        for reset in LIF.resets:
            found[f"fire_{reset}_{kind.numbers}"] = partial(kind.fire, reset)
        for reset in CuBaLIF.resets:
            found[f"fire_synaptic_{reset}_{kind.numbers}"] = partial(kind.fire_synaptic, reset)
    for kind in (_Floats(), _Wide()):
        found[f"leak_{kind.numbers}"] = kind.leak
    return found


class _Neurons:
    """What is the same for all numbers that neurons compute with."""

    numbers: ClassVar[str]
    zero: ClassVar[Value] = T.int32(0)

    def parameter(self, p: Fields, name: str, j: Value) -> Value:
        """A parameter of neuron ``j``: its own, or that of all."""
        return p[name][j if p[f"{name}_step"] else 0]

    def loaded(self, array: Buffer, j: Value) -> Value:
        """An element as it is computed with."""
        return array[j]

    def stored(self, value: Value) -> Value:
        """A computed number as arrays hold it."""
        return value

    def saturated(self, p: Fields, value: Value) -> Value:
        """The nearest number that a membrane may be."""
        return value

    def decayed(self, factor: Value, state: Value) -> Value:
        """What a factor leaves of a membrane or a current."""
        raise NotImplementedError

    def add_bias(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            store(v, j, self.stored(self._biased(p, j, self.loaded(v, j))))

    def saturate(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            store(v, j, self.stored(self.saturated(p, self.loaded(v, j))))

    def leak(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            membrane = self.saturated(p, self.loaded(v, j))
            left = self.decayed(self.parameter(p, "beta", j), membrane)
            store(v, j, self.stored(self._biased(p, j, left)))

    def fire(self, reset: str, p: Fields, v: Buffer, spikes: Buffer) -> None:
        def fired(j: Value) -> Value:
            return self.saturated(p, self.loaded(v, j)) > self._threshold(p, j)

        list_spikes(spikes, p["size"], fired)
        with T.serial(0, p["size"]) as j:
            membrane = T.bind(self.saturated(p, self.loaded(v, j)))
            left = self._left(reset, p, j, membrane)
            store(v, j, self.stored(self._biased(p, j, left)))

    def fire_synaptic(self, reset: str, p: Fields, v: Buffer, syn: Buffer, spikes: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            current = T.bind(self.saturated(p, self.loaded(syn, j)))
            membrane = T.bind(self.loaded(v, j))
            total = self._left(reset, p, j, membrane) + current
            if reset == "clamp":
                total = T.Select(membrane > self._threshold(p, j), self.zero, total)
            store(v, j, self.stored(self.saturated(p, total)))
            left = self.decayed(self.parameter(p, "alpha", j), current)
            store(syn, j, self.stored(self._biased(p, j, left)))
        list_spikes(spikes, p["size"], lambda j: self.loaded(v, j) > self._threshold(p, j))

    def _left(self, reset: str, p: Fields, j: Value, membrane: Value) -> Value:
        """What decay and reset leave of a membrane."""
        threshold, beta = self._threshold(p, j), self.parameter(p, "beta", j)
        fired = membrane > threshold
        if reset == "subtract_first":
            return self.decayed(beta, T.Select(fired, membrane - threshold, membrane))
        left = self.decayed(beta, membrane)
        if reset == "subtract":
            return T.Select(fired, left - threshold, left)
        return T.Select(fired, self.zero, left) if reset == "zero" else left

    def _threshold(self, p: Fields, j: Value) -> Value:
        return self.parameter(p, "threshold", j)

    def _biased(self, p: Fields, j: Value, value: Value) -> Value:
        return value if p["bias"] is None else value + self.loaded(p["bias"], j)


class _Floats(_Neurons):
    """Neurons that compute in float32."""

    numbers = "f32"
    zero = T.float32(0)

    def decayed(self, factor: Value, state: Value) -> Value:
        return rounded(factor * state)


class _Wide(_Neurons):
    """Neurons with accumulators of int32."""

    numbers = "i32"

    def saturated(self, p: Fields, value: Value) -> Value:
        return clip(value, p["low"], p["high"])

    def decayed(self, factor: Value, state: Value) -> Value:
        product = T.cast(factor, "int64") * T.cast(state, "int64")
        return integer(T.shift_right(product, T.int64(Q15)))


class _Narrow(_Neurons):
    """Neurons with accumulators of int16, which are computed with as int32."""

    numbers = "i16"

    def parameter(self, p: Fields, name: str, j: Value) -> Value:
        each = name == "threshold" or p["beta_step"]
        return integer(p[name][j if each else 0])

    def saturated(self, p: Fields, value: Value) -> Value:
        limit = 1 << (NARROW_BITS - 1)
        return clip(value, -limit, limit - 1)

    def decayed(self, factor: Value, state: Value) -> Value:
        return T.shift_right(factor * state, T.int32(Q16))

    def loaded(self, array: Buffer, j: Value) -> Value:
        return integer(array[j])

    def stored(self, value: Value) -> Value:
        return T.cast(value, "int16")
