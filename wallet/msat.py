"""Amounts: integer millisatoshi, never floats."""

from typing import NewType

Msat = NewType("Msat", int)

MSAT_PER_SAT = 1000


def sat(amount: int) -> Msat:
    """Whole satoshi as msat."""
    return Msat(amount * MSAT_PER_SAT)


def show(amount: int, unit: str = "sat") -> str:
    """For people: `21 sat`, `1,234.567 sat`; exact, without floats."""
    sign, rest = ("-", -amount) if amount < 0 else ("", amount)
    whole, part = divmod(rest, MSAT_PER_SAT)
    fraction = f".{part:03d}".rstrip("0") if part else ""
    return f"{sign}{whole:,}{fraction} {unit}"
