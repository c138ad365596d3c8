"""SITE:KIND@AMOUNT[,key=value]: what it means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.cim import SITES, Fault, parse_fault
from bnnkit.errors import UsageError


@given(site=st.sampled_from(list(SITES)), data=st.data(), amount=st.floats(0, 0.5))
def test_what_is_printed_is_read_back(site: str, data: st.DataObject, amount: float) -> None:
    kind = data.draw(st.sampled_from(SITES.get(site).kinds))
    rounded = float(f"{amount:g}")
    fault = Fault(site, kind, rounded)
    assert parse_fault(str(fault)) == fault
    assert fault.is_rate is (kind in ("flip", "stuck0", "stuck1", "random", "burst"))


def test_options() -> None:
    fault = parse_fault("input:random@1, bit=6")
    assert (fault.bit, fault.amount, fault.option("len")) == (6, 1.0, None)
    assert parse_fault("weight:burst@0.1,len=32").length == 32
    assert parse_fault("weight:burst@0.1").length == 8
    assert str(fault.at(0.25).with_option("bit", "5")) == "input:random@0.25,bit=5"


def test_sigma_of_latent_weights_is_squared_unless_it_is_a_standard_deviation() -> None:
    assert parse_fault("latent:gauss@0.4").std == pytest.approx(0.16)
    assert parse_fault("latent:gauss@0.4,std=plain").std == 0.4
    assert parse_fault("latent:lognormal@0.4").std == parse_fault("partial-sum:gauss@0.4").std == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight:flip", "SITE:KIND@RATE[,key=value] was needed"),
        ("weight@0.1", "was needed, with one of the sites activation, adc, cell"),
        ("weight:flip@one", "was needed"),
        ("weight:flip@1e", "'1e' is not a number"),
        ("weight:flip@0.1,bit", "was needed"),
        ("wieght:flip@0.1", "unknown fault site 'wieght'"),
        ("adc:gauss@0.1", "adc has no kind 'gauss'; one of flip, stuck0"),
        ("weight:flip@0.51", "rate 0.51; flip takes 0 to 0.5"),
        ("weight:flip@1", "rate 1; flip takes 0 to 0.5"),
        ("weight:burst@0.6", "rate 0.6; burst takes 0 to 0.5"),
        ("input:flip@1", "rate 1; flip takes 0 to 0.5"),
        ("weight:flip@-0.1", "rate -0.1; flip takes 0 to 0.5"),
        ("line:stuck0@1.5", "rate 1.5; stuck0 takes 0 to 1"),
        ("latent:gauss@-1", "sigma -1; a number of at least 0 was needed"),
        ("latent:gauss@1e999", "sigma inf; a number of at least 0 was needed"),
        ("weight:flip@0.1,bit=8", "bit=8; weight:flip takes bit=[0-7]"),
        ("weight:burst@0.1,bit=1", "weight:burst takes len="),
        ("line:flip@0.1,axis=diagonal", "line:flip takes axis=row|column"),
        ("cell:gauss@0.1,bit=1", "cell:gauss takes no options"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_fault(text)
    assert message in refused.value.message
    assert refused.value.hint


def test_one_bit_of_all_pixels_may_be_flipped() -> None:
    assert parse_fault("input:flip@1,bit=6").amount == 1
    with pytest.raises(UsageError):
        parse_fault("input:flip@0.75,bit=6")
