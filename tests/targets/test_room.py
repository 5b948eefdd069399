"""What does not fit a device is refused before anything is compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from command_line import run
from networks import l2mu, planned

from l2mu_compile import processes
from l2mu_compile.errors import BudgetError
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.network_files import save_network
from l2mu_compile.neurons import LIF
from l2mu_compile.projection import Projection
from l2mu_compile.stream import Stream
from l2mu_compile.targets.boards import BOARDS
from l2mu_compile.targets.emit_c import state_bytes, stream_bytes
from l2mu_compile.targets.record import Memory, Region
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.room import require_room

CORTEX_M4 = get_target("cortex-m4")


def with_memory(flash: int, ram: int):
    return replace(
        CORTEX_M4, memory=Memory(Region(0, flash), Region(0x2000_0000, ram), stack_bytes=64)
    )


@pytest.mark.parametrize("quantized", [False, True])
def test_the_last_byte_counts(quantized: bool) -> None:
    program = lower(planned(l2mu(), quantized))
    weights, state = program.data_bytes, state_bytes(program)
    require_room(program, with_memory(weights, state + 64), "here", quantized)
    too_large = rf"its weights alone take {weights} bytes, 1 more than the {weights - 1} .* of here"
    with pytest.raises(BudgetError, match=too_large) as caught:
        require_room(program, with_memory(weights - 1, state + 64), "here", quantized)
    assert ("--quantize int8" in str(caught.value)) is not quantized
    with pytest.raises(BudgetError, match=rf"state alone takes {state} bytes, 1 more than"):
        require_room(program, with_memory(weights, state + 63), "here", quantized)


def test_a_stream_needs_all_its_states_at_once() -> None:
    program = lower(planned(l2mu(), True), Stream(window=10, hop=3))
    weights, stream = program.data_bytes, stream_bytes(program)
    assert stream > 4 * state_bytes(program)
    require_room(program, with_memory(weights, stream + 64), "here", True)
    with pytest.raises(BudgetError, match=rf"stream of 4 states takes {stream} bytes, 1 more") as e:
        require_room(program, with_memory(weights, stream + 63), "here", True)
    assert "a longer --hop or " in str(e.value)
    whole = lower(planned(l2mu(), True), Stream(window=10, hop=10))
    require_room(whole, with_memory(weights, state_bytes(whole) + 64), "here", True)


def test_boards_are_offered_that_have_the_room() -> None:
    program = lower(planned(l2mu()))
    with pytest.raises(BudgetError) as caught:
        require_room(program, with_memory(16, 1 << 20), "here", False)
    offered = str(caught.value).partition("--board ")[2].partition(" or ")[0].split(", ")
    assert offered
    for name in offered:
        memory = BOARDS[name].memory
        assert memory is not None
        assert memory.flash.size > program.data_bytes


def test_a_library_for_a_system_has_room() -> None:
    require_room(lower(planned(l2mu())), get_target("host"), "here", False)


def wide():
    """A layer whose float32 weights take 1 MiB."""
    weight = np.ones((512, 512), np.float32)
    entry, neurons = Input("x", 512), LIF(0.5, 1.0)
    layers = (Population("a", (512,), neurons),)
    return Network("wide", entry, layers, (Projection("x", "a", weight),), Readout("a"))


def test_no_compiler_runs(tmp_path, monkeypatch) -> None:
    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a compiler was started")

    monkeypatch.setattr(processes, "run_all", never)
    save_network(wide(), tmp_path / "net.txt")
    result = run("compile", tmp_path / "net.txt", "--board", "microbit", "-o", tmp_path / "out")
    assert (result.code, "of flash of microbit" in result.err) == (5, True), result.err
    assert not (tmp_path / "out").exists()
