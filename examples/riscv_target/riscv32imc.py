"""A target in a file: microcontrollers with a RISC-V core, RV32IMC, without a FPU.

l2mu-compile compile har.ckpt --target riscv32imc --plugin riscv32imc.py -o out/har
"""

from __future__ import annotations

from pathlib import Path

from l2mu_compile.targets.record import EmulatorModel, Memory, Region, Target

HERE = Path(__file__).resolve().parent
MIB = 1 << 20

# Flash and RAM as on SiFive's FE310, but larger; another board's go here.
MEMORY = Memory(flash=Region(0x2000_0000, 4 * MIB), ram=Region(0x8000_0000, 4 * MIB))

# The calling convention is that of the RISC-V psABI: arguments in a0 to a7, the result in a0.
UNICORN = EmulatorModel(
    arch="UC_ARCH_RISCV",
    mode=("UC_MODE_RISCV32",),
    cpu="UC_CPU_RISCV32_SIFIVE_E31",
    constants="riscv_const",
    register_prefix="UC_RISCV_REG_",
    arguments=("A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7"),
    result="A0",
    stack_pointer="SP",
    link="RA",
    program_counter="PC",
    breakpoint=bytes.fromhex("73001000"),  # ebreak
    entry="elf_entry",
)

RISCV32IMC = Target(
    name="riscv32imc",
    description="RISC-V RV32IMC microcontroller (multiplication, compressed instructions, no FPU)",
    arch="other",
    triple="riscv32-freestanding-none",
    cpu="generic_rv32+m+c",
    pointer_bytes=4,
    artifacts=("lib", "firmware", "cmake"),
    emulator=UNICORN,
    memory=MEMORY,
    startup=(str(HERE / "startup_riscv.c"),),
    program=(str(HERE / "riscv_main.c"),),
    linker_script=str(HERE / "riscv.ld.jinja"),
)

PLUGIN = [RISCV32IMC]
