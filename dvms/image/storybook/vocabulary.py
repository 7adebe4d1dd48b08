"""Hand-made word lists of the Storybook engine: what the tables built from dictionaries get wrong or can't know.

Plain data, ASCII English unless the name says otherwise. Sprite names are CLDR labels. A `|` separates words.
"""

# Words -> the sprite that people mean. None: a real word, but nothing to draw (or the scenery draws it).
ALIASES: dict[str, str | None] = {
    name: label
    for names, label in {
        "queen": "princess", "king": "prince", "knight": "man guard", "samurai|shogun": "ninja",
        "pirate|pirates": "man supervillain", "cowboy": "cowboy hat face", "cowgirl": "cowboy hat face",
        "lighthouse|light house": "lighthouse", "windmill": "windmill", "cafe|coffee shop|diner|restaurant": None,
        "market|bazaar": "convenience store", "kitten|kitty|cats": "cat", "puppy|doggy|hound": "dog",
        "bunny|hare|rabbit": "rabbit", "granny|grandma|grandmother": "old woman", "grandpa|grandfather": "old man",
        "astronaut|spaceman|cosmonaut": "astronaut", "wizard|sorcerer|magician|warlock": "man mage",
        "witch|sorceress|enchantress": "woman mage", "robot|android|cyborg|droid": "robot", "alien|martian": "alien",
        "monster|beast": "ogre", "ghost|spirit": "ghost", "skeleton": "skull", "angel": "baby angel",
        "dragon|dragons": "dragon", "dinosaur|dino": "T-Rex", "phoenix": "eagle", "pony|mare|stallion|horse": "horse",
        "unicorn": "unicorn", "train|steam train|locomotive": "locomotive", "bullet train": "bullet train",
        "car|automobile": "automobile", "race car|racecar|sports car": "racing car", "van|camper|campervan": "minibus",
        "ship|sailing ship|sailboat|boat|yacht|pirate ship": "sailboat", "rowboat|canoe|kayak|paper boat": "canoe",
        "hot air balloon|hot-air balloon": "hot air balloon", "balloon|balloons": "balloon", "plane|jet": "airplane",
        "spaceship|spacecraft|starship|rocket ship": "rocket", "ufo|saucer": "flying saucer",
        "bike|bicycle": "bicycle", "motorbike|motorcycle": "motorcycle", "scooter": "motor scooter",
        "house|cottage|cabin|home": "house with garden", "hut|shack": "hut", "castle|fortress|palace": "castle",
        "pagoda": "Japanese castle", "skyscraper": "office building", "tower|radio tower": "Tokyo tower",
        "tree": "deciduous tree", "oak|maple|elm|birch|willow|treehouse": "deciduous tree", "pine|fir|spruce": "evergreen tree",
        "flower|flowers|wildflower|wildflowers": "tulip", "roses|rose": "rose", "daisy|daisies": "blossom",
        "coffee|espresso|latte|cappuccino|coffee cup|cup of coffee": "hot beverage", "tea|cup of tea": "teacup without handle",
        "bitcoin|bitcoins|satoshi|satoshis|gold coin|gold coins": "coin", "lightning|lightning bolt|thunderbolt": "high voltage",
        "treasure|treasure chest|chest of gold|gold|riches": "money bag", "guitar|electric guitar": "guitar",
        "piano|keyboard": "musical keyboard", "mic": "microphone", "drums|drum kit": "drum", "cello|fiddle": "violin",
        "book|novel": "open book", "lantern|lanterns|paper lantern": "red paper lantern", "candle": "candle",
        "campfire|bonfire|flames": "fire", "fireplace": "fire", "telescope": "telescope", "sword|blade": "dagger",
        "bow": "bow and arrow", "rainbow": "rainbow", "snowman": "snowman without snow", "surfer": "person surfing",
        "skier": "skier", "cyclist": "person biking", "runner|jogger": "person running", "dancer|ballerina": "woman dancing",
        "musician|guitarist|rock star|rockstar|pop star|band": "singer", "pianist|violinist|drummer": "singer",
        "barista": "cook", "chef|baker": "cook", "doctor|nurse": "health worker", "hero|superhero": "superhero",
        "boy|kid": "boy", "girl|schoolgirl": "girl", "lady|woman|mother|mom|mum": "woman", "man|guy|father|dad": "man",
        "baby|infant|toddler": "baby", "person|people|someone|stranger|traveler|traveller|wanderer|hiker": "person walking",
        "couple|lovers": "woman and man holding hands", "friends": "people holding hands", "detective|spy": "detective",
        "clown": "clown face", "mermaid": "mermaid", "fairy|fairies": "fairy", "elf": "elf", "gnome|dwarf|goblin": "elf",
        "santa|santa claus": "Santa Claus", "vampire|dracula": "vampire", "zombie": "zombie", "genie": "genie",
        "programmer|coder|hacker|developer": "technologist", "painter": "artist", "gardener": "farmer",
        "sailor|captain": "man pilot", "monk": "person in lotus position", "fisherman": "man farmer",
        "skateboarder": "person standing", "philosopher": "older person", "poet": "artist", "student": "student",
        "cat": "cat", "dog": "dog", "mouse": "mouse", "cow": "cow", "pig": "pig", "tiger": "tiger", "duck|ducks|duckling": "duck",
        "chick|chicks": "baby chick", "hen": "chicken", "crow|raven": "black bird", "seagull|gull|pigeon": "dove",
        "sparrow|robin|birds": "bird", "bee|bees|bumblebee": "honeybee", "firefly|fireflies": None, "ladybug": "lady beetle",
        "whale": "spouting whale", "orca": "whale", "fish|goldfish|fishes": "tropical fish", "jellyfish": "jellyfish",
        "squirrel|squirrels": "chipmunk", "turtle|tortoise": "turtle", "seashell|shell|shells": "spiral shell",
        "love": "red heart", "heart|hearts": "red heart", "peace": "dove", "freedom|liberty": "dove", "hope": "seedling",
        "time": "hourglass not done", "music|song|melody|jazz": "musical notes", "dream|dreams": "crescent moon",
        "money|cash|wealth": "money bag", "idea|ideas|creativity": "light bulb", "war": "crossed swords",
        "justice": "balance scale", "victory|success": "trophy", "christmas": "Christmas tree", "birthday": "birthday cake",
        "halloween": "jack-o-lantern", "carnival|amusement park|fairground|fair": "ferris wheel", "circus": "circus tent",
        "camp|camping|campsite": "tent", "tent": "tent", "igloo": "hut", "temple|shrine": "shinto shrine", "bridge": None,
        "statue": "moai", "fountain|waterfall": "fountain", "well": None, "swing": None, "bench": None,
        "pumpkin|pumpkins": "jack-o-lantern", "apple|apples": "red apple", "cake": "birthday cake", "noodles|ramen": "steaming bowl",
        "ice cream": "soft ice cream", "donut|donuts|doughnuts": "doughnut", "burger": "hamburger", "fries": "french fries",
        "soda": "cup with straw", "wine": "wine glass", "beer": "beer mug", "cocktail": "cocktail glass",
        "hat": "top hat", "sunglasses|shades": "sunglasses", "glasses": "glasses", "scarf": "scarf", "crown": "crown",
        "headphones|headphone": "headphone", "backpack": "backpack", "umbrella|umbrellas|parasol": "umbrella",
        "laptop|computer": "laptop", "phone|smartphone": "mobile phone", "tv": "television", "football|soccer": "soccer ball",
        "skateboard": "skateboard", "surfboard": "person surfing", "kite": "kite", "sled|sledge|sleigh": "sled",
        "anchor": "anchor", "map": "scroll", "letter": "envelope", "gift|present|gifts|presents": "wrapped gift",
        "crystal ball": "crystal ball", "potion": "alembic", "wand": "magic wand", "diamond|diamonds|jewel": "gem stone",
        "comet|meteor|shooting star|asteroid": "comet", "planet|saturn|planets": "ringed planet", "earth|globe": "globe showing Europe-Africa",
        "satellite": "satellite", "node|relay|server": "desktop computer", "ostrich": "dodo", "nostrich": "dodo", "volcano": "volcano",
        "sushi": "sushi", "bread": "bread", "teddy|teddy bear": "teddy bear", "doll": "nesting dolls", "disco ball": "mirror ball",
        "city|town|village|street|forest|sea|ocean|beach|field|garden|river|lake|sky|night|day|rain|snow|winter": None,
        "fox|foxes": "fox", "wolf|wolves": "wolf", "bear|bears": "bear", "lion|lions": "lion", "panda|pandas": "panda",
        "frog|frogs|toad": "frog", "owl|owls": "owl", "penguin|penguins": "penguin", "elephant|elephants": "elephant",
        "hippo": "hippopotamus", "rhino": "rhinoceros", "bat": "bat", "snake": "snake", "octopus|octopuses": "octopus",
        "polar bear": "polar bear", "koala": "koala", "hedgehog": "hedgehog", "sheep|lamb": "ewe", "hen house": "hut",
        "butterfly|butterflies": "butterfly", "snail": "snail", "crab": "crab", "dolphin|dolphins": "dolphin",
        "mushroom|mushrooms|toadstool|toadstools": "mushroom", "cactus|cacti": "cactus", "palm|palms|palm tree": "palm tree",
        "mountain|mountains|hill|hills": None, "island": "desert island", "sun": None, "moon": None, "star|stars": None,
        "cloud|clouds": None, "aurora|northern lights": None, "sunset|sunrise|dusk|dawn": None,
    }.items()
    for name in names.split("|")
}  # fmt: skip

# Words that make the place, in order of precedence.
PLACES: tuple[tuple[str, str], ...] = (
    ("deep", r"underwater|under the (sea|ocean|water|waves)|deep sea|seabed|sea floor|ocean floor|coral|reef|submarine|aquarium|atlantis"),
    ("moon", r"(on|over|across) the moon|moon surface|lunar|(on )?mars\b|martian|asteroid|alien (planet|world)"),
    ("space", r"(outer |deep )?space|galax(y|ies)|nebula|cosmos|cosmic|orbit(ing)?|universe|among the stars|milky way|interstellar"),
    ("library", r"librar(y|ies)|bookshop|bookstore|archive"),
    ("kitchen", r"kitchen|bakery|baking|cooking"),
    ("stage", r"stage|concert|rock band|disco|night ?club|dance ?floor|orchestra|theatre|theater|karaoke|guitar solo|opera|gig|band playing|jazz club"),
    ("room", r"bedroom|living room|room|indoors?|classroom|office|lab(oratory)?|studio|desk|window ?sill|by the window|workshop|attic|caf[eé]|coffee shop|diner|restaurant|fireplace"),
    ("city", r"city|cities|streets?|town|urban|skyline|downtown|cyberpunk|rooftops?|tokyo|new york|paris|london|market|traffic|skyscrapers?|metropolis|alley|boulevard"),
    ("snow", r"snow\w*|ice\b(?! cream)|icy|arctic|winter\w*|antarctic\w*|frozen|polar|northern lights|aurora|christmas|ski(s|ing|er)?\b|igloo|glacier|blizzard|tundra|frost\w*"),
    ("beach", r"beach\w*|shores?|island|tropical|surf(er|ing|board)?|seaside|sandcastle|lagoon|hawaii"),
    ("lake", r"lake|river|pond|stream|creek|riverside"),
    ("sea", r"sea|seas|ocean|coast\w*|waves?|harbou?r|lighthouse|boats?|ship|sail(s|ing|boat|or)?|pirates?( ship)?|whales?|dolphins?|bay"),
    ("desert", r"desert|dunes?|sahara|cactus|cacti|camel|pyramids?|canyon|oasis|wild west"),
    ("forest", r"forests?|woods?|woodland|jungle|rainforest|grove|trees|campfire|camping|mushrooms?|fairy|elf|elves|treehouse|orchard|swamp"),
    ("sky", r"above the clouds|in the (sky|clouds|air)|clouds|hot.air balloons?|airplane|plane|soar\w*|heaven|flying (over|above|through|high)|sky\b"),
    ("mount", r"mountains?|mountain\w*|alps|alpine|peaks?|valley|volcano|cliffs?|castle|eagle|summit|highlands?"),
    ("meadow", r"meadow|fields?|garden|farm|park|prairie|pasture|village|countryside|hills?|picnic|flowers|grass\w*|spring"),
)  # fmt: skip

TIMES: tuple[tuple[str, str], ...] = (
    ("neon", r"neon|cyberpunk|synthwave|vaporwave|retrowave|night ?club|disco|futuristic"),
    ("storm", r"storm\w*|thunder\w*|tempest|hurricane|dark clouds|gloomy|rain(y|ing|storm)?|in the rain|downpour|grey day"),
    ("fog", r"fog\w*|mist(y|s)?|haze|hazy|smok(e|y)"),
    ("night", r"night\w*|midnight|moon(lit|light|light)?\b|stars|starry|starlight|aurora|northern lights|dark\w*|lanterns?|firefl\w+|camp ?fire|spooky|halloween|haunted|fireworks"),
    ("sunset", r"sunset|dusk|evening|golden hour|twilight|volcano|lava|autumn|fall leaves|wild west"),
    ("dawn", r"dawn|sunrise|morning|breakfast|daybreak"),
    ("pastel", r"dream\w*|pastel|kawaii|unicorns?|magic\w*|candy|wonderland|whimsical|fairy ?tale"),
    ("day", r"noon|sunny|daylight|summer|afternoon|spring|bright day|blue sky"),
)  # fmt: skip

STYLES: tuple[tuple[str, str], ...] = (
    ("watercolour", r"water ?colou?rs?|aquarelle|painted|painting|gouache|impressionis[tm]\w*"),
    ("pixel", r"pixel( ?art)?|8.?bit|16.?bit|retro game|video ?game"),
    ("poster", r"poster|screen ?print|art deco|pop art|vector( art)?|flat design|minimalist|propaganda"),
    ("noir", r"noir|black and white|black.and.white|monochrome|b&w|sin city"),
    ("pastel", r"pastel( colou?rs| style)?|kawaii|soft colou?rs|chalk"),
    ("ink", r"ink|line ?art|comic|manga|sketch|drawing|cartoon|etching|hand.drawn|pencil"),
)

WEATHER: dict[str, str] = {
    "rain": r"rain(y|ing|storm|s)?|storm\w*|downpour|tempest|thunder\w*",
    "snow": r"snow(ing|y|fall|flakes?|storm)?|blizzard|winter\w*|christmas|arctic|northern lights|frozen",
    "aurora": r"aurora|northern lights|polar lights",
    "fireflies": r"firefl\w+|glow ?worms?|fairy lights|magic\w*|enchanted|sparkl\w+|glow\w*|fair(y|ies)|pixie",
    "fireworks": r"fireworks?|new year|celebration",
    "leaves": r"autumn|fall leaves|falling leaves|october|november",
    "petals": r"cherry blossoms?|sakura|petals|spring",
    "bubbles": r"bubbles|underwater|under the (sea|ocean|water)|reef|coral|mermaid",
    "rainbow": r"rainbows?",
    "lightning": r"lightning (storm|strikes?|bolts?)|thunder ?storm",
    "stars": r"stars?|starry|starlight",
    "moon": r"moon\w*",
    "sun": r"sun(ny|shine|light|set|rise)?",
    "notes": r"sing\w*|songs?|music\w*|playing the|melod\w+|concert|jazz|danc\w+|guitar|piano|violin|saxophone|trumpet",
    "lightrays": r"god rays|sunbeams?|light ?rays|holy",
}

NUMBERS: dict[str, int] = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "dozen": 9,
    "couple": 2, "pair": 2, "several": 4, "many": 6, "herd": 5, "flock": 6, "few": 3, "group": 4, "family": 3,
    "swarm": 8, "pack": 4, "lots": 7, "hundred": 12, "hundreds": 12, "thousand": 12, "school": 6, "bunch": 4, "crowd": 8,
    "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9, "10": 10, "twins": 2, "dozens": 10, "some": 3,
}  # fmt: skip

# name -> (hue 0..1 or None for grey, saturation factor, value factor)
COLOURS: dict[str, tuple[float | None, float, float]] = {
    "red": (0.0, 1.0, 1.0), "crimson": (0.97, 1.1, 0.85), "orange": (0.07, 1.1, 1.05), "yellow": (0.135, 1.1, 1.15),
    "golden": (0.115, 1.15, 1.1), "gold": (0.115, 1.15, 1.1), "green": (0.34, 1.0, 1.0), "emerald": (0.41, 1.1, 0.9),
    "teal": (0.49, 1.0, 0.95), "turquoise": (0.48, 1.0, 1.05), "cyan": (0.5, 1.1, 1.1), "blue": (0.59, 1.1, 1.0),
    "navy": (0.62, 1.1, 0.65), "purple": (0.76, 1.0, 1.0), "violet": (0.74, 1.0, 1.0), "indigo": (0.69, 1.0, 0.8),
    "pink": (0.92, 0.8, 1.15), "magenta": (0.86, 1.1, 1.05), "brown": (0.06, 0.8, 0.65), "silver": (None, 0.05, 1.15),
    "white": (None, 0.04, 1.6), "black": (None, 0.15, 0.4), "grey": (None, 0.05, 0.9), "gray": (None, 0.05, 0.9),
}  # fmt: skip

SIZES: dict[str, float] = {
    "tiny": 0.5, "small": 0.65, "little": 0.72, "mini": 0.55, "big": 1.25, "large": 1.25, "huge": 1.5, "giant": 1.6,
    "gigantic": 1.7, "enormous": 1.6, "colossal": 1.7, "massive": 1.5, "tall": 1.2, "baby": 0.7, "miniature": 0.5,
}  # fmt: skip

# What stands between two things -> how they are put together.
RELATIONS: tuple[tuple[str, str], ...] = (
    ("ride", r"rid(es?|ing|den)|rode|driv(es?|ing)|astride|on the back of|mounted on|pilot(s|ing)|steer(s|ing)|surfing on|skating on|sail(s|ing) (in|on|a)|on a|on an|aboard"),
    ("inside", r"inside|(sitting |sleeping |floating |living |trapped |flying )?in (a|an|the|his|her|their|its)"),
    ("play", r"play(s|ing)?|strum(s|ming)?|practi[cs](es|ing)|beating"),
    ("wear", r"wear(s|ing)?|dressed in|in (a|his|her) (?=\w*(hat|crown|glasses|scarf|coat))"),
    ("read", r"read(s|ing)?|writ(es|ing)|stud(ies|ying)|coding on|typing on|working on|paint(s|ing)|cooking|baking"),
    ("hold", r"hold(s|ing)?|carr(y|ies|ying)|with (a|an|his|her|its|their|some|two)?|drink(s|ing)|eat(s|ing)|us(es|ing)|swing(s|ing)|wav(es|ing)|throw(s|ing)|juggl(es|ing)|guard(s|ing)|hugg?(s|ing)|sip(s|ping)|selling|offering|bringing|and (a|his|her) (cup|glass)"),
    ("under", r"(resting |sleeping |sitting |reading )?(under|beneath|below)"),
    ("over", r"(jump(s|ing)|fl(y|ies|ying)|leap(s|ing)|soar(s|ing)|float(s|ing)|hover(s|ing)) (over|above|across|past)|above|over"),
    ("atop", r"(sitting |standing |resting |perched |sleeping |dancing |balancing )?(on top of|atop|upon|on the top of|on the|on some|on)"),
    ("chase", r"chas(es?|ing)|follow(s|ing)|hunt(s|ing)|running from|racing"),
    ("face", r"look(s|ing) at|watch(es|ing)|facing|fight(s|ing)|battl(es|ing)|talk(s|ing) (to|with)|meets?|meeting|greets?|kiss(es|ing)|versus|vs|danc(es|ing) with|playing with"),
)  # fmt: skip

POSES: dict[str, str] = {
    "fly": r"fly(ing)?|flies|float(s|ing)?|hover(s|ing)?|soar(s|ing)?|levitat\w+|drift(s|ing)|gliding|parachut\w+|in the sky|through the air",
    "jump": r"jump(s|ing)?|leap(s|ing)?|bounc(es|ing)|hop(s|ping)|somersault\w*",
    "dance": r"danc(e|es|ing)|twirl\w*|spinning|party(ing)?|celebrat(e|es|ing)|moonwalk\w*|headbang\w*",
    "sleep": r"sleep(s|ing|y)?|nap(s|ping)?|dream(s|ing)|asleep|snor(es|ing)|rest(s|ing)",
    "swim": r"swim(s|ming)?|div(es|ing)|snorkel\w*",
}

# Things that fit a hand; other things stand beside. Matched against CLDR subgroups.
PORTABLE = r"food|drink|dishware|musical|book|light|writing|tool|sport|game|arts|phone|computer|money|mail|clothing|award|event|plant-flower|music|science|household|lock|sound|office|medical|heart|emotion|other-object"

STOP = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "by", "with", "and", "or", "to", "for", "from", "under", "over", "into", "through", "near", "is", "are", "was", "be", "being", "very", "my", "your", "his", "her", "their", "our", "its", "it", "this", "that", "these", "those", "as", "up", "down", "out", "off", "about", "song", "video", "music", "scene", "image", "picture", "photo", "photograph", "illustration", "painting", "drawing", "digital", "art", "style", "beautiful", "amazing", "cinematic", "detailed", "high", "quality", "4k", "8k", "hd", "render", "concept", "masterpiece", "one", "some", "who", "which", "while", "then", "there", "make", "made", "create", "show", "showing", "long", "short", "big", "small", "little", "tiny", "huge", "giant", "old", "new", "great", "good", "best", "back", "side", "way", "top", "front", "middle", "behind", "between", "across", "against", "toward", "towards", "along", "around", "beside", "next", "after", "before", "during", "until", "where", "when", "how", "what", "all", "every", "each", "other", "another", "much", "more", "most", "lot", "lots", "kind", "sort", "piece", "pair", "couple", "group", "herd", "flock", "bunch", "swarm", "school", "family", "pack", "dozen", "crowd", "part", "full", "epic", "soft", "warm", "cold", "hot", "cool", "young", "wise", "lonely", "lone", "single", "happy", "sad", "brave", "magical", "mysterious", "ancient", "modern", "mini", "wild", "quiet", "calm", "peaceful", "cozy", "cosy", "dark", "bright", "light", "lights", "shadow", "colour", "color", "colours", "colors", "water", "air", "ground", "land", "world", "place", "view", "background", "foreground", "landscape", "moment", "end", "edge", "home", "time", "style", "shot", "close", "wide", "portrait", "it's", "its", "me", "you", "he", "she", "they", "we", "i", "us", "them", "him", "not", "no", "without", "plus", "like", "looking", "look", "looks", "sitting", "sits", "sit", "standing", "stands", "stand", "walking", "walks", "walk", "running", "runs", "run", "playing", "plays", "play", "holding", "holds", "riding", "rides", "eating", "eats", "drinking", "reading", "singing", "sings", "dancing", "dances", "flying", "flies", "fly", "jumping", "jumps", "sleeping", "sleeps", "swimming", "swims", "wearing", "wears", "watching", "watches", "chasing", "chases", "driving", "drives", "first", "last", "made", "dressed", "using", "going", "coming", "getting", "having", "doing", "seeing", "living", "growing", "burning", "falling", "rising", "glowing", "shining", "sparkling", "hidden", "lost", "cyberpunk", "pixel", "watercolor", "watercolour", "noir", "poster", "pastel", "ink", "comic", "manga", "sketch", "cartoon", "retro", "vintage", "neon", "synthwave", "sings", "stage", "concert", "party", "wants", "want", "needs", "loves", "loving", "who's", "tale", "story", "story's", "dreamlike", "storybook"]
)
