"""The comparison of compiled code with the interpreter, and that it finds what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import HostCompiler
from exactness import kernels_and_memory
from networks import cuba, f32, feed_forward, l2mu, late_reader, planned, samples
from networks import narrow as integer
from numpy.typing import NDArray

from l2mu_compile import differential, workers
from l2mu_compile.differential import PART_WINDOWS, compare, recorded_state
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.program import Program
from l2mu_compile.targets.devices import HostModel, SteppedDevice

QUANTIZED = [False, True]


def compiled(host: HostCompiler, network: Network) -> tuple[Program, HostModel]:
    program = lower(network)
    return program, host.model(program)


def with_data(program: Program, name: str, values: NDArray) -> Program:
    return replace(
        program,
        data=tuple(replace(d, values=values) if d.name == name else d for d in program.data),
    )


def data(program: Program, name: str) -> NDArray:
    return next(d.values for d in program.data if d.name == name).copy()


@pytest.mark.parametrize("quantized", QUANTIZED)
def test_right_code_agrees(host: HostCompiler, quantized: bool) -> None:
    network = planned(l2mu(), quantized)
    program, model = compiled(host, network)
    x = samples(network, windows=PART_WINDOWS + 3, steps=6)
    told: list[tuple[int, int]] = []
    found = compare(network, program, lambda: model, x, lambda *at: told.append(at))
    expected = run(network, x)
    assert found.first_difference is None
    assert found.decisions.tolist() == expected.decisions.tolist()
    assert found.spike_totals == expected.spike_totals
    assert found.operations == expected.operations
    assert (found.windows, found.steps) == (PART_WINDOWS + 3, 6)
    assert told[-1] == (PART_WINDOWS + 3, PART_WINDOWS + 3)


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_the_outcome_does_not_depend_on_the_number_of_cores(
    host: HostCompiler, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Windows 11 and 29 are wrong, in different parts; 11 is what is told."""
    for module in (differential, workers):
        monkeypatch.setattr(module, "cores", lambda: cores)
    network = planned(l2mu())
    program, model = compiled(host, network)
    x = samples(network, windows=40, steps=6)
    wrong = Tampered(model, place(program, "enc_membrane"), f32(1e9).tobytes())
    wrong.only_after = [x[11, 0], x[29, 0]]
    told: list[tuple[int, int]] = []
    found = compare(network, program, lambda: wrong, x, lambda *at: told.append(at))
    expected = run(network, x)
    assert found.first_difference is not None
    assert (found.first_difference.window, found.first_difference.step) == (11, 0)
    assert found.decisions.tolist() == expected.decisions.tolist()
    assert found.spike_totals == expected.spike_totals
    assert found.operations == expected.operations
    assert told == [(n, 40) for n in range(1, 41)]
    assert found.instructions is found.stack_bytes is None


def test_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In windows, and in numbers recorded of them, however long a window is."""
    monkeypatch.setattr(differential, "cores", lambda: 2)
    network = l2mu()
    neurons = sum(p.size for p in network.populations)

    def sizes(windows: int, steps: int) -> list[int]:
        x = np.broadcast_to(f32(0), (windows, steps, 2))
        parts = differential._parts(network, x)
        assert [p.start for p in parts] == [0, *(p.stop for p in parts[:-1])]
        assert parts[-1].stop == windows
        return [p.stop - p.start for p in parts]

    assert sizes(1, 9) == [1]
    assert sizes(4, 9) == [1, 1, 1, 1]
    assert sizes(60, 9) == [15] * 4
    assert max(sizes(10_000, 9)) == PART_WINDOWS
    long = (1 << 24) // neurons // 3
    assert max(sizes(100, long)) == 3
    assert max(sizes(100, 1 << 24)) == 1


@pytest.mark.parametrize("quantized", QUANTIZED)
@pytest.mark.parametrize(
    ("constant", "element", "quantity", "neuron"),
    [
        ("enc_bias", 2, "enc_membrane", 2),
        ("out_bias", 0, "out_membrane", 0),
        ("enc_from_x", 3, "enc_membrane", 3),
    ],
)
def test_a_wrong_constant_is_found_where_it_acts(
    host: HostCompiler, quantized: bool, constant: str, element: int, quantity: str, neuron: int
) -> None:
    network = planned(l2mu(), quantized)
    program = lower(network)
    values = data(program, constant)
    values[element] += 1
    model = host.model(with_data(program, constant, values))
    difference = compare(network, program, lambda: model, samples(network)).first_difference
    assert difference is not None
    assert (difference.window, difference.step) == (0, 0)
    assert (difference.quantity, difference.neuron) == (quantity, neuron)
    assert difference.expected != difference.actual


def test_a_wrong_synapse_is_found_in_the_first_step_it_carries_a_spike(host: HostCompiler) -> None:
    network = planned(late_reader())
    program = lower(network)
    values = data(program, "b_from_a_last")
    values += f32(0.25)
    model = host.model(with_data(program, "b_from_a_last", values))
    x = f32(np.zeros((2, 5, 2)))
    x[1, 2, 0] = 2  # a[0] spikes in step 2 of window 1; b starts the next one with it
    difference = compare(network, program, lambda: model, x).first_difference
    assert difference is not None
    assert (difference.window, difference.step) == (1, 2)
    assert (difference.quantity, difference.neuron) == ("b_membrane", 0)
    assert (difference.expected, difference.actual) == (0.375, 0.625)


def test_a_wrong_threshold_is_found_in_the_reset(host: HostCompiler) -> None:
    network = planned(late_reader())
    program = lower(network)
    model = host.model(with_data(program, "a_threshold", f32([0.5])))
    x = f32([[[0.75, 0], [0, 0]]])
    difference = compare(network, program, lambda: model, x).first_difference
    assert difference is not None
    assert (difference.quantity, difference.step) == ("a_membrane", 0)
    assert (difference.expected, difference.actual) == (0.375, -0.125)


def test_only_the_first_difference_is_kept_but_every_window_is_run(host: HostCompiler) -> None:
    network = planned(l2mu())
    program = lower(network)
    model = host.model(with_data(program, "enc_bias", data(program, "enc_bias") + f32(1)))
    found = compare(network, program, lambda: model, samples(network, windows=5))
    assert found.first_difference is not None
    assert found.first_difference.window == 0
    assert found.decisions.shape == (5,)


class Tampered(SteppedDevice):
    """A device whose memory, or decision, is changed on the way to the comparison."""

    def __init__(self, device: HostModel, at: int = 0, put: bytes = b"", decision: int = 0) -> None:
        self._device, self._at, self._put, self._decision = device, at, put, decision
        self.only_after: list[NDArray] | None = None
        self._last: NDArray | None = None

    def reset(self) -> None:
        self._device.reset()

    def step(self, sample: NDArray) -> tuple[int, ...]:
        self._last = sample
        return self._device.step(sample)

    def state(self) -> bytes:
        memory = bytearray(self._device.state())
        if self.only_after and not any(np.array_equal(self._last, s) for s in self.only_after):
            return bytes(memory)
        memory[self._at : self._at + len(self._put)] = self._put
        return bytes(memory)

    def classify(self) -> int:
        return self._device.classify() + self._decision


def place(program: Program, name: str) -> int:
    return next(b.offset for b in program.buffers if b.name == name)


SILENCE = f32(np.zeros((1, 3, 2)))


def test_the_sign_of_a_zero_is_a_difference(host: HostCompiler) -> None:
    network = planned(late_reader())
    program, model = compiled(host, network)
    minus_zero = Tampered(model, place(program, "b_membrane") + 4, f32(-0.0).tobytes())
    difference = compare(network, program, lambda: minus_zero, SILENCE).first_difference
    assert difference is not None
    assert (difference.quantity, difference.neuron) == ("b_membrane", 1)


def test_one_not_a_number_is_as_good_as_another(host: HostCompiler) -> None:
    network = planned(late_reader())
    program, model = compiled(host, network)
    x = SILENCE.copy()
    x[0, :, 0] = np.nan
    at = place(program, "a_membrane")
    # a reads both channels, so both of its membranes are NaN: of which sign is left open.
    other = Tampered(model, at, np.uint32([0xFFC00001, 0x7FC00002]).tobytes())
    assert compare(network, program, lambda: other, x).first_difference is None
    number = Tampered(model, at, f32([1]).tobytes())
    assert compare(network, program, lambda: number, x).first_difference is not None


@pytest.mark.parametrize("neuron", [0, 8, 9, 15])
def test_elements_beyond_the_last_neuron_are_compared(host: HostCompiler, neuron: int) -> None:
    """Nine neurons are filled up to sixteen, and what is beyond stays zero."""
    network = kernels_and_memory(integer(9, "subtract", scalar=True))
    program, model = compiled(host, network)
    x = samples(network)
    assert compare(network, program, lambda: model, x).first_difference is None
    wrong = Tampered(model, place(program, "h_membrane") + 2 * neuron, np.int16(12345).tobytes())
    difference = compare(network, program, lambda: wrong, x).first_difference
    assert difference is not None
    assert (difference.quantity, difference.step) == ("h_membrane", 0)
    assert (difference.neuron, difference.actual) == (neuron, 12345)


def test_scratch_is_not_compared(host: HostCompiler) -> None:
    network = planned(late_reader())
    program, model = compiled(host, network)
    assert not any(b.name == "a_spikes" for b in program.buffers if b.lifetime == "state")
    used = Tampered(model, place(program, "a_spikes"), b"\x07\x00\x07\x00")
    assert compare(network, program, lambda: used, SILENCE).first_difference is None


@pytest.mark.parametrize(
    ("name", "array"), [("membrane", "membranes"), ("synapse", "accumulators")]
)
def test_what_current_based_neurons_keep(name: str, array: str) -> None:
    network = planned(feed_forward(cuba(0.75, 0.5)))
    reached = run(network, samples(network), record=("membranes",))
    buffer = next(b for b in network.buffers if b.name == f"h_{name}")
    recorded = recorded_state(network, buffer, reached)
    assert recorded is getattr(reached, array)["h"]
    assert not np.array_equal(reached.membranes["h"], reached.accumulators["h"])


def test_a_wrong_score_is_found_at_the_end_of_the_window(host: HostCompiler) -> None:
    network = planned(late_reader())
    program, model = compiled(host, network)
    wrong = Tampered(model, place(program, "score"), b"\x05\x00\x00\x00")
    difference = compare(network, program, lambda: wrong, SILENCE).first_difference
    assert difference is not None
    assert (difference.quantity, difference.step, difference.actual) == ("score", 2, 5)


def test_causes_are_reported_before_their_effects(host: HostCompiler) -> None:
    network = planned(l2mu())
    program = lower(network)
    wrong = host.model(with_data(program, "enc_bias", data(program, "enc_bias") + f32(5)))
    difference = compare(network, program, lambda: wrong, samples(network)).first_difference
    assert difference is not None
    assert difference.quantity == "enc_membrane"


def test_a_wrong_decision_is_a_difference(host: HostCompiler) -> None:
    network = planned(l2mu())
    program, model = compiled(host, network)
    found = compare(network, program, lambda: Tampered(model, decision=1), samples(network))
    difference = found.first_difference
    assert difference is not None
    assert (difference.quantity, difference.window, difference.step) == ("decision", 0, 11)
    assert difference.actual == difference.expected + 1
