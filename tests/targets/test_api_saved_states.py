"""The generated API of saved states: restored on any processor, and refused by others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from api_places import Place, counts, everywhere, on_host, random_network
from conftest import HostCompiler
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Host, Machine, State, emulated
from networks import cuba, f32, l2mu, lif, planned, samples
from numpy.typing import NDArray
from test_sanitizers import SANITIZERS

from l2mu_compile.differential import recorded_state
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import CTYPE_BYTES, READOUT_RULES, Network
from l2mu_compile.program import Program
from l2mu_compile.saved import saved_bytes
from l2mu_compile.targets.emit_c import emit_c, state_bytes, state_layout


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_a_restored_state_goes_on_as_if_it_had_never_stopped(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    neurons = [lif(0.75, 0.5), cuba(0.5, 0.75, 0.5)] * 2
    networks = [
        planned(l2mu(lambda _, n=neuron: n, rule, f"net{i}"), quantized)
        for i, (rule, neuron) in enumerate(zip(READOUT_RULES, neurons, strict=True))
    ]
    programs = [lower(network) for network in networks]
    for network, program, machine in zip(
        networks, programs, place(host, programs, tmp_path), strict=True
    ):
        for stop, x in enumerate(samples(network, 4, 12)):
            check_restored(machine, program, x, 3 * stop)


def check_restored(machine: Machine, program: Program, x: NDArray, stop: int) -> None:
    """Save before sample ``stop`` and go on with the restored state, beside one never stopped."""
    size = saved_bytes(program.members)
    first, other = State(machine, program), State(machine, program)
    for sample in x[:stop]:
        first.step(sample)
    for sample in x[::-1]:
        other.step(sample)  # whatever was there before
    saved = first.save(size)
    assert other.restore(saved) == 0
    assert other.save(size) == saved
    for sample in x[stop:]:
        first.step(sample)
        other.step(sample)
        assert other.kept().keys() == first.kept().keys()
        for name, array in first.kept().items():
            assert other.kept()[name].tobytes() == array.tobytes(), name
    assert other.classify() == first.classify()


@settings(max_examples=25)
@given(st.data())
def test_random_states_are_restored(host: HostCompiler, data: st.DataObject) -> None:
    """Also states with extreme membranes: whatever a network reaches can be saved and restored."""
    network = random_network(data)
    program = lower(network)
    machine = Host.of(host.model(program))
    x = data.draw(st.sampled_from((samples, counts)))(network, 1, 15)[0]
    check_restored(machine, program, x, data.draw(st.integers(0, 15)))


PROCESSORS = ("host", "cortex-m0plus", "cortex-m4", "cortex-a53")


def test_a_state_saved_on_one_processor_is_restored_on_any_other(
    host: HostCompiler, tmp_path: Path
) -> None:
    """All save the same bytes, each with its own kernels, and go on as interpreted from those."""
    kinds = {"int8": (lif(0.75, 0.5), True), "synaptic": (cuba(0.5, 0.75, 0.5), True)}
    kinds["float32"] = (lif(0.75, 0.5), False)
    networks = [
        l2mu(lambda _, n=neuron: n, READOUT_RULES[i], name)
        for i, (name, (neuron, _)) in enumerate(kinds.items())
    ]
    x = samples(networks[0], 1, 12)[0]
    stop = 7
    programs, machines = {}, {}
    for target in PROCESSORS:
        made = [
            planned(network, quantized, x[None], target)
            for network, (_, quantized) in zip(networks, kinds.values(), strict=True)
        ]
        programs[target] = [lower(network) for network in made]
        (folder := tmp_path / target).mkdir()
        machines[target] = (
            on_host(host, programs[target], folder)[0]
            if target == "host"
            else emulated(target, programs[target], folder)
        )
    for i in range(len(kinds)):
        check_moved({t: (machines[t], programs[t][i]) for t in PROCESSORS}, made[i], x, stop)


def check_moved(
    places: dict[str, tuple[Machine, Program]], network: Network, x: NDArray, stop: int
) -> None:
    """Save before sample ``stop`` on each machine and go on on every one."""
    saved = {}
    for name, place in places.items():
        state = State(*place)
        for sample in x[:stop]:
            state.step(sample)
        saved[name] = state.save(saved_bytes(place[1].members))
    assert len(set(saved.values())) == 1
    expected = run(network.replace(window=None), x[None], record=("membranes",))
    for data in saved.values():
        for machine, program in places.values():
            state = State(machine, program)
            assert state.restore(data) == 0
            for step, sample in enumerate(x[stop:], stop):
                state.step(sample)
                for name, buffer in state_layout(program).items():
                    if name != "score":
                        wanted = recorded_state(network, buffer, expected)[0, step]
                        found = state.kept()[name][: len(wanted)]
                        assert found.tobytes() == wanted.astype(found.dtype).tobytes(), name
            assert state.scores() == expected.scores[0].tolist()
            assert state.classify() == expected.decisions[0]


def test_bytes_of_another_network_are_refused(host: HostCompiler) -> None:
    programs = [lower(planned(l2mu(name=f"n{seed}", seed=seed))) for seed in (0, 1)]
    mine, other = (
        State(Host.of(model), program)
        for model, program in zip(host.models(programs), programs, strict=True)
    )
    mine.step(f32([1, 2]))
    before = mine.memory.read()
    assert mine.restore(other.save(saved_bytes(programs[1].members))) == 3
    assert mine.memory.read() == before


def test_the_macro_is_as_long_as_what_is_saved() -> None:
    for quantized in (False, True):
        program = lower(planned(l2mu(), quantized))
        content = sum(m.count * CTYPE_BYTES[m.buffer.ctype] for m in program.members)
        state = sum(b.end - b.offset for b in program.buffers if b.lifetime == "state")
        # Narrow arrays are filled up: 3, 12, 5 and 3 elements to 8, 16, 8 and 8.
        assert state - content == (2 * (5 + 4 + 3 + 5) if quantized else 0)
        assert saved_bytes(program.members) == 24 + content + 4
        header = emit_c(program, [])["cell.h"]
        assert f"#define CELL_SAVE_BYTES {24 + content + 4}\n" in header
        assert state_bytes(program) >= content


# ---- tampered states ---------------------------------------------------------------------------

FUZZ = Path(__file__).parent / "restore_fuzz.c"


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("rule", READOUT_RULES)
def test_no_bytes_lead_a_restored_state_out_of_bounds(
    host: HostCompiler, rule: str, quantized: bool
) -> None:
    """Bytes flipped at random, their checksum made to fit or not, under ASan and UBSan."""
    if host.command is None:
        pytest.skip("no cc on this machine, and zig's clang has no address sanitizer")
    # A state that does not leak stays where it was put.
    neuron = lif(1, 0.5) if rule in READOUT_RULES[:2] else cuba(1, 1, 0.5)
    program = lower(planned(l2mu(lambda _: neuron, rule, "net"), quantized))
    folder = host.new_folder()
    for name, text in emit_c(program, ["test"]).items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [*sorted(folder.glob("*.c")), FUZZ]
    command = [host.command, *SANITIZERS, f"-I{folder}"]
    build = [*command, *map(str, sources), "-o", str(folder / "fuzz")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(folder / "fuzz"), "20000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    restored, refused = map(int, done.stdout.split())
    assert restored > 1000
    assert refused > 1000
