"""From a recipe to layers, from layers to a picture."""

import hashlib
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dvms.image.storybook import anatomy, figures, sprites, styles
from dvms.image.storybook.features import DECK
from dvms.image.storybook.figures import Holder, natural_height, picture_of, ridden, scaled, with_item
from dvms.image.storybook.light import LIGHTS
from dvms.image.storybook.paint import Array, Canvas, Layer, Palette, Rng, flat, over
from dvms.image.storybook.place import HORIZON, INDOORS, Place, needs_land
from dvms.image.storybook.recipe import Recipe
from dvms.image.storybook.scenery import Scenery
from dvms.image.storybook.setting import layer_for
from dvms.image.storybook.words import Meaning, Subject, names_of, understand

MARGIN = 0.08  # of the height, around the frame, for the camera
WATER = ("sea", "lake")
AIRBORNE = ("space", "sky", "deep", "abstract")
GLOWING = re.compile(r"lantern|candle|fire\b|bulb|torch|jack-o|sparkler|diya")
JOINED = ("ride", "inside", "play", "wear", "read", "hold", "atop", "over", "under", "made")
ALIVE = ("animal", "person", "face", "cat", "monkey", "family")


# Where the prompt names no time, and no thing.
TIMES_OF_PLACE = {
    "city": ("day", "sunset", "night"),
    "desert": ("sunset", "day"),
    "snow": ("day", "dawn", "night"),
    "forest": ("day", "dawn"),
    "sea": ("day", "sunset", "day"),
    "beach": ("day", "sunset"),
    "sky": ("day", "dawn", "sunset"),
}
INHABITANTS = {
    "sea": "sailboat",
    "beach": "crab",
    "lake": "swan",
    "snow": "penguin",
    "desert": "camel",
    "forest": "deer",
    "city": "taxi",
    "space": "rocket",
    "moon": "astronaut",
    "deep": "tropical fish",
    "sky": "hot air balloon",
    "stage": "microphone",
    "room": "cat",
    "library": "cat",
    "kitchen": "pot of food",
    "mount": "eagle",
    "meadow": "butterfly",
    "stadium": "soccer ball",
}
# Where the words say nothing we know: somebody small in a wide view.
WIDE_VIEWS = (
    "a person walking on a road in the mountains at dawn",
    "a sailing boat on the sea at sunset",
    "a person in a field under the stars at night",
    "three doves flying over a lake at sunrise",
    "a deer in a misty forest in the morning",
)


@dataclass(slots=True)
class Scene:
    """A composed picture: layers far to near on a canvas larger than the frame."""

    recipe: Recipe
    canvas: Canvas
    palette: Palette
    meaning: Meaning
    layers: list[Layer]
    style: str | None

    @property
    def subject_labels(self) -> list[str]:
        carpet = self.meaning.carpet
        return [s.sprite.label for s in (*self.meaning.subjects, *([carpet] if carpet else []))]


def _generator(*parts: object) -> Rng:
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(list(digest[:16]))


def compose(recipe: Recipe) -> Scene:
    """Layers for a recipe. The same recipe gives the same layers."""
    meaning = understand(recipe.prompt, recipe.negative)
    rng = _generator(recipe.prompt, recipe.seed)
    if not meaning.subjects and meaning.place is None and meaning.carpet is None and not meaning.features:
        view = understand(WIDE_VIEWS[int(rng.integers(len(WIDE_VIEWS)))])
        small = tuple(replace(s, size=s.size * 0.72) for s in view.subjects if not names_of(s) & meaning.unwanted)
        meaning = replace(
            view, subjects=small, time=meaning.time or view.time, style=meaning.style, words=meaning.words
        )
    style = recipe.style or meaning.style
    meaning = replace(meaning, place=meaning.place or _likely_place(meaning, rng))
    time = _likely_time(meaning, rng)
    banned = frozenset(sprites.plain(recipe.negative).split()) | meaning.unwanted
    if not meaning.subjects:
        meaning = replace(meaning, subjects=_stand_in(meaning, banned))
    pad = int(recipe.height * MARGIN)
    canvas = Canvas(recipe.width, recipe.height, pad)
    place = Scenery(rng, canvas, LIGHTS[time], meaning, banned)
    layers = place.build()
    layers += _Stage(rng, place).set()
    layers.sort(key=lambda layer: layer.depth)
    return Scene(recipe, canvas, LIGHTS[time], meaning, layers, style)


def _likely_place(meaning: Meaning, rng: Rng) -> str:
    first = meaning.subjects[0].sprite if meaning.subjects else None
    for feature, where in (("waterfall", "forest"), ("bridge", "lake"), ("village", "meadow"), ("lamps", "city")):
        if feature in meaning.features:
            return where
    if meaning.carpet is not None:
        return "meadow"
    if first is None:
        return str(rng.choice(["meadow", "mount", "lake"]))
    subs = {s.sprite.subgroup for s in meaning.subjects}
    if first.label.startswith("mer"):
        return "beach"
    if first.subgroup == "animal-marine" and first.label not in ("seal", "crab"):
        return "deep" if not any(s.relation == "ride" for s in meaning.subjects) else "sea"
    if "transport-water" in subs:
        return "sea"
    if first.label in ("rocket", "flying saucer", "satellite", "astronaut", "alien", "ringed planet", "comet"):
        return "space"
    if first.subgroup == "transport-air" or first.label in ("kite", "hot air balloon"):
        return "sky"
    if first.subgroup == "musical-instrument" or first.label in (
        "singer",
        "microphone",
        "woman dancing",
        "man dancing",
        "mirror ball",
    ):
        return "stage"
    if first.subgroup.startswith(("transport-ground", "office", "phone")) and first.label not in (
        "tractor",
        "locomotive",
        "sled",
    ):
        return "city"
    if first.label in ("penguin", "polar bear", "snowman without snow", "Santa Claus", "Christmas tree"):
        return "snow"
    if first.label in ("camel", "cactus", "scorpion"):
        return "desert"
    if first.family in ("food", "drink", "dishware"):
        return "kitchen"
    if first.family in ("computer", "book", "household", "light", "writing", "science", "medical", "game", "arts"):
        return "room"
    if first.label in ("castle", "dragon", "eagle", "mage", "man mage"):
        return "mount"
    if first.label in (
        "fox",
        "wolf",
        "bear",
        "deer",
        "owl",
        "hedgehog",
        "mushroom",
        "fairy",
        "elf",
        "moose",
        "boar",
        "frog",
        "troll",
    ):
        return str(rng.choice(["forest", "meadow", "forest"]))
    return str(rng.choice(["meadow", "meadow", "mount", "lake" if first.label == "duck" else "meadow"]))


def _likely_time(meaning: Meaning, rng: Rng) -> str:
    place, time = meaning.place, meaning.time
    if place == "deep":
        return "deep"
    if place in ("space", "moon"):
        return "space"
    if time:
        return time
    if meaning.style == "noir":
        return "night"
    if place == "stage":
        return "neon"
    if place == "abstract":
        return "pastel"
    choices = TIMES_OF_PLACE.get(place or "", ("day", "dawn", "day", "sunset"))
    return str(rng.choice(choices))


def _stand_in(meaning: Meaning, banned: frozenset[str]) -> tuple[Subject, ...]:
    """A small subject for prompts that name only a place: something to look at, that belongs there, if it may."""
    label = INHABITANTS.get(meaning.place or "meadow")
    if label is None:
        return ()
    sprite = sprites.by_label()[label]
    names = {sprite.label, sprite.family, f"{sprite.family}s", *sprite.label.split()}
    if sprite.subgroup.startswith("person"):
        names |= {"people", "humans", "human"}
    return () if names & banned else (Subject(sprite, sprite.label, size=0.62),)


class _Stage:
    """Puts the subjects into the place."""

    def __init__(self, rng: Rng, place: Place) -> None:
        self.rng, self.place, self.c, self.p = rng, place, place.c, place.p
        self.subjects = place.meaning.subjects
        self.wide = place.c.width / place.c.height
        framing = place.meaning.framing
        self.zoom = 1.0 if framing is None else 0.55 if framing == "wide" else 1.62 if self._alone_in_frame() else 1.25

    def _alone_in_frame(self) -> bool:
        return len(self._chains()) == 1 and self.subjects[0].count == 1

    def _thirds(self) -> float:
        """Where one thing stands: often off the middle, away from the sun, in pictures that are wide enough."""
        if self.wide < 1.2 or self.place.name in INDOORS or self.zoom > 1 or self.rng.random() < 0.3:
            return 0.5 + (self.rng.random() - 0.5) * 0.06
        aside = 0.11 + 0.05 * self.rng.random()
        return 0.5 + aside if self.place.sun[0] < 0.5 else 0.5 - aside

    def set(self) -> list[Layer]:
        out: list[Layer] = []
        chains = self._chains()
        slots = self._slots(chains)
        if any(self.subjects[chain[0]].relation == "share" for chain in chains[2:3]):
            slots[:2] = [0.36, 0.64]
        for k, (chain, x) in enumerate(zip(chains, slots, strict=True)):
            if self.subjects[chain[0]].relation == "share" and k:
                out += self._shared(self.subjects[chain[0]], sum(slots[:k]) / k, k)
            else:
                out += self._chain(chain, x, k, len(chains))
        return out

    def _shared(self, subject: Subject, x: float, k: int) -> list[Layer]:
        """What the others have together: a roof over their heads, or something between them."""
        over_all = subject.sprite.label in ("umbrella", "umbrella on ground", "red paper lantern", "rainbow")
        height = self.c.unit * (0.78 if over_all else 0.24)
        return self._alone(subject, x, height, "shared", 0.66 if over_all else 0.80, k)

    def _chains(self) -> list[list[int]]:
        """Subjects that belong together, in order of mention; large background things last."""
        chains: list[list[int]] = []
        for i, subject in enumerate(self.subjects):
            joined = subject.relation in JOINED
            if joined and subject.to is not None and chains and subject.to in chains[-1]:
                chains[-1].append(i)
            else:
                chains.append([i])
        return chains

    def _slots(self, chains: list[list[int]]) -> list[float]:
        n = len(chains)
        if n == 0:
            return []
        if n == 1:
            return [self._thirds()]
        wide = {2: [0.33, 0.69], 3: [0.5, 0.2, 0.81], 4: [0.40, 0.15, 0.66, 0.88]}[min(n, 4)]
        if self.wide < 1.1:
            wide = [0.5 + (x - 0.5) * 1.05 for x in wide]
        if n == 2 and self.rng.random() < 0.5 and self.subjects[chains[1][0]].relation is None:
            wide = [1 - x for x in wide]
        return wide

    # -- one chain of things that belong together

    def _chain(self, chain: list[int], x: float, k: int, n: int) -> list[Layer]:
        lead = self.subjects[chain[0]]
        height = self._height(lead, k, n)
        image = scaled(self._picture(lead), height)
        mirrored = self._should_flip(lead, x, k)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        extra: list[Layer] = []
        rise, held = 0.0, False
        airborne = lead.pose in ("fly", "jump")
        ground_of = lead
        for i in chain[1:]:
            other = self.subjects[i]
            thing = self._picture(other)
            if other.relation in ("ride", "inside"):
                mount_height = height * min(1.35, max(0.8, natural_height(other)))
                share = 0.86 if natural_height(other) <= 1.0 else 0.68
                if anatomy.CYCLE.search(other.sprite.label):
                    mount_height, share = height * 0.78, 0.98
                elif other.sprite.label == "surfboard":
                    mount_height, share = height * 0.50, 1.5
                elif other.sprite.label == "broom":
                    mount_height, share = height * 0.66, 1.2
                    airborne = True
                elif anatomy.BOARD.search(other.sprite.label):
                    mount_height, share = height * 0.36, 2.3
                elif anatomy.HULL.search(other.sprite.label):
                    mount_height, share = height * max(0.95, min(1.3, natural_height(other))), 0.74
                mount = scaled(thing, mount_height)
                image = ridden(image, mount, other.sprite.label, share)
                ground_of = other
            elif other.relation in ("play", "hold", "read", "wear"):
                size = max(0.6, min(2.2, other.size))
                holder = Holder(image, self._side(lead, mirrored))
                image = with_item(holder, other.sprite, thing, other.relation, size, other_hand=held)
                held = other.relation != "wear"
            elif other.relation == "atop" and other.count == 1:
                base = scaled(thing, height * min(1.2, 0.55 * max(0.6, natural_height(other)) + 0.15))
                if base.width < image.width * 0.8 and "ball" not in other.sprite.label:
                    base = scaled(thing, base.height * image.width * 0.8 / base.width)
                group = figures.Group()
                group.put(base, 0, 0)
                group.put(image, 0, -base.height * 0.84)
                image = group.image()[0]
                ground_of = other
            elif other.relation == "over":
                airborne, height = True, height * 0.80
                image = scaled(image, image.height * 0.80)
                high = natural_height(other) > 1.1
                aside = (0.20 if x <= 0.5 else -0.20) if high else 0.0
                below = min(height * min(1.2, natural_height(other) / natural_height(lead)), self.c.unit * 0.40)
                extra += self._alone(other, x + aside, below, f"sub{i}", 0.50, k)
                x -= aside * 0.7
                if not high:
                    rise = (below + 0.03 * self.c.height) / self.c.height
            elif other.relation in ("made", "atop"):  # a heap of it at the foot
                for q in range(other.count):
                    spot = x + (q - (other.count - 1) / 2) * 0.095 + 0.03 * self.rng.random()
                    extra += self._alone(
                        other, spot, height * (0.20 + 0.06 * (q % 2)), f"sub{i}.{q}", 0.86 + 0.01 * q, k
                    )
            elif other.relation == "under":
                extra += self._alone(other, x + 0.06, height * 1.7, f"sub{i}", 0.52, k)
        limit = self.c.height * (0.86 if len(chain) > 1 else 0.80) * max(1.0, min(self.zoom, 1.35))
        if image.height > limit:
            image = scaled(image, limit)
        widest = self.c.width * (
            (0.62 if self.wide > 1.1 and n == 1 else 0.8 / min(n, 2) ** 0.5) if self.zoom <= 1 else 0.95
        )
        if image.width > widest:
            image = scaled(image, image.height * widest / image.width)
        name = f"sub{chain[0]}"
        x = self._within(x, image.width)
        if self.place.p.dark and any(GLOWING.search(self.subjects[i].sprite.label) for i in chain):
            extra.append(self._shine(x, image.height, lead))
        return extra + self._copies(lead, image, x, name, ground_of, airborne, k, n, rise)

    def _shine(self, x: float, height: int, lead: Subject) -> Layer:
        """The light of a lantern or a fire in the dark, behind who has it."""
        depth = 0.75
        _, foot = self._footing(lead, depth, lead.pose == "fly", 1)
        r = int(max(height * 1.05, self.c.unit * 0.3))
        yy, xx = np.mgrid[-r:r, -r:r].astype(np.float32) / r
        glow = np.clip(np.exp(-np.hypot(xx, yy) * 3.4) - 0.033, 0, 1) * 0.85
        at = int(self.c.x(x) - r), int(self.c.y(foot) - height * 0.45 - r)
        return Layer("shine", flat("#ffcf7a", glow), *at, depth - 0.004, "twinkle")

    def _within(self, x: float, width: int) -> float:
        """x, moved so that nothing of this width is cut by the frame's edge."""
        half = width / 2 / self.c.width + 0.015
        return 0.5 if half >= 0.5 else min(max(x, half), 1 - half)

    def _picture(self, subject: Subject) -> Image.Image:
        # By who it is, not by the seed: the same old man wears the same coat in every shot of a film.
        return picture_of(subject, zlib.crc32(subject.sprite.label.encode()) % 97)

    def _should_flip(self, subject: Subject, x: float, k: int) -> bool:
        """Look into the picture; the second of two who meet turns to the first."""
        if not anatomy.FACES_LEFT.search(subject.sprite.label):
            return False
        return x < 0.44

    def _side(self, subject: Subject, mirrored: bool) -> int:
        """0 for figures seen from the front, else which way they look."""
        label = subject.sprite.label
        from_front = anatomy.HEADS.match(label) and label not in anatomy.WHOLE_CATS
        if from_front or subject.sprite.family != "animal" or not anatomy.FACES_LEFT.search(label):
            return 0
        return 1 if mirrored else -1

    def _height(self, subject: Subject, k: int, n: int) -> float:
        base = 0.50 if k == 0 else 0.40
        if n >= 3:
            base *= 0.88
        tall = natural_height(subject)
        if not any(s.sprite.family in ALIVE for s in self.subjects):
            tall = max(tall, 0.95 * subject.size)  # things that are alone in the picture are its heroes
        elif len(self.subjects) <= 2 and k == 0:
            tall = max(tall, 0.68 * subject.size)
        if self.place.tabletop:
            base, tall = 0.42, max(0.75, min(tall, 1.0))
        if self.place.bridged:
            base *= 0.66
        if self.wide < 0.8:
            base *= 1.22
        return self.c.unit * min(0.82, base * tall) * self.zoom

    def _alone(self, subject: Subject, x: float, height: float, name: str, depth: float, k: int) -> list[Layer]:
        image = scaled(self._picture(subject), min(height, self.c.height * 0.86))
        ground, foot = self._footing(subject, depth, False, 1)
        return layer_for(
            name,
            image,
            self.c,
            self.p,
            self.rng,
            x,
            foot,
            depth,
            ground,
            self.place.sun[0],
            self._motion(subject, ground),
            self.place.name in INDOORS,
        )

    def _copies(
        self,
        lead: Subject,
        image: Image.Image,
        x: float,
        name: str,
        ground_of: Subject,
        airborne: bool,
        k: int,
        n: int,
        rise: float = 0.0,
    ) -> list[Layer]:
        count = min(lead.count, 12)
        out: list[Layer] = []
        depth = 0.76 if k == 0 else 0.68
        if ground_of.sprite.subgroup.startswith("place") or natural_height(ground_of) >= 1.45:
            depth = 0.50
        shrink = 1.0 if count == 1 else max(0.40, 1.02 - 0.12 * count) if count > 2 else 0.86
        room = 0.80 if n == 1 else 0.34
        for q in range(count):
            size = shrink * (1 - 0.16 * self.rng.random() if count > 1 else 1.0)
            row = q % 2 if count > 3 else 0
            spread = (
                0.0 if count == 1 else (q / (count - 1) - 0.5) * min(room, 0.20 * (count - 1) if count > 2 else 0.25)
            )
            piece = image if size == 1.0 else scaled(image, image.height * size * (0.84 if row else 1.0))
            if count > 1 and self.rng.random() < 0.35:
                piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            spot = depth - 0.10 * row - 0.002 * q
            ground, foot = self._footing(ground_of, spot, airborne, count)
            if self.zoom > 1:  # nearer to the camera: feet below the frame
                foot += {"earth": 0.20, "water": 0.06, "air": 0.14}[ground] * (1.0 if self.zoom > 1.5 else 0.4)
            if ground == "earth" and piece.height < self.c.height * 0.95:
                foot = max(foot, piece.height / self.c.height + 0.02)
            if rise:  # over something: its feet above that thing's top
                foot = max(0.80 - rise, piece.height / self.c.height + 0.03)
            if ground == "air" and count > 1:
                foot += (self.rng.random() - 0.5) * 0.36
            if lead.pose == "dance" or lead.pose == "jump":
                piece = piece.rotate((self.rng.random() - 0.5) * 16, Image.Resampling.BICUBIC, expand=True)
            at = x + spread + (0.0 if count == 1 else (self.rng.random() - 0.5) * 0.03)
            at = self._within(at, piece.width)
            motion = self._deed(lead, ground_of, at, ground)
            out += layer_for(
                f"{name}.{q}",
                piece,
                self.c,
                self.p,
                self.rng,
                at,
                foot,
                spot,
                ground,
                self.place.sun[0],
                motion,
                self.place.name in INDOORS,
            )
        return out

    def _footing(self, subject: Subject, depth: float, airborne: bool, count: int) -> tuple[str, float]:
        """(earth, water or air; the foot's height in the frame) for a thing at this depth."""
        place, horizon = self.place.name, HORIZON[self.place.name]
        sub, label = subject.sprite.subgroup, subject.sprite.label
        if self.place.bridged and depth >= 0.5 and sub.startswith(("transport-ground", "animal-mammal", "person")):
            return "earth", DECK + 0.012
        near = 0.93 if depth >= 0.72 else 0.88 if depth >= 0.6 else 0.84
        if sub == "sky-weather" and label not in (
            "snowman",
            "snowman without snow",
            "fire",
            "umbrella on ground",
            "umbrella",
        ):
            return "air", 0.46
        walks = label in anatomy.GROUND_BIRDS
        flies = sub == "transport-air" or (sub == "animal-bird" and not walks) or label in anatomy.FLYERS
        if place in AIRBORNE:
            return "air", (0.72 if count == 1 else 0.66) if place != "deep" or sub != "place-building" else 0.92
        if airborne:
            return "air", 0.62
        if flies:
            return "air", 0.64 if label != "rocket" else 0.74
        if self.place.tabletop:
            return "earth", 0.90 if depth >= 0.7 else 0.86
        if place in WATER and self.place.ashore and needs_land(subject.sprite):
            return "earth", near
        if place in WATER:
            if sub.startswith("place") or label in ("palm tree", "deciduous tree"):
                return "earth", 0.86
            return "water", min(0.92, horizon + (0.30 if depth >= 0.72 else 0.22))
        if place == "beach" and (
            (sub in ("transport-water", "animal-marine") and label not in ("crab",)) or label.endswith("surfing")
        ):
            return "water", 0.70
        if sub.startswith("place"):
            return "earth", max(horizon + 0.10, 0.80)
        if place == "stage":
            return "earth", 0.90
        return "earth", near

    def _deed(self, lead: Subject, carrier: Subject, x: float, ground: str) -> str:
        """How it moves for what it does: dancing in place, or on its way in the direction it looks."""
        if lead.pose in ("dance", "jump"):
            return "dance"
        goes = lead.pose in ("walk", "swim", "fly") or carrier.pose == "walk" or carrier is not lead
        if not goes or carrier.sprite.subgroup.startswith(("place", "plant")) or lead.sprite.family not in (
            *ALIVE, "transport"):  # fmt: skip
            return self._motion(carrier, ground)
        mirrored = carrier is lead and self._should_flip(lead, x, 0)
        looks = anatomy.FACES_LEFT.search(carrier.sprite.label) is not None
        return "go left" if (looks and not mirrored) or (not looks and x > 0.5) else "go right"

    def _motion(self, subject: Subject, ground: str) -> str:
        if ground == "air":
            return "float"
        if ground == "water":
            return "bob"
        if subject.sprite.subgroup.startswith("place"):
            return "still"
        if subject.sprite.family == "plant":
            return "sway"
        return "hop" if subject.sprite.family in ("animal", "person", "face", "cat", "monkey") else "bob"


def merge(layers: list[Layer], canvas: Canvas) -> Image.Image:
    """Layers on one RGB sheet of the canvas."""
    sheet = Image.new("RGB", (canvas.w, canvas.h))
    for layer in layers:
        over(sheet, layer.image, layer.x, layer.y)
    return sheet


def finish(sheet: Image.Image, scene: Scene) -> Image.Image:
    """Grade and style a merged sheet."""
    rng = _generator("finish", scene.recipe.seed)
    a: Array = np.asarray(sheet, np.float32) / 255
    look = styles.LOOKS.get(scene.style or "")
    a = styles.grade(a, rng, 0.010 if look is None else 0.0)
    if look is not None:
        a = look(a, rng)
    return Image.fromarray((np.clip(a, 0, 1) * 255 + 0.5).astype(np.uint8))


def flatten(scene: Scene) -> Image.Image:
    """The picture: the frame of the merged, graded layers, RGB of the recipe's size."""
    c = scene.canvas
    sheet = merge(scene.layers, c).crop((c.pad, c.pad, c.pad + c.width, c.pad + c.height))
    return finish(sheet, scene)


def finish_on(recipe: Recipe, backdrop: Path, strength: float) -> Image.Image:
    """The subjects of the prompt set into a given picture, in its light; and the style the prompt asks for.

    `strength` is how much the picture gives way to the prompt's own scenery behind them.
    """
    scene = compose(recipe)
    c = scene.canvas
    with Image.open(backdrop) as opened:
        given = ImageOps.fit(opened.convert("RGB"), (c.w, c.h), Image.Resampling.LANCZOS)
    own = merge([layer for layer in scene.layers if not _is_subject(layer)], c)
    keep = max(0.0, min(1.0, 1.35 - strength * 1.35)) if strength > 0.75 else 1.0
    sheet = Image.blend(own, given, keep)
    for layer in scene.layers:
        if _is_subject(layer) and understand(recipe.prompt, recipe.negative).subjects:
            over(sheet, layer.image, layer.x, layer.y)
    return finish(sheet.crop((c.pad, c.pad, c.pad + c.width, c.pad + c.height)), scene)


def _is_subject(layer: Layer) -> bool:
    return layer.name.split()[-1].startswith("sub")
