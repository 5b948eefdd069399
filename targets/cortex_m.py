"""Arm Cortex-M targets: freestanding Thumb-2 code, firmware images run on the emulator."""

from __future__ import annotations

from l2mu_compile.targets.record import EmulatorModel, Memory, Region, Target

KIB = 1024
MIB = 1024 * KIB


def _m_profile(cpu: str) -> EmulatorModel:
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
        instruction_bytes=0,
        entry="vector_table",
        devices=(Region(0xE000_E000, 4 * KIB),),
    )


CORTEX_M4 = Target(
    name="cortex-m4",
    description="Arm Cortex-M4 (ARMv7E-M, DSP instructions, no FPU)",
    arch="arm",
    triple="thumb-freestanding-eabi",
    cpu="cortex_m4",
    pointer_bytes=4,
    kernel_sets=("ref",),
    artifacts=("static_library", "firmware"),
    emulator=_m_profile("UC_CPU_ARM_CORTEX_M4"),
    memory=Memory(
        flash=Region(0x0000_0000, 2 * MIB),
        ram=Region(0x2000_0000, 256 * KIB),
    ),
    startup=("startup_cortex_m.c",),
    linker_script="cortex_m.ld.jinja",
)
