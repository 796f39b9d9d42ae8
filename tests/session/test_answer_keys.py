r"""`number_key` and `latex_key`: an answer in another notation is the same vote."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.stdlib.sampling import MajorityVoting, latex_key, number_key


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It is 1,000.0.", 1000),
        ("1 000 and 1_000, 1'000, 1\u00a0000, 1\u2009000", 1000),
        ("first 3, then 5", 5),
        ("1,2,3", 3),
        ("-5", -5),
        ("\u22125", -5),
        ("+5", 5),
        ("pages 3-5", 5),
        ("COVID-19", 19),
        ("-$5", -5),
        ("$-5", -5),
        ("\u20ac 1,234.50", Fraction("1234.5")),
        ("5 \u20ac", 5),
        (".5", Fraction("0.5")),
        ("-.5", Fraction("-0.5")),
        ("1/2", Fraction(1, 2)),
        ("-1 / 2", Fraction(-1, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("1\u00bd", Fraction(3, 2)),
        ("\u00be", Fraction(3, 4)),
        ("50%", Fraction(1, 2)),
        ("50 per cent", Fraction(1, 2)),
        (r"50\%", Fraction(1, 2)),
        ("1e3", 1000),
        ("2.5E-1", Fraction(1, 4)),
        ("1.5 \u00d7 10^3", 1500),
        (r"1.5 \times 10^{3}", 1500),
        ("2 * 10**3", 2000),
        ("3\u00b710\u207b\u00b2", Fraction("0.03")),
        ("10\u2075", 100_000),
        ("H2O has 3 atoms", 3),
        ("7 or 1/0", 7),
        ("12 km", 12),
    ],
)
def test_the_last_number_of_a_text(text: str, value: object) -> None:
    assert number_key(text) == value


@pytest.mark.parametrize("text", ["None of them.", "", "...", "x2", "-", "$"])
def test_without_a_number_the_text_is_the_key(text: str) -> None:
    assert number_key(text) == number_key(f"  {text.upper()} ")
    assert isinstance(number_key(text), str)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "1e999999999", "1e-999999999", "10^99999", "1/" + "9" * 5000]
)
def test_a_number_without_end_is_a_text(text: str) -> None:
    assert isinstance(number_key(text), str)
    assert isinstance(latex_key(rf"\boxed{{{text}}}"), str)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (r"\boxed{\frac{1}{2}}", r"So it is $0.5$."),
        (r"\boxed{\dfrac12}", r"\boxed{\tfrac{1}{2}}"),
        (r"\boxed{-\frac{1}{2}}", r"\boxed{\frac{-1}{2}}"),
        (r"\boxed{1\frac{1}{2}}", "It is 3/2."),
        (r"\boxed{50\%}", r"\(\frac{1}{2}\)"),
        (r"\boxed{\$1{,}000}", r"\[ 1000.0 \]"),
        (r"\boxed{\left( 1, 2 \right)}", r"\boxed{(1,2)}"),
        (r"\boxed{\text{Paris}}.", r"$\mathrm{Paris}.$"),
        (r"\boxed{\sqrt 2}", r"\boxed{\sqrt{2}}"),
        (r"\boxed{x\,+\,1}", r"$$x + 1$$"),
        (r"\boxed{{5}}", r"\fbox{5}"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{1}, and \boxed{2 is cut", "1"),
        (r"\boxed 7", "7"),
        (r"\boxed{\{1, 2\}}", r"$\{1,2\}$"),
        (r"of $x^2$ it is $y$", r"\boxed{y}"),
        ("It costs $5 and $6", "6"),
        (r"\boxed{\frac{x}{2}}", r"\boxed{ \dfrac {x} {2} }"),
    ],
)
def test_an_answer_in_another_notation_of_latex(text: str, other: str) -> None:
    assert latex_key(text) == latex_key(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (r"\boxed{\sqrt{4}}", r"\boxed{2}"),
        (r"\boxed{x}", r"\boxed{X}"),
        (r"\boxed{\leftarrow}", r"\boxed{arrow}"),
        (r"\boxed{(1,2)}", r"\boxed{(2,1)}"),
        (r"\boxed{1}", r"\boxed{-1}"),
        (r"\boxed{\frac{1}{0}}", r"\boxed{1}"),
        (r"\boxed{12}", r"\boxed{1}"),
        (r"\boxed{5 \text{ cm}}", r"\boxed{5}"),
    ],
)
def test_other_answers_have_other_keys(text: str, other: str) -> None:
    assert latex_key(text) != latex_key(other)


def test_nested_braces_belong_to_the_box() -> None:
    assert latex_key(r"\boxed{a_{b_{c}} + 1} and {more}") == "a_{b_{c}}+1"


values = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000)
decimals = st.decimals(min_value=-(10**6), max_value=10**6, places=3).map(Fraction)


def decimal(value: Fraction, grouped: bool = False) -> str:
    thousandths = value * 1000
    assert thousandths.denominator == 1
    whole, rest = divmod(abs(int(thousandths)), 1000)
    return (
        f"{'-' if value < 0 else ''}{whole:,}.{rest:03d}"
        if grouped
        else (f"{'-' if value < 0 else ''}{whole}.{rest:03d}")
    )


def notations(value: Fraction) -> list[str]:
    """A decimal number in many notations."""
    plain, sign = decimal(value), "-" if value < 0 else ""
    return [
        *(plain, plain + "00", decimal(value, grouped=True), plain.replace("-", "\u2212")),
        *(f"{decimal(value * 100)}%", f"{decimal(value * 100)} percent"),
        *(f"{plain}e0", f"{decimal(value * 1000)}e-3", f"{decimal(value * 1000)} \u00d7 10^-3"),
        *(f"{sign}${decimal(abs(value), grouped=True)}", f"${plain}"),
        *(f"{value.numerator}/{value.denominator}", f"{value.numerator} / {value.denominator}"),
    ]


@given(decimals)
def test_a_number_has_one_key_in_all_notations(value: Fraction) -> None:
    for notation in notations(value):
        assert number_key(notation) == value, notation
        assert number_key(f"Of 7 steps, the answer is {notation}.") == value, notation


@given(values)
def test_a_fraction_has_one_key_in_all_notations_of_latex(value: Fraction) -> None:
    upper, lower, sign = abs(value.numerator), value.denominator, "-" if value < 0 else ""
    for notation in (
        rf"\frac{{{value.numerator}}}{{{lower}}}",
        rf"{sign}\dfrac{{{upper}}}{{{lower}}}",
        rf"{sign}\tfrac {{ {upper} }} {{ {lower} }}",
        rf"{sign}{upper}/{lower}",
    ):
        for text in (rf"\boxed{{{notation}}}", f"so ${notation}$.", rf"\[{notation}\]"):
            assert latex_key(text) == number_key(f"{value}") == value, text


@given(decimals)
def test_a_decimal_has_one_key_within_and_without_latex(value: Fraction) -> None:
    for notation in (decimal(value), decimal(value, grouped=True).replace(",", "{,}")):
        assert latex_key(rf"Thus \boxed{{{notation}}}") == number_key(decimal(value))


@given(values, values)
def test_other_numbers_have_other_keys(one: Fraction, other: Fraction) -> None:
    assert (number_key(str(one)) == number_key(str(other))) is (one == other)


signs = list("0123456789 .,-+$%/eE^{}\\xX()[]~:'\u2212\u00bd\u00b2")
texts = st.text(st.sampled_from(signs) | st.characters())
pieces = st.lists(st.sampled_from([r"\boxed{", "}", "$", r"\frac", "{1}", "2", r"\text{", r"\("]))


@given(texts | pieces.map("".join))
def test_any_text_has_a_key_that_can_be_counted(text: str) -> None:
    for key in (number_key, latex_key):
        assert hash(key(text)) == hash(key(text))


def test_the_majority_is_counted_by_value() -> None:
    backend = ScriptedBackend([r"\boxed{\frac{1}{2}}"], ["It is 2."], ["It is 50%."])
    thunk = MelleaSession(backend).instruct("?", strategy=MajorityVoting(3, key=latex_key))
    assert thunk.value in (r"\boxed{\frac{1}{2}}", "It is 50%.")
    assert sorted(each.score for each in thunk.sampling.attempts) == [1, 2, 2]
