import pytest

from ecgwb.explorer.lessons import check


@pytest.mark.parametrize(
    ("answer", "truth", "verdict"),
    [
        (..., 5.0, "no answer yet"),
        (None, "T", "no answer yet"),
        (390, 400.0, "right: 400 ms"),
        (370, 400.0, "not yet: too low. look again"),
        (430, 400.0, "not yet: too high. look again"),
        ("long", 400.0, "not yet: expected a number in ms. look again"),
        ("t", "T", "right: T"),
        ("QRS", "T", "not yet. look again"),
        (["T", "QRS"], ("QRS", "T"), "right: QRS, T"),
        (["T", "P"], ("QRS", "T"), "not yet; 1 of 2 are among them. look again"),
    ],
)
def test_right_is_told_from_wrong(answer, truth, verdict):
    assert check(answer, truth, within=15, unit="ms", hint="look again").startswith(verdict)
