"""A drawn pattern for a service that has no sample to show: one motif a trade, varied by the seller's key.

SVG made on the server; colours come from the style sheet (`.pattern`), so that light and dark both fit.
"""

import itertools
import math
import random

from markupsafe import Markup

from market.kinds import JOB_KINDS

WIDTH, HEIGHT = 320, 180


def pattern(kind: int, seed: str) -> Markup:
    """The picture of this kind of job; the same for the same seed."""
    chance = random.Random(f"{kind}:{seed}")
    trade = JOB_KINDS[kind].trade if kind in JOB_KINDS else "other"
    shapes = MOTIFS.get(trade, _dots)(chance)
    return Markup(
        f'<svg class="pattern t-{trade}" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMidYMid slice"'
        f' xmlns="http://www.w3.org/2000/svg" aria-hidden="true"><rect class="p0" width="{WIDTH}" height="{HEIGHT}"/>'
        f"{shapes}</svg>"
    )


def sparkline(billed: list[tuple[int, int]], asked: list[tuple[int, int | None]], now: int) -> Markup:
    """Prices over time, (time, msat) oldest first: what was announced as a line of steps, what was billed as dots.

    Empty where there is too little to draw: fewer than two bills and no change of the announced price.
    """
    known = [(at, msat) for at, msat in asked if msat is not None]
    if len(billed) < 2 and len(known) < 2:
        return Markup("")
    high = max(msat for _, msat in billed + known) * 1.15 or 1
    start = min(at for at, _ in billed + known)
    span = max(now - start, 1)

    def spot(at: int, msat: int) -> tuple[float, float]:
        return round(10 + 300 * max(at - start, 0) / span, 1), round(70 - 60 * msat / high, 1)

    line = ""
    for at, msat in known:
        x, y = spot(at, msat)
        line += f"H{x}V{y}" if line else f"M{x} {y}"
    asked_path = f'<path class="asked" d="{line}H310"/>' if line else ""
    dots = "".join(f'<circle class="billed" cx="{x}" cy="{y}" r="3"/>' for x, y in (spot(*bill) for bill in billed))
    return Markup(
        f'<svg class="spark" viewBox="0 0 {WIDTH} 76" xmlns="http://www.w3.org/2000/svg" aria-hidden="true">'
        f'<line x1="10" y1="70" x2="310" y2="70"/>{asked_path}{dots}</svg>'
    )


def _music(chance: random.Random) -> str:
    made = []
    for row in range(5):
        swing, turns, shift = chance.uniform(14, 34), chance.uniform(1.2, 3.2), chance.uniform(0, 6)
        middle = 45 + row * 23
        curve = " ".join(
            f"{x},{middle + swing * math.sin(x / WIDTH * turns * math.tau + shift) * math.sin(x / WIDTH * math.pi):.1f}"
            for x in range(0, WIDTH + 1, 8)
        )
        made.append(f'<polyline class="l{row % 3 + 1}" points="{curve}"/>')
    return "".join(made)


def _speech(chance: random.Random) -> str:
    made = []
    for at in range(26):
        tall = 10 + 95 * abs(math.sin(at / 26 * math.pi * chance.uniform(1.8, 2.2))) * chance.uniform(0.35, 1)
        made.append(
            f'<rect class="p{at % 3 + 1}" x="{25 + at * 10.5:.1f}" y="{90 - tall / 2:.1f}" width="6"'
            f' height="{tall:.1f}" rx="3"/>'
        )
    return "".join(made)


def _text(chance: random.Random) -> str:
    made = ['<rect class="p4" x="84" y="22" width="152" height="170" rx="8"/>']
    for row in range(9):
        wide = chance.uniform(60, 118) if row % 4 != 3 else chance.uniform(24, 60)
        tall = 8 if row == 0 else 5
        made.append(
            f'<rect class="p{1 if row == 0 else 2}" x="100" y="{42 + row * 15}" width="{wide:.0f}" height="{tall}"'
            f' rx="2.5"/>'
        )
    return "".join(made)


def _hills(chance: random.Random, left: float = 0, wide: float = WIDTH, deep: int = 3) -> str:
    made = [
        f'<circle class="p3" cx="{left + wide * chance.uniform(0.25, 0.75):.0f}" cy="{chance.uniform(42, 66):.0f}"'
        f' r="{wide * 0.07:.0f}"/>'
    ]
    for layer in range(deep):
        base, swing, shift = 100 + layer * 26, 20 - layer * 4, chance.uniform(0, 6)
        tops = " ".join(
            f"L{left + wide * x / 12:.1f} {base + swing * math.sin(x * 0.9 + shift) * chance.uniform(0.7, 1):.1f}"
            for x in range(13)
        )
        made.append(f'<path class="p{layer % 2 + 1}" opacity="{0.55 + 0.2 * layer:.2f}" d="M{left} 180{tops}'
                    f'L{left + wide} 180Z"/>')  # fmt: skip
    return "".join(made)


def _image(chance: random.Random) -> str:
    return _hills(chance)


def _animation(chance: random.Random) -> str:
    seed = chance.random()
    return "".join(
        f'<g transform="translate({at * 26 - 8} {at * 9 - 6}) scale(.72)" opacity="{0.35 + 0.3 * at:.2f}">'
        f'<rect class="p4" x="34" y="16" width="272" height="156" rx="10"/>'
        f"{_hills(random.Random(seed), 44, 252, 2)}</g>"
        for at in range(3)
    )


def _video(chance: random.Random) -> str:
    made = ['<rect class="p2" x="-5" y="38" width="330" height="104"/>']
    for at in range(18):
        made += [
            f'<rect class="p0" x="{at * 18 + 4}" y="{y}" width="9" height="7" rx="1.5"/>' for y in (43, 130)
        ]  # fmt: skip
    for at in range(4):
        made.append(f'<rect class="p4" x="{8 + at * 78}" y="56" width="70" height="68" rx="3"/>')
        sun = 20 + at * 78 + chance.uniform(5, 40)
        made.append(f'<circle class="p3" cx="{sun:.0f}" cy="{84 - 8 * math.sin(at):.0f}" r="9"/>')
        made.append(f'<path class="p1" d="M{8 + at * 78} 124l24 -{chance.uniform(14, 30):.0f} 20 14 26 -10v18z"/>')
    return "".join(made)


def _composite(chance: random.Random) -> str:
    columns = [1, 3, 3, 1]
    spots = [
        [(50 + x * 73.0, 90 + (y - (count - 1) / 2) * 52 + chance.uniform(-5, 5)) for y in range(count)]
        for x, count in enumerate(columns)
    ]
    made = []
    for left, right in itertools.pairwise(spots):
        pairs = [(a, b) for a in left for b in right] if 1 in (len(left), len(right)) else zip(left, right, strict=True)
        for (x1, y1), (x2, y2) in pairs:
            made.append(f'<path class="l2" d="M{x1:.0f} {y1:.0f}C{x1 + 36:.0f} {y1:.0f} {x2 - 36:.0f} {y2:.0f} '
                        f'{x2:.0f} {y2:.0f}"/>')  # fmt: skip
    for column, found in enumerate(spots):
        for x, y in found:
            made.append(
                f'<circle class="p{(1, 2, 2, 3)[column]}" cx="{x:.0f}" cy="{y:.0f}" r="{16 - column % 2 * 3}"/>'
            )
    return "".join(made)


def _feed(chance: random.Random) -> str:
    made = []
    for at in range(3):
        y = 24 + at * 48
        made.append(f'<rect class="p4" x="70" y="{y}" width="180" height="38" rx="8"/>')
        made.append(f'<circle class="p{at + 1}" cx="90" cy="{y + 19}" r="9"/>')
        for row in range(2):
            made.append(f'<rect class="p2" x="108" y="{y + 11 + row * 11}" width="{chance.uniform(60, 126):.0f}" '
                        f'height="5" rx="2.5"/>')  # fmt: skip
    return "".join(made)


def _human(chance: random.Random) -> str:
    made = []
    for at, x in enumerate((104, 216, 160)):
        y, size = (92, 92, 96)[at], (0.85, 0.85, 1.12)[at]
        made.append(
            f'<g transform="translate({x} {y}) scale({size})"><circle class="p{at % 3 + 1}" cy="-22" r="20"/>'
            f'<path class="p{at % 3 + 1}" d="M-36 60c0 -{chance.uniform(46, 54):.0f} 72 -{chance.uniform(46, 54):.0f}'
            f' 72 0z"/></g>'
        )
    return "".join(made)


def _dots(chance: random.Random) -> str:
    return "".join(
        f'<circle class="p{chance.randint(1, 3)}" cx="{chance.uniform(10, 310):.0f}" cy="{chance.uniform(10, 170):.0f}"'
        f' r="{chance.uniform(4, 16):.0f}"/>'
        for _ in range(24)
    )


MOTIFS = {
    "music": _music,
    "speech": _speech,
    "text": _text,
    "image": _image,
    "animation": _animation,
    "video": _video,
    "composite": _composite,
    "feed": _feed,
    "human": _human,
}
