from __future__ import annotations

import pytest

from dlcli.assignment.page import amount, formula, prose


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* `c_d*e*`", "a <em>b</em> <code>c_d*e*</code>"),
        ("10^26 and e^KL", "10<sup>26</sup> and e^KL"),
        ("μ_q = 0, L_recon", "μ<sub>q</sub> = 0, L<sub>recon</sub>"),
        ("<script> & `<b>`", "&lt;script&gt; &amp; <code>&lt;b&gt;</code>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_words(text: str, html: str) -> None:
    assert prose(text) == html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("-1.50 ± 0.02", "−1.50 ± 0.02"),
        ("[-0.53, -0.51]", "[−0.53, −0.51]"),
        ("1.2e-16", "1.2\u2009×\u200910<sup>−16</sup>"),
        ("3.0e+07", "3.0\u2009×\u200910<sup>7</sup>"),
        ("-∞", "−∞"),
    ],
)
def test_amounts(text: str, html: str) -> None:
    assert amount(text) == html


def test_formulas_have_wide_gaps() -> None:
    assert formula("x_{l+1} = 1,   z") == 'x<sub>l+1</sub> = 1,<span class="gap"></span>z'
