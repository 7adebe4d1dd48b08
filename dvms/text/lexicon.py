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
    "kitchen": "in the kitchen", "stage": "on the stage", "road": "on the road", "stadium": "in the stadium", "heart": "in the world",
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
    ("lullaby", r"lullaby|goodnight|good night|bedtime|sleepy|sleep|baby"),
    ("money", r"bitcoin|sats?|satoshis?|lightning network|money|coins?|zaps?|nostr|freedom tech|market"),
    ("machine", r"robots?|ai|a\.i\.|computers?|machines?|android|cyborg|algorithm|code|internet|cyberpunk|neon"),
    (
        "goodbye",
        r"goodbye|farewell|leaving|died|dead|death|funeral|passed away|grief|griev\w+|mourn\w*|lost|lonely|alone|miss(ing)? you|heartbreak|broken|memory|memories|remember",
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

# Who does it, for themes that name only what is done: `surfing in Hawaii`.
DOERS: Final[Mapping[str, str]] = {
    "dancing": "dancer", "singing": "singer", "flying": "pilot", "running": "runner", "riding": "rider", "sailing": "sailor", "cooking": "cook",
    "baking": "baker", "painting": "painter", "climbing": "climber", "driving": "driver", "fishing": "fisherman", "surfing": "surfer",
    "skating": "skater", "skiing": "skier", "hacking": "hacker", "coding": "programmer", "gardening": "gardener", "writing": "poet",
}  # fmt: skip
# What is no noun, though it may stand where one would.
ADJECTIVES: Final = word_set(
    "lost alone lonely happy sad tired broken free young wild late afraid scared angry awake asleep drunk sick rich poor old new busy bored sorry "
    "beautiful strange quiet loud ready hungry thirsty homesick heartbroken jealous proud ashamed guilty nervous forever together apart away"
)
PRONOUNS: Final = word_set(
    "i i'm i've i'll we we're you you're he she he's she's they they're it it's there there's this that let let's don't"
)

# Adjectives the writer has verses for.
TRAITS: Final[Mapping[str, frozenset[str]]] = {
    "old": word_set("old ancient elderly weathered"), "little": word_set("little tiny small baby mini wee"), "lonely": word_set("lonely alone solitary lonesome"),
    "brave": word_set("brave fearless bold heroic courageous"), "sad": word_set("sad crying melancholy unhappy weeping blue-eyed heartbroken"),
    "broken": word_set("broken rusty cracked worn"), "lost": word_set("lost forgotten missing"), "red": word_set("red scarlet crimson"), "blue": word_set("blue azure"),
    "golden": word_set("gold golden yellow"), "giant": word_set("giant big huge enormous gigantic colossal"), "magic": word_set("magic magical enchanted wizard witch"),
    "sleepy": word_set("sleepy tired dreamy drowsy"), "happy": word_set("happy cheerful merry jolly joyful"), "wild": word_set("wild untamed feral"), "last": word_set("last final"),
}  # fmt: skip

# What a theme is about says where it happens, when it names no place.
CONCEPT_DOMAINS: Final[Mapping[str, str]] = {
    "machine": "city", "money": "city", "fight": "mount", "christmas": "snow", "dance": "stage", "music": "stage", "food": "kitchen",
    "autumn": "forest", "spring": "meadow", "lullaby": "room",
}  # fmt: skip

# Cities and countries, so that they are not taken for people.
PLACE_NAMES: Final = word_set(
    "tokyo kyoto osaka paris london berlin rome venice florence milan naples madrid barcelona seville lisbon porto vienna prague budapest amsterdam "
    "brussels hamburg munich zurich geneva oslo bergen stockholm copenhagen helsinki reykjavik dublin edinburgh glasgow athens istanbul cairo marrakesh "
    "nairobi lagos mumbai delhi bangkok singapore hanoi seoul beijing shanghai sydney melbourne auckland york chicago boston texas california nashville "
    "orleans vegas angeles francisco toronto montreal havana rio brazil mexico japan china india italy france spain portugal germany norway sweden "
    "iceland ireland scotland greece egypt africa australia canada alaska hawaii jamaica cuba argentina chile peru europe asia america madeira prospera"
)
# Heads that say nothing: `the adventures of a snail` are about a snail.
HOLLOW: Final = word_set(
    "adventure adventures life journey tale story stories dream dreams love ballad battle fight duel race friendship day night song history "
    "legend secret mystery smell sound taste colour color choir army letter letters flock herd family wedding voyage escape rise fall return revenge memories portrait end birth meeting war group bunch pair band"
)
NO_ARTICLE: Final = word_set(
    "bitcoin nostr jazz rock music chess football time life love freedom hope peace joy courage silence sleep magic home summer winter spring autumn"
)
STYLE_CLAUSE: Final = (
    r"(lo-?fi|chill(ed)?|synthwave|vaporwave|ambient|cinematic|epic|orchestral|acoustic|folk|rock|metal|pop|jazz|blues|techno|house|edm|dance|"
    r"hip-?hop|rap|reggae|country|indie|electronic|instrumental|upbeat|happy|sad|slow|fast|calm|dark|dreamy|uplifting|melancholic|energetic|"
    r"beats?|music|song|track|vibes?|tune|ballad|80s|90s|retro|female|male|vocals?|with|and|a|an|the|soft|hard|heavy|light|\s|-)+"
)

CREATURES: Final = word_set(
    "dragon unicorn robot alien ghost monster dinosaur phoenix yeti kraken vampire zombie android cyborg golem gnome goblin skeleton snowman t-rex rex angel"
)
# What the picture dictionary would get wrong.
KINDS: Final[Mapping[str, str]] = {
    "disco": "building", "party": "object", "cafe": "building", "café": "building", "bar": "building", "city": "place", "town": "place", "village": "place",
    "sea": "water", "ocean": "water", "moon": "sky", "sun": "sky", "wind": "sky", "rain": "water", "river": "water", "mountain": "object", "star": "sky", "stars": "sky",
    "earth": "object", "sky": "sky", "storm": "object", "aurora": "sky", "lightning": "sky", "lighthouse": "building", "windmill": "building", "castle": "building",
    "house": "building", "bridge": "building", "tower": "building", "battle": "object", "dog": "animal", "cat": "animal", "tree": "plant", "flower": "plant",
    "rose": "plant", "leaves": "object", "leaf": "object", "forest": "plant", "bicycle": "vehicle", "bike": "vehicle", "motorbike": "vehicle", "boat": "vehicle",
    "rocket": "vehicle", "balloon": "object", "coffee": "food", "tea": "food", "bread": "food", "honey": "food", "relay": "object", "node": "object",
    "wedding": "object", "birthday": "feeling", "christmas": "feeling", "winter": "feeling", "summer": "feeling", "autumn": "feeling", "spring": "feeling", "love": "feeling",
    "piano": "instrument", "guitar": "instrument", "violin": "instrument", "snow": "object", "world": "object", "robot": "creature",
}  # fmt: skip

# Where a thing is at home, for themes that name no place.
HABITATS: Final[Mapping[str, frozenset[str]]] = {
    "space": word_set("satellite rocket spaceship starship astronaut cosmonaut alien aliens ufo planet planets comet galaxy star stars moon robot-astronaut"),
    "sea": word_set("ship boat sailor sailors pirate pirates viking vikings whale whales dolphin dolphins lighthouse captain gull seagull"),
    "deep": word_set("submarine mermaid mermaids fish fishes octopus shark sharks jellyfish seahorse kraken diver squid lobster"),
    "beach": word_set("turtle turtles crab crabs surfer surfers parrot flamingo flamingos"),
    "snow": word_set("penguin penguins reindeer snowman yeti walrus husky santa sled wolf wolves seal"),
    "forest": word_set("fox foxes bear bears owl owls deer squirrel squirrels hedgehog hedgehogs elf elves fairy fairies gnome gnomes monkey monkeys badger raccoon tiger sloth troll panda pandas beaver mushroom mushrooms"),
    "desert": word_set("camel camels cowboy cowboys cactus scorpion lizard nomad pharaoh lion lions elephant elephants giraffe zebra"),
    "lake": word_set("frog frogs duck ducks swan swans heron fisherman dragonfly hippo crocodile otter"),
    "mount": word_set("dragon dragons knight knights princess prince king queen eagle eagles goat goats castle climber yak phoenix giant"),
    "sky": word_set("bird birds plane airplane balloon kite pilot sun cloud clouds swallow swallows sparrow angel pigeon wind rainbow"),
    "room": word_set("cat cats kitten kittens dog puppy clock clockmaker watchmaker tailor typewriter teddy baby"),
    "library": word_set("book books librarian wizard witch poet writer reader"),
    "kitchen": word_set("chef cook baker teapot coffee bread cake pizza"),
    "stage": word_set("dj singer band drummer guitarist pianist dancer ballerina guitar piano violin saxophone"),
    "city": word_set("robot robots android hacker taxi detective skater bike skyscraper samurai ninja rat superhero"),
    "road": word_set("train car truck motorbike motorcycle bus bicycle cyclist traveller traveler hitchhiker wanderer"),
}  # fmt: skip
# Words of a theme that say how it feels.
MOODS: Final = word_set(
    "hopeful sad happy melancholic melancholy joyful calm peaceful epic dark playful dreamy romantic funny scary spooky mysterious energetic "
    "wistful nostalgic cheerful gloomy tender lonely triumphant cozy cosy eerie uplifting serene wild gentle bittersweet"
)

HE: Final = word_set(
    "boy man king prince lord father dad papa grandpa grandfather brother son husband wizard monk fisherman cowboy postman blacksmith santa daddy uncle"
)
SHE: Final = word_set(
    "girl woman queen princess lady mother mum mom mama grandma granny grandmother sister daughter wife witch ballerina mermaid nun aunt mommy"
)
