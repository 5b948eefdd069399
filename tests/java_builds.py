"""Networks compiled with the packages for Java, and the tools that run them; tests skip without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from numpy.typing import NDArray

from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.frontend import Model
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.pipeline import default_pipeline, run_passes
from l2mu_compile.report import Report, Source
from l2mu_compile.targets.record import Target
from l2mu_compile.windows import Windows


def pipeline(quantized: bool, calibrated: bool = True) -> tuple[Pass, ...]:
    """The passes that `package` runs."""
    return default_pipeline(quantized, calibrated)


def package(
    network: Network,
    target: Target,
    artifact: str,
    x: NDArray | None,
    folder: Path,
    *,
    quantized: bool = False,
    hop: int | None = None,
    java_package: str | None = None,
) -> Report:
    """``network`` compiled and packaged in ``folder``; without windows ``x`` it has no stream."""
    job = Job(
        target,
        pipeline(quantized, x is not None),
        None if x is None else Windows(x),
        hop=hop,
        artifacts=(artifact,),
        java_package=java_package,
        command=("l2mu-compile", "test"),
    )
    return compile_model(Model(network, Source(kind="network", name=network.name)), job, folder)


def final(network: Network, target: Target, x: NDArray, quantized: bool) -> Network:
    """What `package` made of ``network`` for ``target``."""
    return run_passes(network, pipeline(quantized), Context(target, x))


def tool(name: str) -> str:
    """The path of a program; the test is skipped where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH")
    return found


def jdk_headers() -> Path:
    """The JDK's C headers; the test is skipped where there are none."""
    folder = Path(tool("javac")).resolve().parent.parent / "include"
    if not (folder / "jni.h").is_file():
        pytest.skip("the JDK has no jni.h")
    return folder
