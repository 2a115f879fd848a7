"""How numbers are written, in one place: as many digits as their uncertainty allows."""

from __future__ import annotations

import math

MISSING = "-"
SMALL, LARGE = 1e-4, 1e7
"""Outside these, numbers are written with an exponent."""


def number(value: float | None, *, digits: int = 4) -> str:
    """Write `value` with `digits` significant digits; integers in full; None and NaN as `-`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if not SMALL <= abs(value) < LARGE:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"


def with_error(value: float | None, error: float | None) -> str:
    """Write `value ± error`: the error to one digit (two after a leading 1), the value likewise.

    `with_error(101.2345, 0.0512)` is `101.23 ± 0.05`; without an error, four significant digits.
    """
    if value is None or not math.isfinite(value):
        return number(value)
    if error is None or not math.isfinite(error):
        return number(float(value))
    if error <= 0:
        return f"{number(float(value), digits=6)} ± 0"
    exponent = _exponent(max(abs(value), error))
    if SMALL <= max(abs(value), error) < LARGE:
        place = _last_place(error)
        return f"{_at(value, place)} ± {_at(error, place)}"
    scale = 10.0**exponent
    place = _last_place(error / scale)
    return f"({_at(value / scale, place)} ± {_at(error / scale, place)})e{exponent:+03d}"


def interval(low: float | None, high: float | None, *, digits: int = 4) -> str:
    """Write an interval as `[low, high]`."""
    return f"[{number(low, digits=digits)}, {number(high, digits=digits)}]"


def out_of(part: int, *, whole: int) -> str:
    """Write `part of whole`, or only the part where the whole is not known (0)."""
    return f"{part} of {whole}" if whole else str(part)


def count(value: float) -> str:
    """Write a count or a speed: thousands apart (`37,012`), below 100 one decimal if it has any."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Write a time a person waits: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(octets: float) -> str:
    """Write a size in bytes: `512 B`, `9.9 MB`, `1.2 GB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 999.5 or unit == "GB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" or octets >= 99.95 else f"{octets:.1f} {unit}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


def _last_place(error: float) -> int:
    """Return the decimal place of the error's last digit (2 = hundredths, -1 = tens)."""
    leading = f"{error:.1e}"
    digits = 2 if leading.startswith("1") else 1
    return digits - 1 - int(f"{error:.{digits - 1}e}".partition("e")[2])


def _at(value: float, place: int) -> str:
    return f"{round(value, place):.{max(0, place)}f}"
