"""The value of ``--nir``, and what files and their producers say themselves."""

from __future__ import annotations

import numpy as np
import pytest
from nir_graphs import f32

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.nir_reading import (
    PRODUCERS,
    NirOptions,
    parse_options,
    reading,
    said_in_metadata,
)


def test_options() -> None:
    assert parse_options(None) == NirOptions()
    assert parse_options("producer=norse, dt=1e-3,reset=zero,start=leak") == NirOptions(
        "norse", 1e-3, "zero", "leak"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--nir : write producer=..., dt=..., reset=..., start=..."),
        ("norse", "--nir norse: write producer=..., "),
        ("dt=", "--nir dt=: write producer="),
        ("producers=norse", "did you mean producer?"),
        ("producer=brian", "--nir producer=brian: one of l2mu-compile, nir, snntorch, norse"),
        ("reset=hard", "--nir reset=hard: one of subtract, subtract_first, zero, clamp, none"),
        ("start=here", "--nir start=here: one of zero, leak"),
        ("dt=soon", "--nir dt=soon: a time above 0"),
        ("dt=0", "--nir dt=0: a time above 0"),
        ("dt=nan", "--nir dt=nan: a time above 0"),
        ("dt=1,dt=2", "--nir: dt is given twice"),
    ],
)
def test_options_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(text)
    assert message in str(caught.value)


def test_the_user_is_heard_before_the_file_and_the_file_before_the_producer() -> None:
    metadata = said_in_metadata({"producer": "norse", "dt": 1e-4, "reset": "subtract", "made": "x"})
    read = reading(NirOptions(reset="none"), metadata)
    assert (read.name, read.dt, read.reset, read.start) == ("norse", 1e-4, "none", "leak")
    assert (read.overrides, read.assumed) == (True, ())
    assert reading(NirOptions(), metadata).overrides is False


def test_what_is_left_open_is_assumed_and_said() -> None:
    read = reading(NirOptions(producer="sinabs"), NirOptions())
    assert (read.dt, read.reset) == (1.0, "subtract_first")
    assert read.note() == (
        "read as sinabs means it, dt=1, reset=subtract_first; the file does not say dt and reset "
        "(--nir dt=...)"
    )


def test_producers_nobody_knows_are_left_out_of_account() -> None:
    assert said_in_metadata({"producer": "someone"}) == NirOptions()


@pytest.mark.parametrize("values", [{"dt": -1.0}, {"dt": "x"}, {"reset": "x"}, {"reset": 3.0}])
def test_metadata_that_makes_no_sense(values: dict[str, str | float]) -> None:
    with pytest.raises(ModelError, match="its metadata makes no sense"):
        said_in_metadata(values)


@pytest.mark.parametrize("name", PRODUCERS)
def test_long_time_constants_hardly_decay_and_none_gives_more_than_it_got(name: str) -> None:
    producer, tau = PRODUCERS[name], np.array([1e3, 1e9])
    found = producer.decay(tau, producer.dt)
    assert (np.diff(found) > 0).all()
    assert (found <= 1).all()
    assert found[1] > 1 - 1e-8


def test_what_an_exporter_divides_by_its_dt_in_float32_has_a_gain_of_1() -> None:
    tau = 1e-4 / (1 - f32(np.linspace(0, 0.999, 999)))
    gain = PRODUCERS["snntorch"].lif_gain(tau, tau / 1e-4, 1e-4)
    assert np.abs(gain - 1).max() < 2.0**-22
