# ruff: noqa: E501 (tables of sprite names)
"""What the sprites are like: which are heads, busts or whole, how tall, which way they look, what can be ridden or held.

Names are CLDR labels.
"""

import re

HEADS = re.compile(
    r"^(fox|wolf|bear|panda|koala|lion|frog|polar bear|hamster|raccoon|moose|boar|unicorn|orangutan|horse face|dog face|cat face|pig face"
    r"|cow face|mouse face|rabbit face|monkey face|tiger face|dragon face|robot|alien|ogre|goblin|clown face|skull|jack-o-lantern face"
    r"|cowboy hat face|chicken|.*\bcat( with.*)?|baby|child|boy|girl|man|woman|person|older person|old man|old woman"
    r"|(man|woman|person): .*|(man|woman|person) wearing turban|baby angel|Santa Claus|Mrs\. Claus|Mx Claus|.*smiling.*|.*grinning.*)$"
)
WHOLE_CATS = {"cat", "black cat"}
# Busts: shoulders cut straight; they get a lower half.
BUSTS = re.compile(
    r"^((man |woman )?(health worker|student|teacher|judge|farmer|cook|mechanic|factory worker|office worker|scientist|technologist|singer"
    r"|artist|pilot|astronaut|firefighter|police officer|detective|guard|construction worker|with veil|in tuxedo|superhero|supervillain|mage"
    r"|vampire|elf|genie|zombie|juggling|tipping hand|raising hand|shrugging)|person (in tuxedo|with veil|with crown|juggling)|ninja|prince"
    r"|princess|woman with headscarf|troll|person with skullcap|genie)$"
)
TALL = {
    "elephant": 1.25, "giraffe": 1.4, "mammoth": 1.25, "sauropod": 1.4, "T-Rex": 1.25, "dragon": 1.25, "spouting whale": 1.25,
    "whale": 1.25, "castle": 1.5, "Japanese castle": 1.5, "house": 1.25, "house with garden": 1.3, "lighthouse": 1.65, "windmill": 1.5,
    "office building": 1.5, "Tokyo tower": 1.6, "Statue of Liberty": 1.4, "church": 1.35, "ferris wheel": 1.55, "roller coaster": 1.5,
    "deciduous tree": 1.5, "evergreen tree": 1.5, "palm tree": 1.5, "Christmas tree": 1.25, "mountain": 1.5, "volcano": 1.6,
    "locomotive": 1.15, "hot air balloon": 1.25, "rocket": 1.15, "mouse": 0.62, "rat": 0.62, "hamster": 0.8, "chipmunk": 0.75,
    "hedgehog": 0.7, "frog": 0.8, "baby chick": 0.6, "hatching chick": 0.6, "bird": 0.7, "black bird": 0.7, "parrot": 0.7, "owl": 0.85,
    "honeybee": 0.42, "butterfly": 0.5, "lady beetle": 0.36, "ant": 0.36, "snail": 0.55, "spider": 0.5, "crab": 0.6, "beetle": 0.42,
    "turtle": 0.85, "coin": 0.75, "mushroom": 0.8, "tulip": 0.7, "rose": 0.7, "sunflower": 0.9, "hot beverage": 0.6, "book": 0.6,
    "penguin": 0.9, "duck": 0.7, "rabbit": 0.75, "baby": 0.75, "red heart": 0.8, "high voltage": 0.7, "tent": 1.2, "circus tent": 1.45,
    "dove": 0.7, "bat": 0.6, "desert island": 1.3, "sailboat": 1.2, "passenger ship": 1.2, "rainbow": 1.3, "fire": 0.7,
}  # fmt: skip
FACES_LEFT = re.compile(
    r"horse|dog|cat$|deer|cow|ox|pig$|ram|ewe|goat|camel|llama|zebra|giraffe|elephant|mammoth|rhino|hippo|mouse$|rat|rabbit$|chipmunk"
    r"|beaver|hedgehog|skunk|kangaroo|badger|turkey|rooster|bird|duck|swan|dodo|flamingo|goose|crocodile|turtle|snake|sauropod|T-Rex"
    r"|whale|dolphin|seal|fish|shark|snail|bison|buffalo|leopard|tiger$|donkey|dragon|eagle|poodle|automobile|submarine|bicycle|motorcycle|locomotive"
    r"|sailboat|boat|tractor|taxi|bus|truck|train|car"
)
TALL_BY_SUBGROUP = {
    "animal-bug": 0.45,
    "animal-bird": 0.75,
    "plant-flower": 0.7,
    "place-building": 1.4,
    "place-religious": 1.4,
}
TALL_BY_FAMILY = {
    "food": 0.55, "drink": 0.55, "musical": 0.6, "clothing": 0.5, "tool": 0.55, "sport": 0.5, "game": 0.5, "phone": 0.5, "computer": 0.6,
    "light": 0.55, "book": 0.5, "money": 0.6, "writing": 0.5,
}  # fmt: skip

LONG = re.compile(r"guitar|violin|banjo|saxophone|trumpet|flute|accordion")
CARRIED_HIGH = re.compile(r"umbrella|balloon|kite|flag|lantern|torch|sparkler|fishing|bow|wand|dagger|sword|axe|candle")
BOARD = re.compile(
    r"skateboard|sled|roller|carpet|cloud|comet|snail|turtle|crocodile|fish|seal|ice$|\brock$|books|package"
)
CYCLE = re.compile(r"bicycle|motorcycle|scooter")
HULL = re.compile(
    r"boat|canoe|ship|balloon|basket|bucket|beverage|teacup|car\b|automobile|taxi|minibus|bus|rocket|saucer|bathtub|bowl|truck|airplane|tractor"
    r"|locomotive|hat|nest|package"
)

RIDEABLE = re.compile(
    r"horse|unicorn|elephant|camel|donkey|whale|dolphin|dragon|dinosaur|T-Rex|sauropod|turtle|llama|zebra|giraffe|bison|ox\b"
    r"|rocket|saucer|bicycle|motorcycle|scooter|skateboard|sled|sailboat|canoe|boat|ship|tractor|tiger|lion|bear|wolf|deer"
    r"|snail|swan|goose|eagle|duck|shark|fish|seal|cow|pig\b|ram|ewe|goat|rhino|hippo|mammoth|kangaroo|automobile|car\b|balloon"
    r"|broom|surfboard|comet|cloud|moon|locomotive|carousel|taxi|minibus|truck|airplane|helicopter|wheelchair|crocodile|moose|octopus|skates?"
)
VESSEL = re.compile(
    r"boat|canoe|ship|balloon|basket|bucket|hot beverage|teacup|car\b|automobile|taxi|minibus|bus|locomotive|rocket|saucer|bathtub|sled"
    r"|package|hat|bowl|truck|airplane|nest|tractor"
)
SWIMMERS = re.compile(
    r"duck|swan|goose|seal|otter|beaver|crocodile|hippopotamus|turtle|mermaid|merman|merperson|swimming|surfing|rowing|surfboard|octopus|squid"
    r"|polo|frog|balloon|heart|ring buoy|lighthouse|island"
)
# Heads that wear clothes.
HUMAN = re.compile(r"\b(baby|child|boy|girl|man|woman|person|turban|angel|Claus|cowboy|clown)\b|smiling|grinning")
GROUND_BIRDS = ("penguin", "rooster", "duck", "swan", "turkey", "chicken", "baby chick", "hatching chick", "front-facing baby chick",
                "flamingo", "peacock", "dodo", "goose", "owl", "feather", "wing")  # fmt: skip
FLYERS = (
    "honeybee", "butterfly", "fairy", "man fairy", "woman fairy", "bat", "ghost", "balloon", "kite", "baby angel", "red heart", "comet",
)  # fmt: skip
# Boats that come with a wave of their own -> how far down it begins, as a share of the height.
OWN_WATER = {
    "sailboat": 0.78, "canoe": 0.45, "speedboat": 0.5, "passenger ship": 0.86, "ferry": 0.84, "motor boat": 0.68, "ship": 0.86,
    "person rowing boat": 0.5, "man rowing boat": 0.5, "woman rowing boat": 0.5,
}  # fmt: skip
# Weather as signs on a map: the scenery has the real thing.
WEATHER_SPRITES = re.compile(r"cloud|sun behind|umbrella with rain|rainbow|fog|tornado|cyclone|wind face")
