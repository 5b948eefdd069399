"""Fixtures: golden files, and programs compiled to libraries of this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ok
from hypothesis import HealthCheck, Phase, settings
from reference_models import Options, RawNet, save_state
from refusals import WINDOWS, write_windows

from l2mu_compile.frontend import load_model
from l2mu_compile.network_files import save_network
from l2mu_compile.program import Program
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.devices import HostModel
from l2mu_compile.targets.emit_c import emit_c, state_bytes
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.kernel_table import HEADERS, KERNEL_DIR
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.toolchain import COMPILE_FLAGS, RUNTIME_DIR, compile_objects

pytest.register_assert_rewrite(
    "exactness", "fuzzing", "kernel_machines", "machines", "networks", "packages"
)

GOLDEN_DIR = Path(__file__).parent / "golden"
EXAMPLE = Path(__file__).parents[1] / "examples/har_smartwatch"

# Examples are drawn anew at random but for the seed, so a failure here is a failure everywhere.
# Making a failing one small takes minutes: `make test-all` only reports it (profile "unshrunk").
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("default")
settings.register_profile("unshrunk", settings(), phases=(Phase.explicit, Phase.generate))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests have said, with ``record_property("said", ...)``, of what they went through."""
    passed = terminalreporter.stats.get("passed", [])
    said = [text for report in passed for word, text in report.user_properties if word == "said"]
    if said:
        terminalreporter.section("what tests went through")
    for line in said:
        terminalreporter.write_line(line)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)`` asserts that ``text`` is what ``tests/golden/name`` holds."""

    def check(name: str, text: str) -> None:
        path = GOLDEN_DIR / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path.name}: run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return check


class HostCompiler:
    """Compiles emitted C for this machine with its own ``cc``, or else with the package's zig.

    The kernels are compiled once for all programs.
    """

    def __init__(self, folder: Path) -> None:
        from kernel_machines import sources  # not above: its asserts are rewritten on import

        self.folder = folder
        self.command = shutil.which("cc")
        self._count = 0
        kernels = folder / "kernels"
        kernels.mkdir()
        for name in (*HEADERS, *sources(usable_sets(HOST))):
            shutil.copy(KERNEL_DIR / name, kernels)
        self._kernels = self._objects(sorted(kernels.glob("*.c")), kernels)

    def kernel_library(self) -> Path:
        """A shared library of all kernels."""
        return self._link(self._kernels, self.folder / "kernels.so")

    def model(self, program: Program) -> HostModel:
        """``program`` compiled and loaded."""
        return self.models([program])[0]

    def models(self, programs: Sequence[Program]) -> list[HostModel]:
        """Programs of different names, compiled at once into one library."""
        folder = self.new_folder()
        drivers = []
        for program in programs:
            files = emit_c(program, ["test"])
            own = [name for name in files if name.startswith(program.name)]
            for name in (*own, *HEADERS):
                (folder / name).write_text(files[name], encoding="utf-8")
            drivers.append(folder / f"{program.name}.c")
        library = self._link(
            [*self._objects(drivers, folder), *self._kernels], folder / "models.so"
        )
        return [HostModel(library, p.name, p.inputs, state_bytes(p)) for p in programs]

    def new_folder(self) -> Path:
        """An empty directory."""
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        return folder

    def _objects(self, sources: Sequence[Path], folder: Path) -> list[Path]:
        if self.command is None:
            return compile_objects(HOST, sources, [folder], folder, CommandLog())
        native = ["-march=native"] if HOST.cpu == "native" else []
        self._run("-c", "-fPIC", *native, *COMPILE_FLAGS, *map(str, sources), folder=folder)
        return [source.with_suffix(".o") for source in sources]

    def _link(self, objects: Sequence[Path], library: Path) -> Path:
        if self.command is None:
            return shared_library(HOST, objects, library)
        self._run("-shared", *map(str, objects), "-o", str(library), folder=library.parent)
        return library

    def _run(self, *arguments: str, folder: Path) -> None:
        command = [str(self.command), *arguments, "-idirafter", str(RUNTIME_DIR)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostCompiler:
    """The compiler of emitted C for this machine."""
    return HostCompiler(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="session")
def call(host: HostCompiler, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """`kernel_machines.Kernels.call`."""
    from kernel_machines import Kernels

    return Kernels(host.kernel_library(), tmp_path_factory.mktemp("kernels")).call


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``packages("cell", int8=True)``: `packages.compiled` with these arguments, once a session."""
    from packages import PORTABLE, compiled  # not above: its asserts are rewritten on import

    known: dict[tuple[str, bool, bool, str], Path] = {}

    def get(
        name: str = "cell", int8: bool = True, raw: bool = False, target: str = PORTABLE
    ) -> Path:
        key = (name, int8, raw, target)
        if key not in known:
            folder = tmp_path_factory.mktemp("packages")
            known[key] = compiled(folder, name, int8=int8, raw=raw, target=target)
        return known[key]

    return get


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the smartwatch example, traced once a session."""
    path = tmp_path_factory.mktemp("example") / "har.txt"
    save_network(load_model(EXAMPLE / "har.ckpt").network, path)
    return path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal 80 columns wide without colors."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def workplace(terminal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the test's own to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, windows, and host code for it in ``out``."""
    folder = tmp_path_factory.mktemp("compiled")
    save_state(RawNet().state_dict(), folder / "net.pt")
    write_windows(folder / WINDOWS)
    ok("compile", folder / "net.pt", "-o", folder / "out")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, windows, and its calibrated float32 host code in ``host``."""
    folder = tmp_path_factory.mktemp("data")
    save_state(RawNet(Options(seed=4)).state_dict(), folder / "net.pt")
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 20, 6)).astype(np.float32) * 1.5
    np.savez(folder / "windows.npz", x=x, y=random.integers(0, 3, 12))
    ok("compile", folder / "net.pt", "-o", folder / "host", "--calibrate", folder / "windows.npz")
    return folder


@pytest.fixture(scope="session")
def cortex(data: Path) -> Path:
    """Its int8 code for the Cortex-M4."""
    arguments = ("--target", "cortex-m4", "--quantize", "int8", "-o", data / "cortex")
    ok("compile", data / "net.pt", *arguments, "--calibrate", data / "windows.npz")
    return data / "cortex"
