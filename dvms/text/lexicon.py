# ruff: noqa: E501  (tables read better in long lines)
"""Word lists of the writer. Plain data: what belongs to a place, how words behave, what a theme can be about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def word_set(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


# Where a song happens when the theme names no place of its own.
DOMAIN_PLACES: Final[Mapping[str, str]] = {
    "snow": "in the snow", "sea": "by the sea", "beach": "on the shore", "lake": "by the lake", "deep": "beneath the waves",
    "forest": "in the forest", "city": "in the city", "space": "among the stars", "moon": "on the moon", "desert": "in the desert",
    "mount": "in the mountains", "meadow": "in the meadow", "sky": "in the sky", "room": "by the window", "library": "in the library",
    "kitchen": "in the kitchen", "stage": "on the stage", "road": "on the road", "heart": "in the world",
}  # fmt: skip

PLACE_WORDS: Final = (
    "garden|house|home|window|hill|hills|castle|tower|bridge|road|path|street|park|sky|roof|rooftop|cave|island|village|school|station|kingdom|world|"
    "room|kitchen|stage|moon|mars|earth|sun|stars|sea|ocean|river|lake|forest|woods|city|town|mountain|mountains|valley|desert|beach|shore|snow|"
    "ice|rain|clouds?|lights|field|fields|meadow|farm|market|harbou?r|ship|boat|train|bed|attic|cellar|basement|library|cafe|café|bar|club|arena|"
    "stadium|temple|church|palace|ruins|jungle|swamp|volcano|canyon|galaxy|space|universe|planet|orbit|waves|reef|bay|storm|wind|night sky|tree|"
    "trees|leaves|flowers|fire|campfire|internet|machine|tokyo|paris|london|berlin|rome|york|venice|madrid|lisbon|africa|iceland|norway|japan|india|"
    "brazil|vienna|prague|amsterdam|chicago|texas|alaska|egypt|greece|kitchen table|supermarket|factory|laboratory|lab|museum|zoo|circus|carnival|"
    "festival|playground|pond|puddle|cliff|well|tunnel|subway|metro|airport|runway|highway|lighthouse|windmill|mill|barn|teacup|sauna|disco"
)

TIME_WORDS: Final = (
    ("neon", r"neon|cyberpunk|synthwave|nightclub"),
    ("storm", r"storm\w*|thunder\w*|tempest|hurricane|rain\w*"),
    ("night", r"night|midnight|moonlight|moonlit|starlight|starry|stars|northern lights|aurora"),
    ("sunset", r"sunset|dusk|evening|twilight|golden hour"),
    ("dawn", r"dawn|sunrise|morning|daybreak"),
    ("day", r"noon|sunny|summer|afternoon|spring|daylight"),
)

# Themes beyond places: tried in order on the whole text.
CONCEPTS: Final = (
    ("birthday", r"birthday|anniversary|party"),
    ("christmas", r"christmas|xmas|santa|advent"),
    ("lullaby", r"lullaby|goodnight|good night|bedtime|sleepy|baby"),
    ("money", r"bitcoin|sats?|satoshis?|lightning network|money|coins?|zaps?|nostr|freedom tech|market"),
    ("machine", r"robots?|ai|a\.i\.|computers?|machines?|android|cyborg|algorithm|code|internet|cyberpunk|neon"),
    (
        "goodbye",
        r"goodbye|farewell|leaving|lost|lonely|alone|miss(ing)? you|heartbreak|broken|memory|memories|remember",
    ),
    (
        "love",
        r"love|lovers?|kiss|wedding|marry|valentine|heart|darling|romance|mother|father|mum|mom|dad|grandma|grandpa|wife|husband|daughter|son",
    ),
    ("freedom", r"freedom|free|hope|dreams?|courage|peace|future|believe|journey|adventure|fly"),
    ("fight", r"battle|war|dragon|knight|hero|pirates?|monsters?|viking|samurai|warrior|epic|revenge"),
    ("dance", r"danc\w+|disco|party|club|groove|festival|carnival|samba"),
    ("music", r"music|guitar|piano|violin|drums?|band|concert|singer|singing|sings|jazz|rock"),
    ("autumn", r"autumn|october|november|fall leaves|falling leaves|harvest"),
    ("spring", r"spring|blossom\w*|april|may\b"),
    (
        "food",
        r"coffee|tea|cake|bread|pizza|pancakes?|soup|cook\w*|chef|bak\w+|pie|chocolate|cookies?|noodles|ramen|breakfast|dinner|honey",
    ),
)

PEOPLE: Final = word_set(
    "keeper chef cook singer dancer rider driver king queen prince princess knight wizard witch pirate sailor "
    "captain girl boy man woman child children kid kids baby lady lord astronaut farmer teacher doctor nurse "
    "painter artist poet baker fisherman hunter gardener detective samurai ninja cowboy viking soldier drummer "
    "guitarist pianist dj musician writer dreamer lover stranger traveller traveler wanderer hero thief ghost "
    "clown monk nomad shepherd scientist engineer programmer hacker miner builder postman barista waiter skater "
    "surfer climber diver pilot grandmother grandfather friend friends neighbour people crowd family tailor "
    "clockmaker watchmaker blacksmith beekeeper firefighter cosmonaut explorer inventor magician juggler acrobat "
    "violinist accordionist student librarian mermaid elf fairy giant troll"
)
KIN: Final = word_set(
    "mother father mum mom dad mama papa grandma grandpa granny sister brother daughter son wife husband baby "
    "friend love darling"
)

# Words in -ing that are things, not doings.
NOT_GERUND: Final = word_set(
    "king ring spring string wing thing morning evening lightning building wedding nothing something everything "
    "being ceiling pudding sterling viking darling duckling sibling"
)  # fmt: skip
GERUND_NOUNS: Final = word_set("painting building feeling wedding crossing meeting beginning ending")
INVARIANT: Final = word_set(
    "sheep fish jellyfish deer moose bus chess paris bliss series species compass happiness christmas always lens "
    "news gas canvas physics mathematics moss grass glass dress cactus octopus walrus hippopotamus platypus virus "
    "genius iris"
)  # fmt: skip

# Doings the writer can conjugate: -ing form -> plain form.
ACTIONS: Final[Mapping[str, str]] = {
    "dancing": "dance", "singing": "sing", "flying": "fly", "running": "run", "riding": "ride", "sailing": "sail", "swimming": "swim",
    "walking": "walk", "sleeping": "sleep", "dreaming": "dream", "playing": "play", "cooking": "cook", "baking": "bake", "reading": "read",
    "writing": "write", "painting": "paint", "climbing": "climb", "jumping": "jump", "floating": "float", "drifting": "drift",
    "driving": "drive", "fighting": "fight", "hiding": "hide", "chasing": "chase", "looking": "look", "searching": "search", "waiting": "wait",
    "watching": "watch", "drinking": "drink", "eating": "eat", "fishing": "fish", "skating": "skate", "surfing": "surf", "falling": "fall",
    "racing": "race", "gliding": "glide", "hunting": "hunt", "travelling": "travel", "traveling": "travel", "wandering": "wander",
    "exploring": "explore", "building": "build", "juggling": "juggle", "laughing": "laugh", "crying": "cry", "howling": "howl",
    "roaring": "roar", "glowing": "glow", "shining": "shine", "burning": "burn", "rolling": "roll", "rowing": "row", "skiing": "ski",
    "gardening": "garden", "hacking": "hack", "coding": "code", "learning": "learn", "growing": "grow", "spinning": "spin", "standing": "stand",
    "sitting": "sit", "leaping": "leap", "marching": "march", "meditating": "meditate", "jamming": "jam", "rapping": "rap", "crossing": "cross",
}  # fmt: skip
