"""The Java package on this machine's JVM, against the interpreter and under -Xcheck:jni."""

from __future__ import annotations

import re
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from java_builds import final, package, tool
from networks import feed_forward, l2mu, samples
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, ToolchainError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.report import load_report
from l2mu_compile.saved import saved_bytes, saved_members
from l2mu_compile.targets.elf import symbols
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.packaging.aar import MIN_SDK
from l2mu_compile.targets.packaging.java import (
    EARLY_METHODS,
    NATIVE_METHODS,
    OLDEST_JAVAC,
    STREAM_METHODS,
)
from l2mu_compile.targets.packaging.java_names import java_names

DRIVER = Path(__file__).with_name("Driver.java")
WINDOWS, STEPS = 3, 12
JAVA_8 = 52


@dataclass(frozen=True)
class Case:
    """A network with scores of one Java type."""

    network: Network
    quantized: bool
    java_package: str | None = None
    hop: int = STEPS


NAMES = ("still", 'q"\\u0041', "läuft 🏃")


def named(network: Network) -> Network:
    return network.replace(readout=replace(network.readout, labels=NAMES))


def early(network: Network, *margins: int) -> Network:
    return network.replace(readout=replace(network.readout, margins=margins))


CASES = {
    "int": Case(early(named(l2mu(name="my_net")), 2, 3, 2).replace(window=STEPS), False, hop=5),
    "float": Case(l2mu(name="l2mu", rule="max_membrane"), False, "com.example_1.sensor_"),
    "long": Case(l2mu(name="system", rule="mean_membrane"), True, hop=4),
}


@dataclass(frozen=True)
class Built:
    """A compiled case: its ``java/`` folder, and its network, for the interpreter on any steps."""

    case: Case
    folder: Path
    network: Network
    x: NDArray

    def drive(self, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str]:
        """The lines `Driver` prints; nothing may be said about the use of JNI."""
        names = java_names(self.network.name, self.case.java_package)
        text = DRIVER.read_text().replace("MODEL;", f"{names.qualified};")
        source = self.folder.parent / "Driver.java"
        source.write_text(re.sub(r"\bCLASS\b", names.class_name, text))
        jar = self.folder / f"{self.network.name}.jar"
        output = self.folder.parent / "driver"
        if not output.exists():
            _run(tool("javac"), "-cp", jar, "-d", output, source)
        path = f"-Djava.library.path={self.folder}"
        options = ("-Xcheck:jni", path, *options)
        return _run(tool("java"), *options, "-cp", f"{jar}:{output}", "Driver", *arguments)


@pytest.fixture(scope="module", params=CASES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    tool("javac")
    case = CASES[request.param]
    x = samples(case.network, WINDOWS, STEPS)
    folder = tmp_path_factory.mktemp(request.param) / "out"
    options = {"quantized": case.quantized, "java_package": case.java_package}
    package(case.network, HOST, "java", x, folder, hop=case.hop, **options)
    network = final(case.network, HOST, x, case.quantized).replace(window=None)
    return Built(case, folder / "java", network, x)


def _run(*command: str | Path) -> list[str]:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert "WARNING" not in done.stdout
    return done.stdout.splitlines()


def written(x: NDArray, path: Path) -> Path:
    """Windows as Java's DataInputStream reads them."""
    path.write_bytes(struct.pack(">i", len(x)) + x.astype(">f4").tobytes())
    return path


def lines_for(network: Network, x: NDArray, step: int) -> list[tuple[int, list[float]]]:
    """Decisions and scores of all windows after ``step`` steps."""
    found = run(network, x[:, :step])
    return [(int(d), s.tolist()) for d, s in zip(found.decisions, found.scores, strict=True)]


def parsed(network: Network, lines: list[str]) -> list[tuple[int, list[float]]]:
    kind = run(network, np.zeros((1, 1, network.input.size), np.float32)).scores.dtype.type
    split = [line.split(" ", 1) for line in lines]
    return [(int(d), [kind(v).item() for v in s.strip("[]").split(", ")]) for d, s in split]


def assert_stepwise(built: Built, lines: list[str], x: NDArray) -> None:
    got = parsed(built.network, lines)
    assert len(got) == len(x) * (STEPS + 1)
    for step in range(1, STEPS + 1):
        assert got[step - 1 :: STEPS + 1] == lines_for(built.network, x, step), f"step {step}"
    assert got[STEPS :: STEPS + 1] == lines_for(built.network, x, STEPS), "run"


def counts_like(x: NDArray) -> NDArray:
    """Whole numbers, and the extremes."""
    counts = np.random.default_rng(3).integers(-4, 5, x.shape).astype(np.float32)
    counts[0, 0], counts[0, 1] = 32767, -32768
    return counts


def test_floats_stepwise_and_whole(built: Built, tmp_path: Path) -> None:
    assert_stepwise(built, built.drive("floats", written(built.x, tmp_path / "x")), built.x)


def test_counts_stepwise_and_whole(built: Built, tmp_path: Path) -> None:
    x = counts_like(built.x)
    assert_stepwise(built, built.drive("counts", written(x, tmp_path / "x")), x)


def test_instances_do_not_disturb_one_another(built: Built, tmp_path: Path) -> None:
    lines = built.drive("instances", written(built.x, tmp_path / "x"))
    assert parsed(built.network, lines) == lines_for(built.network, built.x, STEPS)


def test_a_stream_of_floats_and_of_counts(built: Built, tmp_path: Path) -> None:
    """On two instances in turn; the decisions are those of the windows alone."""
    x = counts_like(built.x)
    lines = parsed(built.network, built.drive("stream", written(x, tmp_path / "x")))
    stream, hop = x.reshape(-1, x.shape[2]), built.case.hop
    starts = range(0, len(stream) - STEPS + 1, hop)
    overlapping = np.stack([stream[start : start + STEPS] for start in starts])
    expected = lines_for(built.network, overlapping, STEPS)
    nothing = (-1, [0] * built.network.classes)
    assert lines[0] == lines[-1] == nothing
    assert lines[1:-1:2] == lines[2:-1:2] == expected
    assert len(expected) > WINDOWS or hop == STEPS


def test_a_saved_state_goes_on_in_another_instance(built: Built, tmp_path: Path) -> None:
    lines = built.drive("saves", written(built.x, tmp_path / "x"))
    assert parsed(built.network, lines[:WINDOWS]) == lines_for(built.network, built.x, STEPS)
    size = saved_bytes(saved_members(built.network))
    assert lines[WINDOWS:] == [
        "IllegalArgumentException: these bytes are no saved state",
        "IllegalArgumentException: this saved state is of another network",
        "IllegalArgumentException: this saved state is damaged",
        f"IllegalArgumentException: a saved state has {size} bytes, not {size - 1}",
        f"IllegalArgumentException: a saved state has {size} bytes, not 0",
        lines[WINDOWS + 5],
        "true",
    ]
    assert lines[WINDOWS + 5].startswith("NullPointerException")


def test_names_version_and_digest(built: Built) -> None:
    names = list(built.network.class_names)
    report = load_report(built.folder / "report.json")
    refused = "IllegalArgumentException: classes are 0 to 2, not"
    assert built.drive("texts") == [
        *(report.tool, report.digest, *names, names[-1]),
        *(f"{refused} -1", f"{refused} 3"),
    ]


def test_threads_with_own_and_shared_instances(built: Built, tmp_path: Path) -> None:
    lines = built.drive("threads", written(built.x, tmp_path / "x"))
    assert [int(line) for line in lines] == run(built.network, built.x).decisions.tolist()


def test_wrong_arguments_end_as_exceptions(built: Built) -> None:
    lines = built.drive("refusals")
    assert lines[:5] == [
        "IllegalArgumentException: a sample has 2 channels, not 3",
        "IllegalArgumentException: a sample has 2 channels, not 0",
        "IllegalArgumentException: a sample has 2 channels, not 1",
        f"IllegalArgumentException: a window has a multiple of 2 numbers, not {2 * STEPS + 1}",
        "IllegalArgumentException: a window has a multiple of 2 numbers, not 1",
    ]
    assert [line.partition(":")[0] for line in lines[5:9]] == ["NullPointerException"] * 4
    assert lines[9:11] == [
        "IllegalArgumentException: a sample has 2 channels, not 3",
        "IllegalArgumentException: a sample has 2 channels, not 0",
    ]
    assert [line.partition(":")[0] for line in lines[11:13]] == ["NullPointerException"] * 2
    assert parsed(built.network, lines[13:])[0][0] == 0


def test_the_collector_frees_states(built: Built) -> None:
    """A megabyte of native memory serves 20000 instances of hundreds of bytes each."""
    lines = built.drive("garbage", "20000", options=("-XX:MaxDirectMemorySize=1m",))
    assert len(lines) == 1


def test_library_named_by_a_property(built: Built, tmp_path: Path) -> None:
    """The property wins over a library path that has nothing."""
    names = java_names(built.network.name, built.case.java_package)
    library = built.folder / f"lib{built.network.name}{HOST.shared_suffix}"
    options = (f"-D{names.qualified}.library={library}", f"-Djava.library.path={tmp_path}")
    lines = built.drive("instances", written(built.x, tmp_path / "x"), options=options)
    assert parsed(built.network, lines) == lines_for(built.network, built.x, STEPS)


def test_library_of_another_network_is_refused(built: Built, tmp_path: Path) -> None:
    """A library for another model, under the same name, is not called."""
    name, java_package = built.network.name, built.case.java_package
    other = feed_forward().replace(name=name)
    x = samples(other, WINDOWS, STEPS)
    package(other, HOST, "java", x, tmp_path / "out", java_package=java_package)
    names = java_names(name, java_package)
    library = tmp_path / "out" / "java" / f"lib{name}{HOST.shared_suffix}"
    with pytest.raises(AssertionError, match=r"UnsatisfiedLinkError: .* another network"):
        built.drive("refusals", options=(f"-D{names.qualified}.library={library}",))


def test_jar_holds_one_class_of_java_8(built: Built) -> None:
    names = java_names(built.network.name, built.case.java_package)
    with zipfile.ZipFile(built.folder / f"{built.network.name}.jar") as jar:
        assert jar.testzip() is None
        assert jar.namelist() == ["META-INF/MANIFEST.MF", f"{names.path}.class"]
        magic, _, major = struct.unpack(">IHH", jar.read(f"{names.path}.class")[:8])
    assert (magic, major) == (0xCAFEBABE, JAVA_8)


def test_library_shows_native_methods_and_the_api(built: Built, tmp_path: Path) -> None:
    """The native methods' names are those javac itself gives them."""
    source = next((built.folder / "sources").rglob("*.java"))
    _run(tool("javac"), "-h", tmp_path, "-d", tmp_path, source)
    headers = "".join(path.read_text() for path in tmp_path.glob("*.h"))
    wanted = re.findall(r"JNICALL (Java_\w+)", headers)
    names = java_names(built.network.name, built.case.java_package)
    early = EARLY_METHODS if built.network.readout.margins else ()
    methods = (*NATIVE_METHODS, *early, *STREAM_METHODS)
    assert sorted(wanted) == sorted(names.native_prefix + method for method in methods)
    library = built.folder / f"lib{built.network.name}{HOST.shared_suffix}"
    assert set(wanted) <= set(symbols(library))


def test_source_compiles_without_a_warning(built: Built, tmp_path: Path) -> None:
    source = next((built.folder / "sources").rglob("*.java"))
    lint = ("-Xlint:all", "-Xdoclint:all/protected", "-Werror")
    assert _run(tool("javac"), *lint, "-d", tmp_path, source) == []


def test_constants_are_the_models(built: Built) -> None:
    text = next((built.folder / "sources").rglob("*.java")).read_text()
    constants = dict(re.findall(r"public static final int (\w+) = (\d+);", text))
    wanted = {"INPUTS": built.network.input.size, "CLASSES": built.network.classes}
    wanted |= {"WINDOW": STEPS, "HOP": built.case.hop}
    wanted["SAVE_BYTES"] = saved_bytes(saved_members(built.network))
    assert constants == {name: str(value) for name, value in wanted.items()}


def test_report_and_readme_in_the_package(built: Built) -> None:
    report = load_report(built.folder / "report.json")
    (library,) = report.libraries
    assert library.path == f"java/lib{built.network.name}{HOST.shared_suffix}"
    assert library.verify is not None
    assert library.verify.bit_exact
    readme = (built.folder / "README.md").read_text()
    assert len(readme.splitlines()) <= 14
    names = java_names(built.network.name, built.case.java_package)
    for words in (f"new {names.qualified}()", f"{built.network.name}.jar", "bit-exact on"):
        assert words in readme
    assert "Apache-2.0" in (built.folder / "LICENSE").read_text()
    whole = load_report(built.folder.parent / "report.json")
    assert whole.libraries == report.libraries
    assert whole.notes == []


EARLY = """
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.util.Arrays;
import l2mu.toy.Toy;

public final class Early {
    public static void main(String[] arguments) throws Exception {
        DataInputStream in = new DataInputStream(new FileInputStream(arguments[0]));
        Toy model = new Toy();
        for (int windows = in.readInt(); windows > 0; windows--) {
            model.reset();
            int[] decided = new int[12];
            for (int step = 0; step < decided.length; step++) {
                float[] sample = new float[Toy.INPUTS];
                for (int i = 0; i < sample.length; i++) {
                    sample[i] = in.readFloat();
                }
                model.step(sample);
                decided[step] = model.decided();
            }
            System.out.println(Arrays.toString(decided));
        }
    }
}
"""


def test_a_class_tells_when_a_window_is_decided(tmp_path: Path) -> None:
    tool("javac")
    network = early(feed_forward(), 1, 3)
    package(network, HOST, "java", None, tmp_path / "out")
    folder, source = tmp_path / "out/java", tmp_path / "Early.java"
    source.write_text(EARLY)
    _run(tool("javac"), "-cp", folder / "toy.jar", "-d", tmp_path, source)
    x = samples(network, 20, STEPS)
    options = ("-Xcheck:jni", f"-Djava.library.path={folder}", "-cp")
    file = written(x, tmp_path / "windows")
    lines = _run(tool("java"), *options, f"{folder / 'toy.jar'}:{tmp_path}", "Early", file)
    expected = run(network, x)
    ended = 0
    for line, needed, decision in zip(lines, expected.needed, expected.decisions, strict=True):
        steps = [int(number) for number in line.strip("[]").split(", ")]
        assert steps[: needed - 1] == [-1] * (needed - 1)
        later = steps[needed - 1 :]
        assert later in ([decision] * len(later), [-1])
        ended += needed < STEPS
    assert 0 < ended < len(x)


def test_without_a_window_there_is_no_stream(tmp_path: Path) -> None:
    tool("javac")
    network = feed_forward()
    package(network, HOST, "java", None, tmp_path / "out")
    folder = tmp_path / "out" / "java"
    assert (folder / "toy.jar").is_file()
    text = (folder / "sources/l2mu/toy/Toy.java").read_text()
    for words in ("push", "decision()", "streamScores", "WINDOW"):
        assert words not in text
        assert words not in (folder / "README.md").read_text()
    exported = symbols(folder / f"libtoy{HOST.shared_suffix}")
    prefix = java_names("toy").native_prefix
    assert {prefix + method for method in NATIVE_METHODS} <= set(exported)
    assert not {prefix + method for method in STREAM_METHODS} & set(exported)


# What the class may call, and the version of Android's API that has had it.
ANDROID_API = {
    "java/lang/IllegalArgumentException": 1,
    "java/lang/Object": 1,
    "java/lang/String": 1,
    "java/lang/StringBuilder": 1,
    "java/lang/System": 1,
    "java/lang/UnsatisfiedLinkError": 1,
    "java/nio/ByteBuffer": 1,
    "java/nio/charset/StandardCharsets": 19,
    "java/lang/Object.<init>:()V": 1,
    "java/lang/String.<init>:([BLjava/nio/charset/Charset;)V": 9,
    "java/lang/StringBuilder.<init>:()V": 1,
    "java/lang/StringBuilder.append:(I)Ljava/lang/StringBuilder;": 1,
    "java/lang/StringBuilder.append:(Ljava/lang/String;)Ljava/lang/StringBuilder;": 1,
    "java/lang/StringBuilder.toString:()Ljava/lang/String;": 1,
    "java/lang/System.getProperty:(Ljava/lang/String;)Ljava/lang/String;": 1,
    "java/lang/System.load:(Ljava/lang/String;)V": 1,
    "java/lang/System.loadLibrary:(Ljava/lang/String;)V": 1,
    "java/lang/IllegalArgumentException.<init>:(Ljava/lang/String;)V": 1,
    "java/lang/UnsatisfiedLinkError.<init>:(Ljava/lang/String;)V": 1,
    "java/nio/ByteBuffer.allocateDirect:(I)Ljava/nio/ByteBuffer;": 1,
    "java/nio/ByteBuffer.get:([B)Ljava/nio/ByteBuffer;": 1,
    "java/nio/ByteBuffer.put:([B)Ljava/nio/ByteBuffer;": 1,
    "java/nio/charset/StandardCharsets.UTF_8:Ljava/nio/charset/Charset;": 19,
}


def test_the_class_calls_nothing_that_android_5_lacks(built: Built) -> None:
    names = java_names(built.network.name, built.case.java_package)
    jar = built.folder / f"{built.network.name}.jar"
    listing = _run(tool("javap"), "-v", "-p", "-cp", jar, names.qualified)
    entry = r"= (Class|\w*ref|InvokeDynamic|MethodHandle)\s+\S+\s+// +(\S+)"
    used = [match.groups() for line in listing if (match := re.search(entry, line))]
    assert {kind for kind, _ in used} == {"Class", "Methodref", "Fieldref"}
    called = {re.sub(r'^"?\[L(.*);"$', r"\1", name).replace('"', "") for _, name in used}
    others = {name for name in called if name.startswith("java/")}
    own = {name.partition(".")[0] for name in called if "." in name} - ANDROID_API.keys()
    assert {name for name in own if "/" in name} == {names.path}
    assert others == set(ANDROID_API)
    assert max(ANDROID_API.values()) <= MIN_SDK


# ---- with no JDK, or a broken one --------------------------------------------------------------


def fake_javac(folder: Path, script: str) -> Callable[[pytest.MonkeyPatch], None]:
    path = folder / "javac"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return lambda monkeypatch: monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    "script", [None, "echo javac 1.8.0_402 >&2", "echo install a JDK first >&2; exit 1"]
)
def test_without_a_usable_jdk_the_source_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        fake_javac(tmp_path, script)(monkeypatch)
    network = feed_forward()
    report = package(network, HOST, "java", samples(network), tmp_path / "out")
    assert report.notes == [
        f"no javac {OLDEST_JAVAC} or later on PATH: the Java class is shipped as source alone"
    ]
    folder = tmp_path / "out" / "java"
    assert not (folder / "toy.jar").exists()
    assert "package l2mu.toy;" in (folder / "sources/l2mu/toy/Toy.java").read_text()
    assert "made without a JDK" in (folder / "README.md").read_text()


def test_failing_javac_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = '[ "$1" = -version ] && echo javac 21.0.1 && exit 0; echo "error: no space"; exit 3'
    fake_javac(tmp_path, script)(monkeypatch)
    network = feed_forward()
    with pytest.raises(ToolchainError, match=r"code 3\n  error: no space"):
        package(network, HOST, "java", samples(network), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["l2mu_jni", "l2mu_jni_model"])
def test_model_named_like_the_native_code_is_refused(name: str, tmp_path: Path) -> None:
    network = feed_forward().replace(name=name)
    with pytest.raises(ModelError, match="the name of other C files"):
        package(network, HOST, "java", samples(network), tmp_path / "out")
