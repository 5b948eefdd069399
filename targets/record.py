"""What a target is: a frozen record of facts that passes, emitters, toolchain and emulator read.

Nothing in this package tests a target's name. A behaviour that differs between targets is a field
here, so a new target is a new record and no new code.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("arm", "aarch64", "x86_64", "other")
BUILT = ("lib", "firmware")
ARTIFACTS = (*BUILT, "executable", "cmake", "arduino", "zephyr", "cmsis-pack", "java", "aar")
ENTRY_KINDS = ("vector_table", "elf_entry", "library")


@dataclass(frozen=True)
class Region:
    """A range of addresses: ``origin`` and ``size`` in bytes."""

    origin: int
    size: int

    @property
    def end(self) -> int:
        """First address after the region."""
        return self.origin + self.size

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.origin <= address < self.end


@dataclass(frozen=True)
class Memory:
    """A device's memory for firmware images; ``stack_bytes`` of ``ram`` are kept for the stack.

    ``reset_vectors`` is where the processor looks for its stack pointer and first instruction, if
    that is not the start of ``flash``.
    """

    flash: Region
    ram: Region
    stack_bytes: int = 8192
    reset_vectors: int | None = None


@dataclass(frozen=True)
class EmulatorModel:
    """How the unicorn emulator runs a target's code; names are those of unicorn's constants.

    ``constants`` is the module that holds the processor and register names
    (``arm_const``); a register's constant is ``register_prefix`` and its name. ``code_bit`` is set
    in the address of code (1 for Thumb). ``instruction_bytes`` is the length of every instruction,
    or 0 where two and four bytes mix. ``breakpoint`` is the instruction by which code asks a host
    for semihosting, with the operation in the first argument's register and its parameter in the
    second's. ``entry`` says where reset finds its program counter; a ``library`` has no reset, and
    lies where its own headers say. ``setup`` are registers an operating system or start-up code
    would have set. ``devices`` are registers that start-up code may write; they are emulated as
    plain memory.
    """

    arch: str
    mode: tuple[str, ...]
    cpu: str
    constants: str
    register_prefix: str
    arguments: tuple[str, ...]
    result: str
    stack_pointer: str
    link: str
    program_counter: str
    code_bit: int = 0
    instruction_bytes: int = 0
    breakpoint: bytes = b"\xab\xbe"  # Thumb's bkpt 0xab
    entry: str = "vector_table"
    setup: tuple[tuple[str, int], ...] = ()
    devices: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Qemu:
    """How QEMU runs a target's images: a program of QEMU's and its options (``-M mps2-an386``).

    ``clock_hz`` is the processor's clock on that board, as SysTick counts it; with it instructions
    can be counted.
    """

    program: str
    options: tuple[str, ...] = ()
    clock_hz: int | None = None


@dataclass(frozen=True)
class Target:
    """One machine to compile for.

    ``triple`` and ``cpu`` are zig's (``zig targets`` lists them); ``link_triple`` is another one
    for linking, where the compiler's own allows no shared libraries. ``kernel_sets`` are in order
    of preference and end in the portable one; before them come ``optional_sets`` in builds for a
    processor that can run them (``--mcpu``, ``--mattr``). ``artifacts`` are the kinds of output
    there can be. ``shared`` targets load shared libraries, whose names end in ``shared_suffix``.

    ``memory``, ``startup`` (C files) and ``linker_script`` (a template) belong to targets that
    build firmware, as does ``program``: a main that classifies windows, C files and their headers.
    The files are in ``runtime/``, or anywhere else if their whole path is given. ``emulator`` runs
    single functions of what was built and counts their instructions, ``qemu`` runs whole images;
    code for the host itself needs neither.

    ``measured_as`` is the processor that kernels are measured for where ``cpu`` is this machine's
    own, which has whatever it has. ``byte_cost`` is what it takes to read a byte of weights, beside
    the instruction that does: in instructions that the processor could have finished meanwhile.

    Raises ValueError, naming the target and the rule, for a record that contradicts itself.
    """

    name: str
    description: str
    arch: str
    triple: str
    cpu: str
    pointer_bytes: int
    link_triple: str | None = None
    kernel_sets: tuple[str, ...] = ("ref",)
    optional_sets: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ("lib", "cmake")
    shared: bool = False
    shared_suffix: str = ".so"
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    emulator: EmulatorModel | None = None
    qemu: Qemu | None = None
    measured_as: str | None = None
    byte_cost: float = 0.0
    memory: Memory | None = None
    startup: tuple[str, ...] = ()
    program: tuple[str, ...] = (
        "firmware_main.c",
        "semihosting.c",
        "semihosting.h",
        "systick.h",
    )
    linker_script: str | None = None

    @property
    def freestanding(self) -> bool:
        """Whether the target has no operating system and no C library."""
        return "freestanding" in (self.link_triple or self.triple).split("-")

    @property
    def counts_instructions(self) -> bool:
        """Whether there is an emulator that counts the instructions of the target's code."""
        clock = self.qemu is not None and self.qemu.clock_hz is not None
        return self.emulator is not None or ("firmware" in self.artifacts and clock)

    @property
    def runs_on(self) -> str:
        """What runs this target's code to verify it."""
        if self.emulator is not None:
            return "emulator"
        return self.qemu.program if self.qemu else "this machine"

    def __post_init__(self) -> None:
        self._check_basics()
        self._check_artifacts()
        self._check_emulator()
        self._check_memory()

    def _check(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"target '{self.name}': {rule}")

    def _check_basics(self) -> None:
        self._check(
            bool(self.name) and self.name == self.name.strip().lower(),
            "the name is lower case and not empty",
        )
        self._check(self.arch in ARCHITECTURES, f"arch is one of {', '.join(ARCHITECTURES)}")
        self._check(bool(self.triple) and bool(self.cpu), "triple and cpu are not empty")
        self._check(self.pointer_bytes in (4, 8), "pointer_bytes is 4 or 8")
        self._check(
            len(set(self.kernel_sets)) == len(self.kernel_sets) > 0,
            "kernel_sets names at least one set, and none twice",
        )
        self._check(
            not set(self.optional_sets) & set(self.kernel_sets),
            "optional_sets names none of kernel_sets",
        )
        self._check(self.kernel_sets[-1] == "ref", "kernel_sets ends in 'ref', the portable one")

    def _check_artifacts(self) -> None:
        unknown = sorted(set(self.artifacts) - set(ARTIFACTS))
        self._check(
            not unknown and bool(self.artifacts), f"artifacts are among {', '.join(ARTIFACTS)}"
        )
        complete = bool(self.memory and self.startup and self.linker_script)
        self._check(
            "firmware" not in self.artifacts or complete,
            "firmware needs memory, startup and linker_script",
        )
        self._check(
            "firmware" not in self.artifacts or self.freestanding,
            "firmware needs a freestanding triple",
        )
        self._check(
            "executable" not in self.artifacts or not self.freestanding,
            "an executable needs an operating system",
        )
        self._check(
            not self.shared or not self.freestanding,
            "a freestanding target has no shared libraries",
        )

    def _check_emulator(self) -> None:
        if self.emulator is None:
            return
        self._check(
            self.emulator.entry in ENTRY_KINDS, f"emulator entry is one of {', '.join(ENTRY_KINDS)}"
        )
        self._check(
            self.shared if self.emulator.entry == "library" else self.memory is not None,
            "the emulator needs memory, or a shared library",
        )
        self._check(self.emulator.code_bit in (0, 1), "emulator code_bit is 0 or 1")
        self._check(
            self.emulator.instruction_bytes in (0, 4),
            "emulator instruction_bytes is 4, or 0 for mixed lengths",
        )
        self._check(len(self.emulator.arguments) > 0, "emulator arguments are not empty")

    def _check_memory(self) -> None:
        if self.memory is None:
            return
        flash, ram = self.memory.flash, self.memory.ram
        self._check(flash.size > 0 and ram.size > 0, "flash and ram are not empty")
        self._check(
            max(flash.end, ram.end) <= 1 << (8 * self.pointer_bytes),
            "flash and ram lie within the address space",
        )
        self._check(
            flash.end <= ram.origin or ram.end <= flash.origin, "flash and ram do not overlap"
        )
        stack = self.memory.stack_bytes
        self._check(
            0 < stack < ram.size and stack % 8 == 0,
            "stack_bytes is a multiple of 8 and smaller than ram",
        )
