"""Boards by name: a target with the memory and clock of a product that people have on their desk.

Sizes are those of the makers' data sheets; a bootloader's share of flash is left out where the
board ships with one. Boards that QEMU emulates run their whole firmware image there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.cortex_m import (
    CLOCK_HZ,
    KIB,
    MIB,
    MPS2,
    MPS2_SECURE,
    MPS3_SECURE,
)
from l2mu_compile.targets.record import Memory, Qemu, Region, Target
from l2mu_compile.targets.registry import get_target

GIB = 1024 * MIB
MHZ = 1_000_000


@dataclass(frozen=True)
class Board:
    """A board: its target, clock and memory.

    ``clock_hz`` is the core's highest. ``memory`` is there for microcontrollers, ``ram_bytes`` for
    all. ``cpu`` is zig's name where it is not the target's own; ``qemu`` the machine that is it.
    """

    name: str
    description: str
    target: str
    clock_hz: int
    ram_bytes: int
    memory: Memory | None = None
    cpu: str | None = None
    qemu: str | None = None

    def applied(self) -> Target:
        """The board's target with the board's memory, processor and emulator."""
        target = get_target(self.target)
        machine = target.qemu
        if self.qemu is not None:
            machine = Qemu("qemu-system-arm", ("-M", self.qemu), self.clock_hz)
        return replace(
            target,
            memory=self.memory or target.memory,
            cpu=self.cpu or target.cpu,
            qemu=machine if self.qemu or self.memory is None else None,
        )


def _micro(
    name: str,
    description: str,
    target: str,
    clock: int,
    flash: Region,
    ram: Region,
    qemu: str | None = None,
) -> Board:
    memory = Memory(flash, ram, stack_bytes=min(8 * KIB, ram.size // 4))
    return Board(name, description, target, clock, ram.size, memory, qemu=qemu)


def _qemu(name: str, target: str, memory: Memory) -> Board:
    text = f"Arm {name.upper().replace('-', ' ')} in QEMU"
    return Board(name, text, target, CLOCK_HZ[name], memory.ram.size, memory, qemu=name)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        # Nordic nRF52840 Product Specification v1.7; the Arduino bootloader keeps the first 64 KiB.
        _micro(
            "arduino-nano-33-ble",
            "Arduino Nano 33 BLE (Sense): nRF52840",
            "cortex-m4f",
            64 * MHZ,
            Region(0x0001_0000, 960 * KIB),
            Region(0x2000_0000, 256 * KIB),
        ),
        _micro(
            "nrf52840dk",
            "Nordic nRF52840 DK",
            "cortex-m4f",
            64 * MHZ,
            Region(0x0000_0000, 1 * MIB),
            Region(0x2000_0000, 256 * KIB),
        ),
        # Nordic nRF5340 Product Specification v1.3.1, application core.
        _micro(
            "nrf5340dk",
            "Nordic nRF5340 DK, application core",
            "cortex-m33",
            128 * MHZ,
            Region(0x0000_0000, 1 * MIB),
            Region(0x2000_0000, 512 * KIB),
        ),
        # ST DS10314 (STM32F411xE).
        _micro(
            "nucleo-f411re",
            "ST Nucleo-F411RE",
            "cortex-m4f",
            100 * MHZ,
            Region(0x0800_0000, 512 * KIB),
            Region(0x2000_0000, 128 * KIB),
        ),
        # ST DS10916 (STM32F746xG): DTCM, SRAM1 and SRAM2 follow each other.
        _micro(
            "stm32f746g-disco",
            "ST STM32F746G Discovery",
            "cortex-m7",
            216 * MHZ,
            Region(0x0800_0000, 1 * MIB),
            Region(0x2000_0000, 320 * KIB),
        ),
        # ST DS12930 (STM32H747xI), Cortex-M7: data in the AXI SRAM.
        _micro(
            "stm32h747i-disco",
            "ST STM32H747I Discovery, Cortex-M7",
            "cortex-m7",
            480 * MHZ,
            Region(0x0800_0000, 2 * MIB),
            Region(0x2400_0000, 512 * KIB),
        ),
        # ST DS10969 (STM32L475xG): data in SRAM1.
        _micro(
            "b-l475e-iot01a",
            "ST B-L475E-IOT01A (STM32L4 IoT node)",
            "cortex-m4f",
            80 * MHZ,
            Region(0x0800_0000, 1 * MIB),
            Region(0x2000_0000, 96 * KIB),
        ),
        # RP2040 Datasheet 2.6: code runs from the Pico's 2 MiB of QSPI flash.
        _micro(
            "rpi-pico",
            "Raspberry Pi Pico (RP2040)",
            "cortex-m0plus",
            133 * MHZ,
            Region(0x1000_0000, 2 * MIB),
            Region(0x2000_0000, 264 * KIB),
        ),
        # RP2350 Datasheet: 4 MiB of QSPI flash on the Pico 2.
        _micro(
            "rpi-pico2",
            "Raspberry Pi Pico 2 (RP2350, Arm cores)",
            "cortex-m33",
            150 * MHZ,
            Region(0x1000_0000, 4 * MIB),
            Region(0x2000_0000, 520 * KIB),
        ),
        # Nordic nRF51822 Product Specification v3.4; QEMU's machine has the same.
        _micro(
            "microbit",
            "BBC micro:bit (nRF51822, Cortex-M0)",
            "cortex-m0plus",
            16 * MHZ,
            Region(0x0000_0000, 256 * KIB),
            Region(0x2000_0000, 16 * KIB),
            qemu="microbit",
        ),
        _qemu("mps2-an385", "cortex-m3", MPS2),
        _qemu("mps2-an386", "cortex-m4f", MPS2),
        _qemu("mps2-an500", "cortex-m7", MPS2),
        _qemu("mps2-an505", "cortex-m33", MPS2_SECURE),
        _qemu("mps3-an547", "cortex-m55", MPS3_SECURE),
        Board("rpi-3b-plus", "Raspberry Pi 3B+", "cortex-a53", 1400 * MHZ, 1 * GIB),
        Board("rpi-4", "Raspberry Pi 4", "cortex-a72", 1500 * MHZ, 1 * GIB),
        Board("rpi-zero-2w", "Raspberry Pi Zero 2 W", "cortex-a53", 1000 * MHZ, 512 * MIB),
        Board(
            "stm32mp157-dk2",
            "ST STM32MP157F-DK2, Cortex-A7",
            "cortex-a7",
            800 * MHZ,
            512 * MIB,
        ),
        Board(
            "stm32mp257",
            "ST STM32MP257F-EV1, Cortex-A35",
            "cortex-a53",
            1500 * MHZ,
            4 * GIB,
            cpu="cortex_a35",
        ),
    )
}


def chosen_target(target: str | None, board: str | None) -> Target:
    """The target that a target's name, a board's name, or both mean; the host without either.

    Raises `UsageError` for unknown names and for a board with another processor than the target.
    """
    if board is None:
        return get_target(target or "host")
    chosen = get_board(board)
    if target is not None and get_target(target).name != chosen.target:
        raise UsageError(f"board '{board}' has a {chosen.target}: leave out --target {target}")
    return chosen.applied()


def get_board(name: str) -> Board:
    """The board called ``name``; raises `UsageError` with the known names if there is none."""
    if name in BOARDS:
        return BOARDS[name]
    close = get_close_matches(name.lower().replace("_", "-"), BOARDS, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"unknown board '{name}' (known: {', '.join(BOARDS)}){hint}")
