"""Make another build of a target: a different processor, features or float calling convention."""

from __future__ import annotations

import re
from dataclasses import replace

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.kernel_sets import with_usable_sets
from l2mu_compile.targets.record import Target

FLOAT_ABIS = ("soft", "softfp", "hard")

_FLOAT_FEATURES = re.compile(r"[+-](vfp\w+|fp_\w+|fp16\w*|fullfp16|fp64|mve_fp|neon\w*)")
_FEATURES = re.compile(r"([+-][A-Za-z0-9_.-]+)(,[+-][A-Za-z0-9_.-]+)*\Z")
_CPU = re.compile(r"[A-Za-z0-9_-]+\Z")


def refined(
    target: Target, mcpu: str | None = None, mattr: str | None = None, float_abi: str | None = None
) -> Target:
    """``target`` for processor ``mcpu``, with features ``mattr`` and calling convention
    ``float_abi``.

    Spellings are clang's: ``mcpu="cortex-m4"``, ``mattr="+vfp4d16sp,-dsp"``. ``float_abi`` is
    ``soft`` (no FPU instructions), ``softfp`` (FPU, floats passed in integer registers) or
    ``hard``, for microcontrollers. Whoever names a processor names its features too: those of
    the target's own record are dropped. Kernel sets are those that the processor can run, of the
    record's and its optional ones.
    Raises `UsageError`, and `ToolchainError` if the compiler does not know the processor.
    """
    if mcpu is not None:
        if not _CPU.match(mcpu):
            raise UsageError(f"--mcpu {mcpu}: not the name of a processor")
        target = replace(target, cpu=mcpu.replace("-", "_"))
    if mattr is not None:
        if not _FEATURES.match(mattr):
            raise UsageError(f"--mattr {mattr}: write +feature,-feature")
        features = [part[0] + re.sub(r"[-.]", "_", part[1:]) for part in mattr.split(",")]
        target = replace(target, cpu=target.cpu + "".join(features))
    if float_abi is not None:
        target = _with_float_abi(target, float_abi)
    if not mcpu and not mattr:
        return target
    sets = (*target.optional_sets, *target.kernel_sets)
    return with_usable_sets(replace(target, kernel_sets=sets, optional_sets=()))


def _with_float_abi(target: Target, float_abi: str) -> Target:
    if float_abi not in FLOAT_ABIS:
        raise UsageError(f"--float-abi {float_abi}: one of {', '.join(FLOAT_ABIS)}")
    if target.arch != "arm" or not target.freestanding:
        raise UsageError(f"--float-abi: target '{target.name}' has only one calling convention")
    system = target.triple.removesuffix("hf")
    if float_abi == "hard":
        if not _FLOAT_FEATURES.search(target.cpu):
            raise UsageError(
                f"--float-abi hard: target '{target.name}' has no FPU; name one with --mattr"
            )
        return replace(target, triple=f"{system}hf")
    if float_abi == "soft":
        return replace(target, triple=system, cpu=_FLOAT_FEATURES.sub("", target.cpu))
    return replace(target, triple=system, cflags=(*target.cflags, "-mfloat-abi=softfp"))
