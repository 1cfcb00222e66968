"""A time as people say it."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """Such as "42 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
