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


def _linux(
    name: str, description: str, cpu: str, *, bits: int = 64, dot_products: bool = False
) -> Target:
    """A processor under Linux: zig's name for it, how wide its addresses are, and whether it has
    the dot products of ARMv8.2-A."""
    wide = bits == 64
    kernel_sets = ("neon64" if wide else "neon32", "neon", "ref")
    return Target(
        name=name,
        description=description,
        arch="aarch64" if wide else "arm",
        triple="aarch64-linux-musl" if wide else "arm-linux-musleabihf",
        cpu=cpu,
        pointer_bytes=bits // 8,
        kernel_sets=("dotprod", *kernel_sets) if dot_products else kernel_sets,
        optional_sets=("dotprod",) if wide and not dot_products else (),
        artifacts=("lib", "executable", "cmake", "java"),
        shared=True,
        emulator=AARCH64_EMULATOR if wide else ARM_EMULATOR,
        qemu=Qemu("qemu-aarch64" if wide else "qemu-arm"),
    )


CORTEX_A7 = _linux(
    "cortex-a7", "Arm Cortex-A7 under Linux (ARMv7-A, NEON, hard float)", "cortex_a7", bits=32
)
CORTEX_A53 = _linux("cortex-a53", "Arm Cortex-A53 under 64-bit Linux (ARMv8-A, NEON)", "cortex_a53")
CORTEX_A72 = _linux("cortex-a72", "Arm Cortex-A72 under 64-bit Linux (ARMv8-A, NEON)", "cortex_a72")
CORTEX_A76 = _linux(
    "cortex-a76",
    "Arm Cortex-A76 under 64-bit Linux (ARMv8.2-A, dot product)",
    "cortex_a76",
    dot_products=True,
)
# What `host` is on such a machine, for those who compile elsewhere.
LINUX_AARCH64 = _linux(
    "linux-aarch64", "any 64-bit Arm machine under Linux (ARMv8-A, NEON)", "baseline"
)
