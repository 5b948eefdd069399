"""Android targets, one for each ABI, built without the NDK: the code needs no system."""

from __future__ import annotations

from dataclasses import replace

from l2mu_compile.targets.cortex_a import AARCH64_EMULATOR, ARM_EMULATOR
from l2mu_compile.targets.record import Qemu, Target

# Android 15 loads libraries whose segments are aligned to 16 KiB on every device.
_LIBRARY = ("-Wl,-z,max-page-size=16384",)

ANDROID_ARM64 = Target(
    name="android-arm64-v8a",
    description="64-bit Arm Android",
    arch="aarch64",
    triple="aarch64-linux-android",
    cpu="baseline",
    pointer_bytes=8,
    artifacts=("lib", "cmake", "aar"),
    shared=True,
    ldflags=_LIBRARY,
    emulator=AARCH64_EMULATOR,
    qemu=Qemu("qemu-aarch64"),
)
# The ABI passes floats in integer registers (softfp) but computes with VFPv3 and NEON. zig's
# Android triple knows soft float alone, so code is compiled for no system and linked for Android.
ANDROID_ARM = Target(
    name="android-armeabi-v7a",
    description="32-bit Arm Android (softfp calls, NEON)",
    arch="arm",
    triple="thumb-freestanding-eabi",
    link_triple="thumb-linux-androideabi",
    cpu="generic+v7a+neon",
    pointer_bytes=4,
    artifacts=("lib", "cmake", "aar"),
    shared=True,
    cflags=("-mfloat-abi=softfp",),
    ldflags=_LIBRARY,
    emulator=replace(ARM_EMULATOR, mode=("UC_MODE_THUMB",), code_bit=1, instruction_bytes=0),
    qemu=Qemu("qemu-arm"),
)
ANDROID_X86_64 = Target(
    name="android-x86_64",
    description="64-bit x86 Android",
    arch="x86_64",
    triple="x86_64-linux-android",
    cpu="baseline",
    pointer_bytes=8,
    artifacts=("lib", "cmake", "aar"),
    shared=True,
    ldflags=_LIBRARY,
    qemu=Qemu("qemu-x86_64"),
)

# What Android calls each of them, in archives and on devices.
ABIS = {"arm64-v8a": ANDROID_ARM64, "armeabi-v7a": ANDROID_ARM, "x86_64": ANDROID_X86_64}
