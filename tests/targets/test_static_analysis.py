"""clang-tidy and cppcheck find nothing in the C that is shipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from exactness import unbuilt
from kernel_machines import sources
from networks import cuba, l2mu, lif, planned, samples
from packages import Packages, need, tool, unzipped
from test_emit_c import kinds

from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES, Network
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import NEEDED_MACROS
from l2mu_compile.targets.kernel_table import KERNEL_DIR, kernel_table
from l2mu_compile.targets.packaging import java
from l2mu_compile.targets.product import model_names
from l2mu_compile.targets.toolchain import RUNTIME_DIR

ROOT = Path(__file__).parents[2]
CORTEX_M = ("--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-idirafter", str(RUNTIME_DIR))
# A processor for each kernel set, in clang-tidy's words.
PROCESSORS = {
    "ref": (),
    "m0": ("--target=thumbv6m-none-eabi", "-mcpu=cortex-m0plus"),
    "dsp": ("--target=thumbv7em-none-eabi", "-mcpu=cortex-m4"),
    "fpu": ("--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-mfloat-abi=hard"),
    "mve": ("--target=thumbv8.1m.main-none-eabi", "-mcpu=cortex-m55+nomve.fp", "-mfloat-abi=hard"),
    "neon": ("--target=armv7a-none-eabi", "-mcpu=cortex-a7", "-mfloat-abi=hard"),
    "neon32": ("--target=armv7a-none-eabi", "-mcpu=cortex-a7", "-mfloat-abi=hard"),
    "neon64": ("--target=aarch64-none-elf", "-mcpu=cortex-a53"),
    "avx2": ("--target=x86_64-linux-gnu", "-march=x86-64-v3"),
    "dotprod": ("--target=aarch64-none-elf", "-mcpu=cortex-a76"),
    "avx512": ("--target=x86_64-linux-gnu", "-march=x86-64-v4"),
    "vnni": ("--target=x86_64-linux-gnu", "-march=icelake-server"),
}
CPPCHECK = (
    *("cppcheck", "--quiet", "--std=c99", "--inline-suppr", "--error-exitcode=1"),
    *("--enable=warning,style,performance,portability", "-D__GNUC__=12"),
)
# What Zephyr's headers offer the sample.
ZEPHYR = {
    "zephyr/kernel.h": """
#include <stddef.h>
#include <stdint.h>
typedef struct { int64_t ticks; } k_timeout_t;
struct k_timer { int late; };
#define K_MSEC(ms) ((k_timeout_t){(ms)})
#define K_TIMER_DEFINE(name, expired, stopped) \\
    struct k_timer name = {(expired) != NULL || (stopped) != NULL}
void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);
""",
    "zephyr/sys/printk.h": "void printk(const char *format, ...);\n",
}


@pytest.fixture(params=["clang-tidy", "cppcheck"])
def analyzer(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


def assert_clean(
    analyzer: str,
    sources: Sequence[Path],
    folders: Sequence[Path],
    *,
    clang: Sequence[str] = (),
    cppcheck: Sequence[str] = (),
) -> None:
    """The analyzer, with its own flags, finds nothing in ``sources`` and what they include from
    ``folders``."""
    assert sources
    files, include = [str(s) for s in sources], [f"-I{folder}" for folder in folders]
    if analyzer == "cppcheck":
        tool(*CPPCHECK, *cppcheck, *include, *files)
        return
    config = f"--config-file={ROOT / '.clang-tidy'}"
    tool("clang-tidy", "--quiet", config, *files, "--", "-std=c99", *include, *clang)


def models() -> Iterator[Network]:
    """Together they use every kernel and every part of the templates."""
    yield from kinds()
    for i, rule in enumerate(READOUT_RULES):
        for reset in ("subtract", "zero", "none"):
            yield l2mu(lambda _, r=reset: lif(0.75, 0.5, r), rule, f"lif_{reset}{i}")
            yield l2mu(lambda _, r=reset: cuba(0.5, 0.75, 0.5, r), rule, f"cuba_{reset}{i}")


@pytest.mark.parametrize("quantized", [False, True])
def test_drivers_and_weights(tmp_path: Path, analyzer: str, quantized: bool) -> None:
    streams = (None, Stream(10, 10), Stream(10, 4))
    drivers = []
    for i, network in enumerate(models()):
        program, folder = lower(planned(network, quantized), streams[i % 3]), tmp_path / str(i)
        write_sources(program, ["test"], folder)
        drivers.append(folder / f"{network.name}.c")
    assert_clean(analyzer, drivers, [])


def test_every_kernel_is_analyzed() -> None:
    assert set(PROCESSORS) == set(NEEDED_MACROS)
    assert set(sources(list(PROCESSORS))) == {k.source for k in kernel_table().values()}


@pytest.mark.parametrize("kernel_set", PROCESSORS)
def test_kernels(analyzer: str, kernel_set: str) -> None:
    files = [KERNEL_DIR / name for name in sources([kernel_set])]
    clang = [*PROCESSORS[kernel_set], "-idirafter", str(RUNTIME_DIR)]
    cppcheck = [f"-D{name}=1" for name in NEEDED_MACROS[kernel_set]]
    if kernel_set != "ref":  # cppcheck does not read assembly, which uses members of structs
        cppcheck.append("--suppress=unusedStructMember")
    assert_clean(analyzer, files, [KERNEL_DIR], clang=clang, cppcheck=cppcheck)


@pytest.mark.parametrize("int8", [False, True])
def test_firmware(packages: Packages, analyzer: str, int8: bool) -> None:
    output = packages("cell", int8=int8)
    sources = sorted((output / "firmware").glob("*.c"))
    names = {"board_main.c", "firmware_main.c", "semihosting.c", "startup_cortex_m.c"}
    assert {source.name for source in sources} == names
    folders = [output / "src", output / "firmware"]
    assert_clean(analyzer, [*sources, RUNTIME_DIR / "memory.c"], folders, clang=CORTEX_M)


def test_samples_of_packages(packages: Packages, tmp_path: Path, analyzer: str) -> None:
    for name, text in ZEPHYR.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    output = packages("cell")
    (archive,) = (output / "cmsis-pack").glob("*.pack")
    pack = unzipped(archive, tmp_path / "pack") / "templates" / "cell_main.c"
    sample = output / "zephyr/cell/samples/classify/src/main.c"
    assert_clean(analyzer, [sample, pack], [output / "src", tmp_path], clang=CORTEX_M)


@pytest.mark.parametrize("quantized", [False, True])
def test_programs_and_native_methods(tmp_path: Path, analyzer: str, quantized: bool) -> None:
    network = planned(l2mu(), quantized)
    product = unbuilt(network, HOST, samples(network, 1)[0], tmp_path)
    write_sources(product.program, product.stamp, product.sources)
    for name, text in {
        "l2mu_model.h": render("l2mu_model.h.jinja", {**model_names(product), "window": False}),
        "l2mu_jni_model.h": render("java/jni_model.h.jinja", java.view(product)),
    }.items():
        (tmp_path / name).write_text(text)
    names = ("executable_main", "sample_reader", "l2mu_jni", "count_instructions")
    sources = [RUNTIME_DIR / f"{name}.c" for name in names]
    assert_clean(analyzer, sources, [product.sources, tmp_path])


def test_faults_are_found(tmp_path: Path, analyzer: str) -> None:
    bad = tmp_path / "bad.c"
    bad.write_text("int f(int n)\n{\n    int a[2] = {0};\n    a[2] = n;\n    return a[0] / 0;\n}\n")
    with pytest.raises(AssertionError, match=r"(?i)division by zero|array.*out of bounds"):
        assert_clean(analyzer, [bad], [])
