"""The Android archive: what is in it, and its libraries run under QEMU against the interpreter."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from java_builds import final, jdk_headers, package, tool
from networks import l2mu, samples
from numpy.typing import NDArray

from l2mu_compile.compiled import verify_output
from l2mu_compile.differential import Comparison, compare
from l2mu_compile.display import show_report
from l2mu_compile.errors import MismatchError
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import CTYPE_BYTES, Network
from l2mu_compile.program import API_FUNCTIONS, STREAM_FUNCTIONS, Program
from l2mu_compile.report import Report, load_report
from l2mu_compile.saved import saved_bytes
from l2mu_compile.targets import build
from l2mu_compile.targets.android import ABIS, ANDROID_ARM, ANDROID_X86_64
from l2mu_compile.targets.devices import SteppedDevice
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.packaging import aar as aar_module
from l2mu_compile.targets.packaging import java
from l2mu_compile.targets.packaging.java import NATIVE_METHODS, STREAM_METHODS
from l2mu_compile.targets.packaging.java_names import JavaNames, java_names
from l2mu_compile.targets.product import Product
from l2mu_compile.windows import Windows

HERE = Path(__file__).parent
WINDOWS, STEPS = 3, 12
PAGE = 16384
JAVA_8 = 52
ANDROID = "{http://schemas.android.com/apk/res/android}"

FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
MACHINES = {"arm64-v8a": "EM_AARCH64", "armeabi-v7a": "EM_ARM", "x86_64": "EM_X86_64"}
EF_ARM_EABI_VER5, EF_ARM_ABI_FLOAT_SOFT, EF_ARM_ABI_FLOAT_HARD = 0x05000000, 0x200, 0x400

# A C library of the same calling convention, and what runs its programs here.
SYSTEMS = {
    "arm64-v8a": ("aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"),
    "armeabi-v7a": ("arm-linux-gnueabi-gcc", "qemu-arm", "/usr/arm-linux-gnueabi"),
    "x86_64": ("x86_64-linux-gnu-gcc", "qemu-x86_64", "/"),
}

CASES = {
    "float32": (l2mu(name="my_net", rule="max_membrane"), False),
    "int8": (l2mu(name="sums", rule="mean_membrane"), True),
}


@dataclass(frozen=True)
class Archive:
    """A compiled ``.aar``: its content by name, and what it was made from."""

    path: Path
    files: dict[str, bytes]
    network: Network
    quantized: bool
    x: NDArray
    report: Report

    @property
    def names(self) -> JavaNames:
        return java_names(self.network.name)

    def library(self, abi: str) -> str:
        return f"jni/{abi}/lib{self.network.name}.so"

    def final(self, abi: str) -> Network:
        """The network as it was compiled for ``abi``."""
        return final(self.network, ABIS[abi], self.x, self.quantized)


def read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module", params=CASES)
def aar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    network, quantized = CASES[request.param]
    x = samples(network, WINDOWS, STEPS)
    folder = tmp_path_factory.mktemp(request.param) / "out"
    report = package(network, ANDROID_ARM, "aar", x, folder, quantized=quantized)
    path = folder / "aar" / f"{network.name}.aar"
    return Archive(path, read(path), network, quantized, x, report)


# ---- what is in it -----------------------------------------------------------------------------


def test_holds_what_an_android_archive_holds(aar: Archive) -> None:
    assert sorted(aar.files) == sorted(
        [
            *("AndroidManifest.xml", "LICENSE", "R.txt", "README.md", "classes.jar"),
            "META-INF/com/android/build/gradle/aar-metadata.properties",
            *(aar.library(abi) for abi in MACHINES),
            *("proguard.txt", "report.json", f"sources/{aar.names.path}.java"),
        ]
    )
    assert aar.files["R.txt"] == b""


def test_manifest(aar: Archive) -> None:
    manifest = ElementTree.fromstring(aar.files["AndroidManifest.xml"])
    assert manifest.tag == "manifest"
    assert manifest.attrib == {"package": f"l2mu.{aar.network.name}"}
    (sdk,) = manifest
    assert (sdk.tag, sdk.attrib) == ("uses-sdk", {f"{ANDROID}minSdkVersion": "21"})


def test_metadata_that_gradle_asks_for(aar: Archive) -> None:
    """Both versions are required; nothing newer than the class needs is asked of an app."""
    text = aar.files["META-INF/com/android/build/gradle/aar-metadata.properties"].decode()
    assert dict(line.split("=") for line in text.splitlines()) == {
        "aarFormatVersion": "1.0",
        "aarMetadataVersion": "1.0",
        "minCompileSdk": "21",
        "minCompileSdkExtension": "0",
        "minAndroidGradlePluginVersion": "1.0.0",
        "coreLibraryDesugaringEnabled": "false",
    }


def test_the_asset_packaging_tool_links_the_manifest(aar: Archive, tmp_path: Path) -> None:
    """As an app's own: it is valid, for Android 5.0, and has the resources that R.txt lists."""
    if not FRAMEWORK.is_file():
        pytest.skip(f"no {FRAMEWORK}")
    manifest, app, symbols = (tmp_path / name for name in ("AndroidManifest.xml", "app", "R.txt"))
    manifest.write_bytes(aar.files["AndroidManifest.xml"])
    made = ("--output-text-symbols", symbols, "--java", tmp_path / "java", "-o", app)
    link = [tool("aapt2"), "link", "-I", FRAMEWORK, "--manifest", manifest, *made]
    subprocess.run(list(map(str, link)), check=True)
    shown = subprocess.run(["aapt2", "dump", "badging", str(app)], capture_output=True, text=True)
    assert f"package: name='{aar.names.package}'" in shown.stdout
    assert "sdkVersion:'21'" in shown.stdout
    assert "uses-permission" not in shown.stdout
    assert symbols.read_bytes() == aar.files["R.txt"]
    made_classes = {path.stem for path in (tmp_path / "java").rglob("*.java")}
    assert made_classes == {"R"}, "names that java_names keeps free"


def test_rule_that_keeps_native_names(aar: Archive) -> None:
    rule = aar.files["proguard.txt"].decode()
    assert f"-keepclasseswithmembernames class {aar.names.qualified} {{" in rule
    assert "native <methods>;" in rule


def test_class_is_of_java_8(aar: Archive, tmp_path: Path) -> None:
    tool("javac")
    (tmp_path / "classes.jar").write_bytes(aar.files["classes.jar"])
    jar = read(tmp_path / "classes.jar")
    assert list(jar) == ["META-INF/MANIFEST.MF", f"{aar.names.path}.class"]
    magic, _, major = struct.unpack(">IHH", jar[f"{aar.names.path}.class"][:8])
    assert (magic, major) == (0xCAFEBABE, JAVA_8)


def test_class_from_the_archive_loads_its_x86_64_library(aar: Archive, tmp_path: Path) -> None:
    """The same class and library, on this machine's JVM."""
    if HOST.arch != ANDROID_X86_64.arch:
        pytest.skip("this machine is no x86-64")
    for name in ("classes.jar", aar.library("x86_64")):
        (tmp_path / Path(name).name).write_bytes(aar.files[name])
    name = aar.names.class_name
    (tmp_path / "Main.java").write_text(
        f"public class Main {{ public static void main(String[] a) {{ System.out.println("
        f"new {aar.names.qualified}().run(new float[{name}_INPUTS])); }} }}".replace(
            f"{name}_INPUTS", f"{aar.names.qualified}.INPUTS"
        )
    )
    path = (f"-Djava.library.path={tmp_path}", "-cp", f"{tmp_path}/classes.jar")
    done = subprocess.run(
        [tool("java"), "-Xcheck:jni", *path, tmp_path / "Main.java"], capture_output=True, text=True
    )
    silence = np.zeros((1, 1, aar.network.input.size), np.float32)
    wanted = run(aar.final("x86_64"), silence).decisions[0]
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


@pytest.mark.parametrize("abi", MACHINES)
def test_library_can_be_loaded_by_android(aar: Archive, abi: str, tmp_path: Path) -> None:
    """Processor, calling convention, alignment; nothing needed, nothing left over."""
    elf = opened(aar.files[aar.library(abi)], tmp_path)
    assert (elf["e_type"], elf["e_machine"]) == ("ET_DYN", MACHINES[abi])
    if abi == "armeabi-v7a":
        assert elf["e_flags"] == EF_ARM_EABI_VER5 | EF_ARM_ABI_FLOAT_SOFT
        assert not elf["e_flags"] & EF_ARM_ABI_FLOAT_HARD
    loaded = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert loaded
    for segment in loaded:
        assert segment["p_align"] >= PAGE
        assert segment["p_vaddr"] % PAGE == segment["p_offset"] % PAGE
        assert not (segment["p_flags"] & 1 and segment["p_flags"] & 2), "writable code"
    tags = {tag.entry.d_tag: tag for tag in elf.get_section_by_name(".dynamic").iter_tags()}
    assert tags["DT_SONAME"].soname == f"lib{aar.network.name}.so"
    # Android 5.0 reads neither packed relocations nor, before 6.0, GNU hash tables alone.
    assert "DT_HASH" in tags
    assert not tags.keys() & {"DT_NEEDED", "DT_TEXTREL", "DT_RELR", "DT_ANDROID_RELR", "DT_RUNPATH"}
    assert elf.get_section_by_name(".symtab") is None
    assert not any(section.name.startswith(".debug") for section in elf.iter_sections())


@pytest.mark.parametrize("abi", MACHINES)
def test_library_exports_the_api_and_native_methods_alone(
    aar: Archive, abi: str, tmp_path: Path
) -> None:
    elf = opened(aar.files[aar.library(abi)], tmp_path)
    symbols = [s for s in elf.get_section_by_name(".dynsym").iter_symbols() if s.name]
    assert all(s["st_shndx"] != "SHN_UNDEF" for s in symbols)
    assert sorted(s.name for s in symbols) == sorted(
        [
            *(f"{aar.network.name}_{word}" for word in (*API_FUNCTIONS, *STREAM_FUNCTIONS)),
            *(aar.names.native_prefix + word for word in (*NATIVE_METHODS, *STREAM_METHODS)),
        ]
    )


def opened(content: bytes, folder: Path) -> Any:
    path = folder / "library.so"
    path.write_bytes(content)
    return ELFFile.load_from_path(str(path))


def test_report_tells_of_every_library(aar: Archive, tmp_path: Path) -> None:
    assert [library.target for library in aar.report.libraries] == [t.name for t in ABIS.values()]
    for abi, library in zip(ABIS, aar.report.libraries, strict=True):
        content = aar.files[aar.library(abi)]
        assert library.path == f"aar/{aar.path.name}:{aar.library(abi)}"
        assert library.sha256 == hashlib.sha256(content).hexdigest()
        assert library.bytes == len(content)
        if HOST.arch == ABIS[abi].arch or ABIS[abi].emulator is not None:
            assert library.verify is not None
            assert library.verify.bit_exact
            assert (library.verify.windows, library.verify.steps) == (WINDOWS, STEPS)
            assert library.verify.ran_on == ABIS[abi].name
        assert (library.instructions_per_step_mean is None) == (ABIS[abi].emulator is None)
    (tmp_path / "inner.json").write_bytes(aar.files["report.json"])
    assert load_report(tmp_path / "inner.json").libraries == aar.report.libraries
    assert aar.report.notes == []


def test_output_verifies_again_and_keeps_what_was_checked(aar: Archive) -> None:
    again = verify_output(aar.path.parent.parent, Windows(aar.x))
    assert again.verify is not None
    assert again.verify.bit_exact
    assert again.libraries == aar.report.libraries


def test_wrong_library_is_not_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of other weights, in place of one ABI's, is found before anything is written."""
    network, _ = CASES["float32"]
    other = l2mu(name=network.name, rule=network.readout.rule, seed=7)
    x = samples(network, WINDOWS, STEPS)
    native_library = java.native_library

    def wrong(product: Product, folder: Path) -> Path:
        if product.target is ANDROID_X86_64:
            product = replace(product, program=lower(final(other, product.target, x, False)))
        return native_library(product, folder)

    monkeypatch.setattr(aar_module, "native_library", wrong)
    with pytest.raises(MismatchError, match="not bit-exact on android-x86_64"):
        package(network, ANDROID_ARM, "aar", x, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_readme_says_how_and_how_much(aar: Archive) -> None:
    readme = aar.files["README.md"].decode()
    assert (aar.path.parent / "README.md").read_text() == readme
    assert len(readme.splitlines()) <= 16
    for words in (
        f'implementation(files("libs/{aar.network.name}.aar"))',
        f"val model = {aar.names.qualified}()",
        f"`armeabi-v7a`: {len(aar.files[aar.library('armeabi-v7a')])} bytes",
    ):
        assert words in readme


def test_two_builds_differ_in_nothing(aar: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    package(aar.network, ANDROID_ARM, "aar", aar.x, folder, quantized=aar.quantized)
    again = folder / "aar" / aar.path.name
    assert read(again) == aar.files
    assert again.read_bytes() == aar.path.read_bytes()


def test_without_a_jdk_the_archive_holds_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    network, _ = CASES["float32"]
    x = samples(network, WINDOWS, STEPS)
    report = package(network, ANDROID_X86_64, "aar", x, tmp_path / "out")
    files = read(tmp_path / "out/aar/my_net.aar")
    (tmp_path / "classes.jar").write_bytes(files["classes.jar"])
    assert list(read(tmp_path / "classes.jar")) == ["META-INF/MANIFEST.MF"]
    assert b"public final class MyNet" in files["sources/l2mu/my_net/MyNet.java"]
    assert b"made without a JDK" in files["README.md"]
    assert any("shipped as source alone" in note for note in report.notes)


def test_library_that_cannot_run_here_is_said_to_be_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on an Arm host, where nothing runs the x86-64 library."""
    monkeypatch.setattr(build, "HOST", replace(HOST, arch="other"))
    network, _ = CASES["float32"]
    x = samples(network, WINDOWS, STEPS)
    report = package(network, ANDROID_ARM, "aar", x, tmp_path / "out")
    assert [library.verify is None for library in report.libraries] == [False, False, True]
    readme = (tmp_path / "out/aar/README.md").read_text()
    assert "**not run**: no android-x86_64 on the machine that compiled" in readme
    show_report(report, "out")
    shown = capsys.readouterr().out
    assert shown.count("bit-exact: aar/my_net.aar:jni/arm") == 2
    assert "not run here: aar/my_net.aar:jni/x86_64/libmy_net.so" in shown


# ---- run under QEMU ----------------------------------------------------------------------------


class Recorded(SteppedDevice):
    """A device that already ran one window: the state after each step, then the decision."""

    def __init__(self, window: bytes, state_size: int) -> None:
        states = (window[i * state_size :][:state_size] for i in range(STEPS))
        self._states = iter(states)
        self._state = b""
        self._decision = window[STEPS * state_size :]

    def reset(self) -> None:
        assert not self._state, "one window"

    def step(self, sample: NDArray) -> tuple[int, ...]:
        self._state = next(self._states)
        return ()

    def state(self) -> bytes:
        return self._state

    def classify(self) -> int:
        return int.from_bytes(self._decision, "little", signed=True)


def under_qemu(
    abi: str, source: str, options: list[str | Path], arguments: list[Any], x: NDArray, folder: Path
) -> bytes:
    """What the C program prints that loads a library and is given ``x``."""
    compiler, emulator, root = SYSTEMS[abi]
    program = folder / Path(source).stem
    strict = ("-std=gnu99", "-O1", "-Wall", "-Wextra", "-Werror")
    command = [tool(compiler), *strict, *options, HERE / source, "-o", program, "-ldl"]
    subprocess.run(list(map(str, command)), check=True)
    command = [tool(emulator), "-L", root, program, *arguments]
    done = subprocess.run(list(map(str, command)), input=x.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("abi", SYSTEMS)
def test_states_under_qemu_are_the_interpreters(aar: Archive, abi: str, tmp_path: Path) -> None:
    network, library = aar.final(abi), tmp_path / "lib.so"
    program = lower(network)
    library.write_bytes(aar.files[aar.library(abi)])
    arguments = [library, program.name, program.inputs, STEPS, state_bytes(program)]
    output = under_qemu(abi, "run_model.c", [], arguments, aar.x, tmp_path)
    size = STEPS * state_bytes(program) + 4
    assert len(output) == WINDOWS * size

    def compared(window: int, content: bytes) -> Comparison:
        device = Recorded(content, state_bytes(program))
        return compare(network, program, lambda: device, aar.x[window : window + 1])

    results = [compared(i, output[i * size :][:size]) for i in range(WINDOWS)]
    assert all(result.first_difference is None for result in results)
    assert any(sum(r.spike_totals.values()) > 0 for r in results), "nothing spiked"
    wrong = bytearray(output[:size])
    wrong[state_layout(program)["h_membrane"].offset] ^= 1
    difference = compared(0, bytes(wrong)).first_difference
    assert difference is not None
    assert difference.quantity == "h_membrane"


@pytest.mark.parametrize("abi", SYSTEMS)
def test_native_methods_under_qemu(aar: Archive, abi: str, tmp_path: Path) -> None:
    network, library = aar.final(abi), tmp_path / "lib.so"
    program = lower(network)
    library.write_bytes(aar.files[aar.library(abi)])
    x = np.random.default_rng(5).integers(-4, 5, aar.x.shape).astype(np.float32)
    dtype, classes = score_type(program), program.classes
    include = jdk_headers()
    options = [f"-I{include}", *(f"-I{path.parent}" for path in include.glob("*/jni_md.h"))]
    shape = [program.inputs, classes, STEPS, dtype.itemsize]
    known = [program.digest, saved_bytes(program.members), program.labels[-1]]
    arguments = [library, aar.names.native_prefix, *shape, *known]
    output = under_qemu(abi, "run_native_methods.c", options, arguments, x, tmp_path)
    record = np.dtype([("decision", "<i4"), ("scores", dtype, (classes,))])
    got = np.frombuffer(output, record).reshape(WINDOWS, 5)
    expected = run(network, x)
    for kind in range(5):
        assert got["decision"][:, kind].tolist() == expected.decisions.tolist()
        assert got["scores"][:, kind].tobytes() == expected.scores.astype(dtype).tobytes()


def score_type(program: Program) -> np.dtype[Any]:
    ctype = state_layout(program)["score"].ctype
    return np.dtype(f"<{'f' if ctype == 'float' else 'i'}{CTYPE_BYTES[ctype]}")
