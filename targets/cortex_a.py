"""Arm Cortex-A targets under Linux: static and shared libraries that need no C library."""

from __future__ import annotations

from l2mu_compile.targets.record import EmulatorModel, Qemu, Target

# Architectural feature access control: SIMD and floating point in user and kernel code.
# Arm Architecture Reference Manual, CPACR (ARMv7-A, B4.1.40) and FPEXC.EN (B6.1.39).
_ARM_FPU = (("C1_C0_2", 0xF << 20), ("FPEXC", 1 << 30))

ARM_EMULATOR = EmulatorModel(
    arch="UC_ARCH_ARM",
    mode=("UC_MODE_ARM",),
    cpu="UC_CPU_ARM_CORTEX_A7",
    constants="arm_const",
    register_prefix="UC_ARM_REG_",
    arguments=("R0", "R1", "R2", "R3"),
    result="R0",
    stack_pointer="SP",
    link="LR",
    program_counter="PC",
    instruction_bytes=4,
    entry="library",
    setup=_ARM_FPU,
)
AARCH64_EMULATOR = EmulatorModel(
    arch="UC_ARCH_ARM64",
    mode=("UC_MODE_ARM",),
    cpu="UC_CPU_ARM64_MAX",
    constants="arm64_const",
    register_prefix="UC_ARM64_REG_",
    arguments=tuple(f"X{i}" for i in range(8)),
    result="X0",
    stack_pointer="SP",
    link="LR",
    program_counter="PC",
    instruction_bytes=4,
    entry="library",
)


def _aarch64(name: str, description: str, cpu: str) -> Target:
    return Target(
        name=name,
        description=description,
        arch="aarch64",
        triple="aarch64-linux-musl",
        cpu=cpu,
        pointer_bytes=8,
        artifacts=("lib", "executable", "cmake", "java"),
        shared=True,
        emulator=AARCH64_EMULATOR,
        qemu=Qemu("qemu-aarch64"),
    )


CORTEX_A7 = Target(
    name="cortex-a7",
    description="Arm Cortex-A7 under Linux (ARMv7-A, NEON, hard float)",
    arch="arm",
    triple="arm-linux-musleabihf",
    cpu="cortex_a7",
    pointer_bytes=4,
    artifacts=("lib", "executable", "cmake", "java"),
    shared=True,
    emulator=ARM_EMULATOR,
    qemu=Qemu("qemu-arm"),
)
CORTEX_A53 = _aarch64(
    "cortex-a53", "Arm Cortex-A53 under 64-bit Linux (ARMv8-A, NEON)", "cortex_a53"
)
CORTEX_A72 = _aarch64(
    "cortex-a72", "Arm Cortex-A72 under 64-bit Linux (ARMv8-A, NEON)", "cortex_a72"
)
CORTEX_A76 = _aarch64(
    "cortex-a76", "Arm Cortex-A76 under 64-bit Linux (ARMv8.2-A, dot product)", "cortex_a76"
)
