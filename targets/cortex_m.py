"""Arm Cortex-M targets: freestanding Thumb code, firmware images for the boards QEMU knows.

Cores with a floating-point unit pass floats in its registers (hard-float ABI); ``--mattr`` and
``--float-abi`` make other builds of the same core. Memory is that of QEMU's board for the core; a
real board's comes with ``--board``.
"""

from __future__ import annotations

from l2mu_compile.targets.record import EmulatorModel, Memory, Qemu, Region, Target

KIB = 1024
MIB = 1024 * KIB

# Arm Ltd, AN385, AN386 and AN500: 4 MiB of code memory at 0, 4 MiB of data memory.
MPS2 = Memory(flash=Region(0x0000_0000, 4 * MIB), ram=Region(0x2000_0000, 4 * MIB))
# AN505: secure aliases of SSRAM 1 (code) and SSRAM 2 and 3 (data).
MPS2_SECURE = Memory(flash=Region(0x1000_0000, 4 * MIB), ram=Region(0x3800_0000, 4 * MIB))
# AN547: code in the 2 MiB of SRAM at 0x1100_0000 (secure alias), data in 512 KiB of DTCM; the
# processor starts from the ITCM at 0.
MPS3_SECURE = Memory(
    flash=Region(0x1100_0000, 2 * MIB),
    ram=Region(0x3000_0000, 512 * KIB),
    reset_vectors=0,
)
# The processor's clock on each board, from the same application notes.
CLOCK_HZ = {
    "mps2-an385": 25_000_000,
    "mps2-an386": 25_000_000,
    "mps2-an500": 25_000_000,
    "mps2-an505": 20_000_000,
    "mps3-an547": 32_000_000,
}


def _cortex_m(
    name: str,
    description: str,
    cpu: str,
    memory: Memory,
    machine: str,
    emulated: str | None = None,
    kernel_sets: tuple[str, ...] = ("dsp", "ref"),
) -> Target:
    """A core: zig's name for it, and the processors that unicorn and QEMU emulate it with."""
    hard = "+" in cpu
    return Target(
        name=name,
        description=description,
        arch="arm",
        triple=f"thumb-freestanding-{'eabihf' if hard else 'eabi'}",
        cpu=cpu,
        pointer_bytes=4,
        kernel_sets=kernel_sets,
        cflags=("-fno-unroll-loops",),  # the loops that matter are unrolled by hand
        artifacts=("lib", "firmware", "cmake", "arduino", "zephyr", "cmsis-pack"),
        emulator=_emulator(f"UC_CPU_ARM_{emulated}") if emulated else None,
        qemu=Qemu("qemu-system-arm", ("-M", machine), CLOCK_HZ[machine]),
        memory=memory,
        startup=("startup_cortex_m.c",),
        linker_script="cortex_m.ld.jinja",
    )


def _emulator(cpu: str) -> EmulatorModel:
    return EmulatorModel(
        arch="UC_ARCH_ARM",
        mode=("UC_MODE_THUMB", "UC_MODE_MCLASS"),
        cpu=cpu,
        constants="arm_const",
        register_prefix="UC_ARM_REG_",
        arguments=("R0", "R1", "R2", "R3"),
        result="R0",
        stack_pointer="SP",
        link="LR",
        program_counter="PC",
        code_bit=1,
        entry="vector_table",
        devices=(Region(0xE000_E000, 4 * KIB),),
    )


CORTEX_M0PLUS = _cortex_m(
    "cortex-m0plus",
    "Arm Cortex-M0+ (ARMv6-M)",
    "cortex_m0plus",
    MPS2,
    "mps2-an385",
    "CORTEX_M0",
    ("m0", "ref"),
)
CORTEX_M3 = _cortex_m(
    "cortex-m3",
    "Arm Cortex-M3 (ARMv7-M)",
    "cortex_m3",
    MPS2,
    "mps2-an385",
    "CORTEX_M3",
    ("m0", "ref"),
)
CORTEX_M4 = _cortex_m(
    "cortex-m4",
    "Arm Cortex-M4 (ARMv7E-M, DSP instructions, no FPU)",
    "cortex_m4",
    MPS2,
    "mps2-an386",
    "CORTEX_M4",
)
CORTEX_M4F = _cortex_m(
    "cortex-m4f",
    "Arm Cortex-M4 with FPU (ARMv7E-M, DSP instructions)",
    "cortex_m4+vfp4d16sp",
    MPS2,
    "mps2-an386",
    "CORTEX_M4",
    ("dsp", "fpu", "ref"),
)
CORTEX_M7 = _cortex_m(
    "cortex-m7",
    "Arm Cortex-M7 with single-precision FPU (ARMv7E-M, DSP instructions)",
    "cortex_m7+fp_armv8d16sp",
    MPS2,
    "mps2-an500",
    "CORTEX_M7",
    ("dsp", "fpu", "ref"),
)
CORTEX_M33 = _cortex_m(
    "cortex-m33",
    "Arm Cortex-M33 with FPU (ARMv8-M, DSP instructions)",
    "cortex_m33+dsp+fp_armv8d16sp",
    MPS2_SECURE,
    "mps2-an505",
    "CORTEX_M33",
    ("dsp", "fpu", "ref"),
)
# Helium for integers alone: its floating-point instructions flush subnormal numbers to zero, which
# the scalar unit does not.
CORTEX_M55 = _cortex_m(
    "cortex-m55",
    "Arm Cortex-M55 (ARMv8.1-M, Helium vector instructions, FPU)",
    "cortex_m55+mve+fp_armv8d16",
    MPS3_SECURE,
    "mps3-an547",
    kernel_sets=("mve", "dsp", "fpu", "ref"),
)
# QEMU knows no Cortex-M85; a Cortex-M55 executes the same instructions but for pointer
# authentication, which is not used here.
CORTEX_M85 = _cortex_m(
    "cortex-m85",
    "Arm Cortex-M85 (ARMv8.1-M, Helium vector instructions, FPU), run on a Cortex-M55",
    "cortex_m85+mve+fp_armv8d16",
    MPS3_SECURE,
    "mps3-an547",
    kernel_sets=("mve", "dsp", "fpu", "ref"),
)
