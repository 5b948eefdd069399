"""Android targets, one for each ABI, built without the NDK: the code needs no system."""

from __future__ import annotations

from dataclasses import replace

from l2mu_compile.targets.cortex_a import AARCH64_EMULATOR, ARM_EMULATOR
from l2mu_compile.targets.record import EmulatorModel, Qemu, Target

# Android 15 loads libraries whose segments are aligned to 16 KiB on every device.
_LIBRARY = ("-Wl,-z,max-page-size=16384",)


def _android(
    abi: str,
    description: str,
    arch: str,
    emulator: EmulatorModel | None,
    kernel_sets: tuple[str, ...] = ("ref",),
    optional_sets: tuple[str, ...] = (),
) -> Target:
    """An ABI of 64 bits, by Android's name for it."""
    return Target(
        name=f"android-{abi}",
        description=description,
        arch=arch,
        triple=f"{arch}-linux-android",
        cpu="baseline",
        pointer_bytes=8,
        kernel_sets=kernel_sets,
        optional_sets=optional_sets,
        artifacts=("lib", "cmake", "aar"),
        shared=True,
        ldflags=_LIBRARY,
        emulator=emulator,
        qemu=Qemu(f"qemu-{arch}"),
    )


ANDROID_ARM64 = _android(
    "arm64-v8a",
    "64-bit Arm Android",
    "aarch64",
    AARCH64_EMULATOR,
    ("neon64", "neon", "ref"),
    ("dotprod",),
)
ANDROID_X86_64 = _android("x86_64", "64-bit x86 Android", "x86_64", None)
# The ABI passes floats in integer registers (softfp) but computes with VFPv3 and NEON. zig's
# Android triple knows soft float alone, so code is compiled for no system and linked for Android.
# For it zig takes away VFPv2, and with that LLVM takes NEON; the last flags give it back.
ANDROID_ARM = replace(
    _android(
        "armeabi-v7a",
        "32-bit Arm Android (softfp calls, NEON)",
        "arm",
        ARM_EMULATOR,
        ("neon32", "neon", "ref"),
    ),
    triple="thumb-freestanding-eabi",
    link_triple="thumb-linux-androideabi",
    cpu="generic+v7a+neon",
    pointer_bytes=4,
    cflags=("-mfloat-abi=softfp", "-Xclang", "-target-feature", "-Xclang", "+vfp2"),
    emulator=replace(ARM_EMULATOR, mode=("UC_MODE_THUMB",), code_bit=1, instruction_bytes=0),
)

# What Android calls each of them, in archives and on devices.
ABIS = {"arm64-v8a": ANDROID_ARM64, "armeabi-v7a": ANDROID_ARM, "x86_64": ANDROID_X86_64}
