"""Boards: every one is its target with other memory, and compiles."""

from __future__ import annotations

import pytest

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.boards import BOARDS, Board, get_board
from l2mu_compile.targets.registry import get_target

WANTED = """arduino-nano-33-ble nucleo-f411re stm32f746g-disco stm32h747i-disco b-l475e-iot01a
rpi-pico rpi-pico2 nrf52840dk nrf5340dk rpi-3b-plus rpi-4 rpi-zero-2w stm32mp157-dk2 stm32mp257
microbit mps2-an385 mps2-an386 mps2-an500 mps2-an505 mps3-an547""".split()


def test_the_boards_there_are() -> None:
    assert sorted(BOARDS) == sorted(WANTED)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_board_is_its_target_elsewhere(board: Board) -> None:
    plain, target = get_target(board.target), board.applied()
    assert get_board(board.name) is board
    assert (target.name, target.triple, target.artifacts) == (
        plain.name,
        plain.triple,
        plain.artifacts,
    )
    assert board.clock_hz >= 16_000_000
    if board.memory is not None:
        assert target.memory == board.memory
        assert target.memory.stack_bytes < board.ram_bytes == board.memory.ram.size
        assert (target.qemu is not None) == (board.qemu is not None)
    else:
        assert not plain.freestanding


def test_an_unknown_board_lists_names_and_suggests() -> None:
    with pytest.raises(UsageError, match=r"known: arduino-nano.* did you mean 'rpi-pico'\?"):
        get_board("rpi_pico")
