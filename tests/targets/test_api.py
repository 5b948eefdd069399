"""The generated API besides single steps: streams, raw counts, names, saved states."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from drawn_networks import float_networks, integer_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Host, Machine, State, Stream, cortex_m4, emulated
from networks import PORTABLE, cuba, f32, feed_forward, l2mu, lif, planned, samples
from numpy.typing import NDArray
from test_sanitizers import SANITIZERS

import l2mu_compile
from l2mu_compile import stream as streams
from l2mu_compile.differential import recorded_state
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import CTYPE_BYTES, READOUT_RULES, Network
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import Program
from l2mu_compile.saved import saved_bytes
from l2mu_compile.targets.emit_c import emit_c, state_bytes, state_layout, stream_bytes
from l2mu_compile.text import network_digest

data = st.data()

# (window, hop): one lane, hops that divide the window and that do not, a window of one sample.
SHAPES = [(5, 5), (6, 2), (7, 3), (7, 5), (4, 1), (1, 1)]


def lowered(network: Network, window: int, hop: int) -> Program:
    return lower(network, streams.Stream(window, hop))


def counts(network: Network, windows: int, steps: int, seed: int = 2) -> NDArray:
    """Raw samples: small ones and the extremes."""
    rng = np.random.default_rng(seed)
    shape = windows, steps, network.input.size
    small = rng.integers(-4, 5, shape)
    extreme = rng.choice([-(2**15), 2**15 - 1, 0, 300], shape)
    return np.where(rng.random(shape) < 0.9, small, extreme).astype(np.int16)


def ready_network(network: Network) -> Network:
    """A quantized network that is planned as it is."""
    context = Context(target=PORTABLE)
    return run_passes(network, parse_pipeline("select-kernels,plan-memory"), context)


def on_host(host: HostCompiler, programs: Sequence[Program], _folder: Path) -> list[Machine]:
    return [Host.of(model) for model in host.models(programs)]


def on_cortex_m4(_host: HostCompiler, programs: Sequence[Program], folder: Path) -> list[Machine]:
    return [cortex_m4(programs, folder)] * len(programs)


Place = Callable[[HostCompiler, Sequence[Program], Path], list[Machine]]
everywhere = pytest.mark.parametrize("place", [on_host, on_cortex_m4], ids=["host", "cortex-m4"])


# ---- streams -----------------------------------------------------------------------------------


def check_stream(stream: Stream, network: Network, x: NDArray) -> int:
    """Push samples ``[T, inputs]``: every window is decided as the interpreter decides it, at its
    last sample, and stays readable until the next. Returns the number of windows."""
    shape = stream.program.stream
    assert shape is not None
    decision, scores, ended = -1, [0.0] * stream.program.classes, 0
    for time, sample in enumerate(x, 1):
        start = time - shape.window
        ends = start >= 0 and start % shape.hop == 0
        assert stream.push(sample) == ends, time
        if ends:
            expected = run(network, x[None, start:time])
            decision, scores = int(expected.decisions[0]), expected.scores[0].tolist()
            ended += 1
        assert stream.decision() == decision, time
        assert np.array_equal(stream.scores(), scores, equal_nan=True), time
    return ended


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_windows_of_a_stream_are_decided_as_if_they_were_alone(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    networks = [
        planned(l2mu(rule=rule, name=f"net{i}", sensors=None), quantized)
        for i, rule in enumerate([*READOUT_RULES, *READOUT_RULES[:2]])
    ]
    programs = [lowered(n, *shape) for n, shape in zip(networks, SHAPES, strict=True)]
    machines = place(host, programs, tmp_path)
    for network, program, machine in zip(networks, programs, machines, strict=True):
        for x in (samples(network, 1, 40)[0], counts(network, 1, 40)[0]):
            assert check_stream(Stream(machine, program), network, x) >= 7


def test_a_reset_stream_starts_again(host: HostCompiler) -> None:
    network = planned(l2mu())
    program = lowered(network, 7, 3)
    stream = Stream(Host.of(host.model(program)), program)
    x = samples(network, 1, 30)[0]
    for stop in (30, 5, 8, 16):
        check_stream(stream, network, x[:stop])
        stream.reset()


def test_a_stream_goes_on_for_long(host: HostCompiler) -> None:
    """The sample counter wraps after two rounds of lanes: many of them change nothing."""
    network = planned(feed_forward())
    program = lowered(network, 3, 2)
    stream = Stream(Host.of(host.model(program)), program)
    assert check_stream(stream, network, samples(network, 1, 500)[0]) == 249


def test_a_window_as_long_as_can_be_counts_in_32_bits(host: HostCompiler) -> None:
    longest = streams.MAX_WINDOW
    network = planned(feed_forward())
    program = lowered(network, longest, longest - 1)
    machine = Host.of(host.model(program))
    stream = Stream(machine, program)
    x = samples(network, 1, 3)[0]
    for sample in x:
        assert stream.push(sample) == 0
    assert 2 * program.stream.lanes * program.stream.hop < 2**32  # type: ignore[union-attr]


@settings(max_examples=25)
@given(data)
def test_random_streams_of_random_networks(host: HostCompiler, data: st.DataObject) -> None:
    check_random_stream(host, data)


@pytest.mark.slow
@settings(max_examples=200)
@given(data)
def test_many_random_streams_of_random_networks(host: HostCompiler, data: st.DataObject) -> None:
    check_random_stream(host, data)


def check_random_stream(host: HostCompiler, data: st.DataObject) -> None:
    network = random_network(data)
    window = data.draw(st.integers(1, 9))
    program = lowered(network, window, data.draw(st.integers(1, window)))
    machine = Host.of(host.model(program))
    make = data.draw(st.sampled_from((samples, counts)))
    for length in data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=3)):
        x = make(network, 1, max(length, 1), seed=length)[0]
        check_stream(Stream(machine, program), network, x)


def random_network(data: st.DataObject) -> Network:
    if data.draw(st.booleans()):
        return ready_network(data.draw(integer_networks()))
    return planned(data.draw(float_networks()), quantized=data.draw(st.booleans()))


@everywhere
def test_streams_and_states_do_not_know_of_each_other(
    host: HostCompiler, tmp_path: Path, place: Place
) -> None:
    """Several of one program, their calls interleaved."""
    network = planned(l2mu(), quantized=True)
    program = lowered(network, 6, 4)
    (machine,) = place(host, [program], tmp_path)
    xs = samples(network, 3, 15)
    things = [Stream(machine, program) for _ in xs]
    states = [State(machine, program) for _ in xs]
    for time in range(15):
        for x, thing, state in zip(xs, things, states, strict=True):
            thing.push(x[time])
            state.step(x[time])
    for x, thing, state in zip(xs, things, states, strict=True):
        assert thing.decision() == run(network, x[None, 8:14]).decisions[0]
        assert state.classify() == run(network, x[None]).decisions[0]


def test_without_a_known_window_there_is_no_stream() -> None:
    program = lower(planned(feed_forward()))
    header = emit_c(program, ["s"])["toy.h"]
    assert (
        "/* No toy_push: the length of a window was not known (compile with --window). */" in header
    )
    assert "toy_push(" not in header
    assert "stream" not in header
    assert not [f for f in program.functions if "push" in f]
    assert stream_bytes(program) == 0


def test_the_header_tells_what_a_stream_costs() -> None:
    header = emit_c(lowered(planned(feed_forward()), 10, 4), ["s"])["toy.h"]
    for line in ("WINDOW 10", "HOP 4", "LANES 3"):
        assert f"\n#define TOY_{line}\n" in header
    assert "a sample costs at most 3 steps" in header
    assert "a sample costs 1 step." in emit_c(lowered(planned(feed_forward()), 10, 10), [])["toy.h"]


# ---- windows that are decided early ------------------------------------------------------------


def early(network: Network, margins: tuple[int, ...]) -> Network:
    """``network`` before planning, with margins."""
    return network.replace(readout=replace(network.readout, margins=margins))


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_a_window_ends_once_it_is_decided(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    """And its state is that of the step which decided it."""
    margins = [(1, 1, 1), (2, 3, 1), (3, 2, 2**31 - 1)]
    networks = [
        planned(early(l2mu(name=f"net{i}", sensors=None), m), quantized)
        for i, m in enumerate(margins)
    ]
    programs = [lowered(network, 6, 2) for network in networks]
    ended = set()
    for network, machine, program in zip(
        networks, place(host, programs, tmp_path), programs, strict=True
    ):
        windows = samples(network, 4, 20)
        expected = run(network, windows)
        assert check_stream(Stream(machine, program), network, windows[0]) == 8
        for k, window in enumerate(windows):
            whole, stepped = State(machine, program), State(machine, program)
            assert whole.run(window) == expected.decisions[k]
            needed = int(expected.needed[k])
            ended.add(needed < 20)
            for step, sample in enumerate(window, 1):
                stepped.step(sample)
                wanted = expected.decisions[k] if step >= needed and whole.decided() >= 0 else -1
                assert stepped.decided() == wanted
                if step == needed:
                    kept = stepped.kept()
            for name, array in whole.kept().items():
                assert array.tobytes() == kept[name].tobytes(), name
            assert stepped.scores() == whole.scores() == expected.scores[k].tolist()
            assert stepped.classify() == expected.decisions[k]
    assert ended == {True, False}


def test_only_networks_that_decide_early_have_the_function(host: HostCompiler) -> None:
    network = feed_forward()
    assert "toy_decided" not in lowered(planned(network), 4, 4).functions
    program = lowered(planned(early(network, (2, 2))), 4, 4)
    assert "toy_decided" in program.functions
    assert "early   l2mu_decided_i32(score, 2, out_margin)" in str(program)
    assert "int toy_decided(const toy_state_t *state);" in emit_c(program, [])["toy.h"]


# ---- raw counts --------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_raw_counts_are_samples_of_the_same_numbers(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    network = planned(l2mu(), quantized)
    program = lowered(network, 12, 12)
    (machine,) = place(host, [program], tmp_path)
    raw, plain = State(machine, program), State(machine, program)
    for window in counts(network, 4, 12):
        raw.reset()
        plain.reset()
        for sample in window:
            raw.step(sample)
            plain.step(sample.astype(np.float32))
            for name, array in raw.kept().items():
                assert array.tobytes() == plain.kept()[name].tobytes(), name
        decision = run(network, window[None]).decisions[0]
        assert raw.classify() == decision
        assert State(machine, program).run(window) == decision


@pytest.mark.parametrize("fraction", [-100, -17, -3, 0, 9, 24, 100])
def test_counts_at_every_scale_of_an_integer_network(host: HostCompiler, fraction: int) -> None:
    network = ready_network(scaled(fraction))
    x = counts(network, 5, 10)
    found = host.model(lower(network)).run(x)
    assert found.tolist() == run(network, x).decisions.tolist()


def scaled(fraction: int) -> Network:
    network = planned(l2mu(name="scaled"), quantized=True)
    entry = replace(network.input, fraction=fraction)
    return network.replace(input=entry, stage="quantized", buffers=())


# ---- names -------------------------------------------------------------------------------------

UGLY = (
    'a "quoted" name',
    "back\\slash",
    "??= ??/",
    "%s %n",
    "/* comment */ //",
    "Größe 7",
    "漢字 é1",
    "tab\there",
    "line\nbreak\r",
    "\x001",
    "#define",
)


def with_labels(network: Network, labels: Sequence[str]) -> Network:
    return network.replace(readout=replace(network.readout, labels=tuple(labels)))


@everywhere
def test_class_names_are_the_labels(host: HostCompiler, tmp_path: Path, place: Place) -> None:
    labels = ("walking", 'a "b" ??/', "Größe 7")
    program = lower(with_labels(planned(l2mu()), labels))
    (machine,) = place(host, [program], tmp_path)
    names = [machine.text("cell_class_name", i) for i in range(3)]
    assert names == [label.encode() for label in labels]
    for label in (-1, 3, 2**31 - 1, -(2**31)):
        assert machine.text("cell_class_name", label & 0xFFFFFFFF) is None


def test_classes_without_labels_are_numbered(host: HostCompiler) -> None:
    machine = Host.of(host.model(lower(planned(l2mu()))))
    assert [machine.text("cell_class_name", i) for i in range(3)] == [b"0", b"1", b"2"]


def test_any_text_is_a_c_string(host: HostCompiler) -> None:
    """Whatever the bytes: what the compiler reads back is the text, up to a NUL."""
    network = feed_forward()
    out = replace(network.populations[1], shape=(len(UGLY),))
    wide = replace(network.projections[1], weight=f32(np.ones((len(UGLY), 3))))
    network = network.replace(
        populations=(network.populations[0], out), projections=(network.projections[0], wide)
    )
    machine = Host.of(host.model(lower(with_labels(planned(network), UGLY))))
    found = [machine.text("toy_class_name", i) for i in range(len(UGLY))]
    assert found == [label.encode().partition(b"\0")[0] for label in UGLY]


@everywhere
def test_code_tells_what_it_is(host: HostCompiler, tmp_path: Path, place: Place) -> None:
    network = planned(l2mu())
    program = lower(network)
    (machine,) = place(host, [program], tmp_path)
    assert machine.text("cell_version") == f"l2mu-compile {l2mu_compile.__version__}".encode()
    assert machine.text("cell_digest") == network_digest(network).encode()


# ---- saved states ------------------------------------------------------------------------------


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
@given(data)
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
