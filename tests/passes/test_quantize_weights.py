"""quantize: weights of fewer than eight bits, and decays that are shifts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied, assert_becomes
from networks import f32, l2mu, lif, samples
from quantizing import calibrated, folded

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.projection import Projection
from l2mu_compile.verify import verify


def test_weights_of_four_bits() -> None:
    """The first neuron's are whole eighths, which a scale near 120 = 8 * 15 keeps; the second's
    are multiples of nothing. Samples and blocks keep eight bits."""
    assert_becomes(
        Quantize(bits=4),
        """
        network n stage=folded window=none
          input      x : f32[1] low=-4.0 high=2.0
          population h : lif[6] beta=0.5 threshold=1.0 reset=subtract
          population out : lif[2] beta=0.75 threshold=1.0 reset=zero
          projection x -> h : dense[6,1] @h.x
          projection h -> h : blocks[1,1]x6 @h.h.last delay=1
          projection h -> out : dense[2,6] @out.h
          readout    out : spike_count
        h.x = [[0.5], [0.5], [0.5], [0.5], [0.5], [0.5]]
        h.h.last = [[0.5]]
        out.h = [[-1.0, 0.875, 0.5, 0.375, 0.0, 0.125], [0.5, 0.375, 0.3125, -0.0625, -0.4, 0.0]]
        """,
        """
        network n stage=quantized window=none
          input      x : f32[1] low=-4.0 high=2.0 fraction=11
          population h : lif[6] beta=16384 threshold=254 reset=subtract membrane_bits=14
          population out : lif[2] beta=24576 threshold=@out.threshold reset=zero membrane_bits=14
          projection x -> h : dense[6,1] @h.x shift=11
          projection h -> h : blocks[1,1]x6 @h.h.last delay=1
          projection h -> out : dense[2,6] @out.h quantum=@out.h.quantum
          readout    out : spike_count
        out.threshold = [121, 216]
        h.x = [[127], [127], [127], [127], [127], [127]]
        h.h.last = [[127]]
        out.h = [[-120, 105, 60, 45, 0, 15], [102, 85, 68, -17, -85, 0]]
        out.h.quantum = [15, 17]
        """,
    )


def grids(network: Network) -> dict[str, str | None]:
    return {p.name: p.grid for p in network.projections}


def test_projections_get_the_bits_they_are_named_with() -> None:
    """One that is too small to get smaller too; the others as all do."""
    network = folded(l2mu(sensors=None))
    plain = grids(applied(Quantize(), network))
    assert set(plain.values()) == {None}
    named = Quantize(projections="h.m:4+u.h.last:2")
    assert grids(applied(named, network)) == plain | {"h.m": "int4", "u.h.last": "ternary"}
    packed = grids(applied(Quantize(bits=2), network))
    assert "ternary" in packed.values()
    kept = Quantize(bits=2, projections="h.m:8+u.h.last:4", weights="shift")
    assert grids(applied(kept, network)) == packed | {"h.m": None, "u.h.last": "shift"}


@pytest.mark.parametrize("name", ["h.nobody", "m.u", "u.x"])
def test_projections_that_cannot_be_packed_are_refused(name: str) -> None:
    network = folded(l2mu(sensors=None))
    with pytest.raises(UsageError, match=rf"{name} is no dense projection of spikes; those are"):
        Quantize(projections=f"{name}:4").apply(network, Context())


def weight_bytes(network: Network) -> int:
    return sum(p.stored_bytes for p in network.projections)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_weights_take_no_more_than_a_share_of_their_bytes(share: float) -> None:
    """And if the last one to be lowered had not been, they would."""
    network = calibrated(l2mu(sensors=None, hidden=24), 8)
    context = Context(samples=samples(network, windows=8, steps=40))
    mixed = Quantize(bits=2, share=share).apply(network, context)
    verify(mixed)
    whole = weight_bytes(Quantize().apply(network, context))
    assert weight_bytes(Quantize(bits=2).apply(network, context)) < weight_bytes(mixed)
    assert 0.6 * share * whole < weight_bytes(mixed) <= share * whole
    assert Quantize(bits=2, share=share).apply(network, context) == mixed


def test_a_share_leaves_named_projections_alone() -> None:
    network = calibrated(l2mu(sensors=None, hidden=24), 8)
    context = Context(samples=samples(network, windows=8, steps=40))
    mixed = Quantize(bits=2, share=0.6, projections="h.m:8").apply(network, context)
    assert grids(mixed)["h.m"] is None


def test_a_share_that_is_out_of_reach_is_refused() -> None:
    network = calibrated(l2mu(sensors=None), 8)
    context = Context(samples=samples(network, windows=3, steps=20))
    with pytest.raises(UsageError, match=r"bytes with the fewest bits, more than share=0\.1 of"):
        Quantize(bits=4, share=0.1).apply(network, context)


def test_ternary_and_shift_weights() -> None:
    """A row of -1, 0 and 1 stays as it is; so does one of powers of two."""
    weight = f32([[1, 0, -1, 1, 0, 0, 1, -1], [1, 0.5, -0.25, 0, 0.125, 0.0625, -1, 0.5]])
    network = Network(
        "n",
        Input("x", 8, spiking=True),
        (Population("h", (2,), lif(0.5, 2.0)),),
        (Projection("x", "h", weight),),
        Readout("h"),
        stage="folded",
    )
    (ternary,) = applied(Quantize(projections="h.x:2"), network).projections
    assert (ternary.grid, ternary.bits) == ("ternary", 2)
    assert ternary.quantum is not None
    assert (ternary.weight[0] / ternary.quantum[0]).tolist() == weight[0].tolist()
    (shift,) = applied(Quantize(projections="h.x:4", weights="shift"), network).projections
    assert (shift.grid, shift.bits) == ("shift", 4)
    assert (shift.weight / np.abs(shift.weight).max(axis=1, keepdims=True)).tolist() == (
        weight.tolist()
    )


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_decays_that_are_shifts_are_the_nearest_ones(decays: list[float]) -> None:
    beta = f32(decays)
    network = Network(
        "n",
        Input("x", 1, spiking=True),
        (Population("h", (len(beta),), lif(beta, 1.0)),),
        (Projection("x", "h", f32(np.ones((len(beta), 1)))),),
        Readout("h"),
        stage="folded",
    )
    found = applied(Quantize(decay="shift"), network).population("h").neuron.beta
    allowed = 2**15 - 2 ** np.arange(16)
    for before, after in zip(beta, np.broadcast_to(found, beta.shape), strict=True):
        off = np.abs(allowed - before * 2.0**15)
        assert after == 2**15 if before == 1 else off[allowed == after] == off.min()


def test_weights_of_four_bits_are_the_nearest_multiples_of_any_quantum() -> None:
    """Of all quanta the best, for whatever scale was chosen."""
    rng = np.random.default_rng(4)
    weight = f32(rng.normal(size=(9, 20)) * rng.uniform(0.05, 1, (9, 1)))
    network = Network(
        "n",
        Input("x", 20, spiking=True),
        (Population("h", (9,), lif(0.5, 2.0)),),
        (Projection("x", "h", weight),),
        Readout("h"),
        stage="folded",
    )
    quantized = applied(Quantize(bits=4), network)
    (packed,) = quantized.projections
    assert packed.quantum is not None
    assert packed.bits == 4
    scale = quantized.population("h").neuron.threshold / 2.0
    wanted = weight * scale[:, None]
    found = ((packed.weight - wanted) ** 2).sum(axis=1)
    for quantum in range(1, 20):
        other = quantum * np.clip(np.rint(wanted / quantum), -8, 7)
        # A threshold is off by half of one at most, and the scale it stands for likewise.
        assert (found <= ((other - wanted) ** 2).sum(axis=1) * 1.02 + 0.5).all()


def test_weights_of_four_bits_must_be_worth_their_quanta() -> None:
    """Four sources take as many bytes as they would with a byte for each weight."""
    for sources, bits in ((4, 8), (5, 4)):
        entry = Input("x", sources, spiking=True)
        weight = f32(np.ones((2, sources)))
        network = Network(
            "n",
            entry,
            (Population("h", (2,), lif()),),
            (Projection("x", "h", weight),),
            Readout("h"),
            stage="folded",
        )
        (quantized,) = applied(Quantize(bits=4), network).projections
        assert quantized.bits == bits
