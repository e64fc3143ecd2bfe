"""Numbers as people read them, the same in every view."""

from __future__ import annotations

import math


def count(number: int) -> str:
    """A count with thousands marked: 1,234,567."""
    return f"{number:,}"


def percent(value: float) -> str:
    """`value` per cent (12.3 is 12.3%), to two or three digits: 0.012%, 8.8%, 37.2%."""
    if 0 < value < 0.0001:
        return "<0.0001%"
    if value == 0 or value >= 10:
        return f"{_trimmed(f'{value:.1f}')}%"
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{_trimmed(f'{value:.{decimals}f}')}%"


def bytes_size(number: int) -> str:
    """Bytes in decimal units (1 MB is 1,000,000 bytes): 512 B, 3.4 MB, 120 GB."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{_three_digits(size) if unit != 'B' else round(size)} {unit}"
        size /= 1000
    return f"{_three_digits(size)} TB"


def duration(seconds: float) -> str:
    """A time span: 40 ms, 4.2 s, 3 min 20 s, 1 h 05 min."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    if seconds < 0.1:
        return f"{round(1000 * seconds)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    # Rounded to whole minutes, not cut: 59 min 59 s more is an hour more.
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def nats(loss: float) -> str:
    """A loss: 1.234; 4.2e-05 and 12,300 where three decimals would say nothing or too much."""
    if loss == 0 or not math.isfinite(loss) or 0.01 <= abs(loss) < 1000:
        return f"{loss:.3f}"
    return f"{loss:.3g}" if abs(loss) < 1 else f"{float(f'{loss:.3g}'):,.0f}"


def figure(value: float, *, share: bool = False) -> str:
    """What an objective measures: 0.123, -4.56, 78.9; a `share` of 1 in per cent: 93.8%."""
    if share and math.isfinite(value):
        return percent(round(100 * value, 1))
    return nats(value) if abs(value) < 10 or not math.isfinite(value) else f"{value:,.1f}"


def _three_digits(size: float) -> str:
    return f"{size:.1f}" if size < 99.95 else f"{size:.0f}"


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number
