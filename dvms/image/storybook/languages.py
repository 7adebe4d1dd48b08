# ruff: noqa: E501 (word lists)
"""Which language a prompt is in, and its words for places, times, colours and numbers."""

import re
from functools import cache
from typing import TypeAlias

from dvms.image.storybook import sprites

SCRIPTS = (
    ("ja", r"[\u3040-\u30ff]"), ("ko", r"[\uac00-\ud7af]"), ("zh", r"[\u4e00-\u9fff]"), ("uk", r"[іїєґ]"), ("ru", r"[а-яё]"),
    ("th", r"[\u0e00-\u0e7f]"), ("hi", r"[\u0900-\u097f]"), ("bn", r"[\u0980-\u09ff]"),
)  # fmt: skip
WITHOUT_SPACES = frozenset({"ja", "zh", "th"})

# Small words that give a Latin-script language away.
TELLTALES = {
    "en": "the a an of in on at with and under over by is are his her its to from for through two three song about",
    "es": "el la los las un una en de del con por bajo sobre y que al su entre hacia noche tres dos",
    "pt": "o os um uma no na nos nas em do da com sob sobre e ao pelo pela seu à noite três dois",
    "fr": "le la les un une des dans du au aux avec sous sur et qui de son sa près nuit trois deux en",
    "de": "der die das ein eine einen einem einer im am auf mit unter über und vom zum dem den bei in drei zwei auf",
    "it": "il lo la i gli le un una nel nella di del della con sotto sul sulla e al tra notte tre due che",
    "nl": "de het een in op met onder van en aan bij naar door drie twee over zijn",
    "sv": "en ett i på med under över och av vid den det som till från tre två",
    "da": "en et i på med under over og af ved den det som til fra tre to",
    "nb": "en et ei i på med under over og av ved den det som til fra tre to",
    "pl": "w na z pod nad i do przy przez się po trzy dwa dwie",
    "fi": "ja on alla yllä kanssa kolme kaksi joka vieressä",
    "hu": "a az egy és alatt felett között mellett két három",
    "et": "ja on all kohal koos kaks kolm ning",
    "lt": "ir su po ant prie per du trys kur",
    "ms": "di dan yang dengan bawah atas seekor sebuah dua tiga ke dari",
    "vi": "một và trong dưới trên với của ở con chiếc hai ba",
}

# Beginnings of words (so that endings don't matter) -> scene word of the engine.
SCENE = {
    "es": "tristeza:sadness triste:sadness amor:love soledad:loneliness alegría:joy esperanza:hope libertad:freedom paz:peace miedo:fear otoño:autumn primavera:spring verano:summer pueblo:village puente:bridge cascada:waterfall invierno:snow tejado:city azotea:city fondo:deep montando:@ride leyendo:@read lee:@read nieve:snow bosque:forest selva:forest mar:sea océano:sea playa:beach ciudad:city montaña:mount desierto:desert espacio:space estrella:stars luna:moon noche:night atardecer:sunset amanecer:dawn lluvia:rain tormenta:storm niebla:fog submarin:deep jardín:meadow campo:meadow prado:meadow cielo:sky cocina:kitchen habitación:room biblioteca:library escenario:stage concierto:stage río:lake lago:lake rojo:=red roja:=red azul:=blue verde:=green amarill:=yellow negro:=black negra:=black blanco:=white blanca:=white dos:#2 tres:#3 cuatro:#4 cinco:#5 aurora:aurora montado:@ride montando:@ride monta:@ride tocando:@play toca:@play acuarela:%watercolour",
    "pt": "tristeza:sadness triste:sadness amor:love solidão:loneliness alegria:joy saudade:nostalgia esperança:hope liberdade:freedom paz:peace medo:fear outono:autumn primavera:spring verão:summer aldeia:village ponte:bridge cachoeira:waterfall inverno:snow telhado:city fundo:deep lendo:@read neve:snow floresta:forest mar:sea oceano:sea praia:beach cidade:city montanha:mount deserto:desert espaço:space estrela:stars lua:moon noite:night pôr:sunset amanhecer:dawn chuva:rain tempestade:storm nevoeiro:fog jardim:meadow campo:meadow céu:sky cozinha:kitchen biblioteca:library palco:stage rio:lake lago:lake vermelh:=red azul:=blue verde:=green amarel:=yellow preto:=black branco:=white dois:#2 duas:#2 três:#3 quatro:#4 montando:@ride tocando:@play aurora:aurora aquarela:%watercolour",
    "fr": "tristesse:sadness triste:sadness amour:love solitude:loneliness joie:joy espoir:hope liberté:freedom paix:peace peur:fear automne:autumn printemps:spring été:summer village:village pont:bridge cascade:waterfall hiver:snow toit:city fond:deep roux:=orange rousse:=orange lisant:@read lit:@read neige:snow forêt:forest bois:forest jungle:forest mer:sea océan:sea plage:beach ville:city rue:city montagne:mount désert:desert espace:space étoile:stars lune:moon nuit:night crépuscule:sunset coucher:sunset aube:dawn matin:dawn pluie:rain orage:storm tempête:storm brouillard:fog brume:fog sous-marin:deep jardin:meadow champ:meadow prairie:meadow ciel:sky cuisine:kitchen chambre:room bibliothèque:library scène:stage concert:stage rivière:lake lac:lake rouge:=red bleu:=blue vert:=green jaune:=yellow noir:=black blanc:=white deux:#2 trois:#3 quatre:#4 cinq:#5 chevauch:@ride joue:@play jouant:@play aurore:aurora boréal:aurora aquarelle:%watercolour",
    "de": "traurig:sadness trauer:sadness liebe:love einsam:loneliness freude:joy hoffnung:hope freiheit:freedom frieden:peace angst:fear sehnsucht:nostalgia heimweh:nostalgia herbst:autumn frühling:spring sommer:summer dorf:village brücke:bridge wasserfall:waterfall winter:snow dach:city meeresgrund:deep liest:@read schwarz:=black schnee:snow wald:forest dschungel:forest meer:sea ozean:sea strand:beach stadt:city straße:city berg:mount wüste:desert weltraum:space weltall:space all:space stern:stars mond:moon nacht:night sonnenuntergang:sunset abend:sunset sonnenaufgang:dawn morgen:dawn regen:rain sturm:storm gewitter:storm nebel:fog unterwasser:deep garten:meadow wiese:meadow feld:meadow himmel:sky küche:kitchen zimmer:room bibliothek:library bühne:stage konzert:stage fluss:lake see:lake rot:=red blau:=blue grün:=green gelb:=yellow schwarz:=black weiß:=white zwei:#2 drei:#3 vier:#4 fünf:#5 reitet:@ride reitend:@ride spielt:@play nordlicht:aurora polarlicht:aurora aquarell:%watercolour",
    "it": "tristezza:sadness triste:sadness amore:love solitudine:loneliness gioia:joy speranza:hope libertà:freedom pace:peace paura:fear autunno:autumn primavera:spring estate:summer villaggio:village ponte:bridge cascata:waterfall inverno:snow tett:city fondo:deep neri:=black nere:=black legge:@read neve:snow foresta:forest bosco:forest mare:sea oceano:sea spiaggia:beach città:city montagn:mount deserto:desert spazio:space stelle:stars stella:stars luna:moon notte:night tramonto:sunset alba:dawn pioggia:rain tempesta:storm nebbia:fog giardino:meadow prato:meadow campo:meadow cielo:sky cucina:kitchen stanza:room biblioteca:library palco:stage concerto:stage fiume:lake lago:lake ross:=red blu:=blue verde:=green giall:=yellow nero:=black nera:=black bianc:=white due:#2 tre:#3 quattro:#4 cavalca:@ride suona:@play aurora:aurora acquerello:%watercolour",
    "nl": "verdriet:sadness liefde:love eenzaam:loneliness vreugde:joy hoop:hope vrijheid:freedom vrede:peace angst:fear herfst:autumn lente:spring zomer:summer dorp:village brug:bridge waterval:waterfall winter:snow dak:city leest:@read sneeuw:snow bos:forest zee:sea oceaan:sea strand:beach stad:city berg:mount woestijn:desert ruimte:space ster:stars maan:moon nacht:night zonsondergang:sunset zonsopgang:dawn regen:rain storm:storm mist:fog tuin:meadow weide:meadow lucht:sky keuken:kitchen kamer:room bibliotheek:library podium:stage rivier:lake meer:lake rood:=red rode:=red blauw:=blue groen:=green geel:=yellow gele:=yellow zwart:=black wit:=white twee:#2 drie:#3 vier:#4 noorderlicht:aurora speelt:@play rijdt:@ride",
    "sv": "vinter:snow tak:city läser:@read röd:=red rött:=red snö:snow skog:forest hav:sea strand:beach stad:city berg:mount öken:desert rymd:space stjärn:stars mån:moon natt:night solnedgång:sunset gryning:dawn regn:rain storm:storm dimma:fog trädgård:meadow äng:meadow himmel:sky kök:kitchen rum:room bibliotek:library scen:stage sjö:lake röd:=red blå:=blue grön:=green gul:=yellow svart:=black vit:=white två:#2 tre:#3 norrsken:aurora",
    "pl": "zim:snow dach:city czyta:@read śnieg:snow śnieg:snow las:forest lesie:forest morz:sea ocean:sea plaż:beach miast:city mieście:city gór:mount pustyn:desert kosmos:space gwiazd:stars księżyc:moon noc:night zachód:sunset świt:dawn deszcz:rain burz:storm mgł:fog ogród:meadow ogrodz:meadow łąk:meadow nieb:sky kuchn:kitchen pokój:room pokoju:room bibliote:library scen:stage rzek:lake jezior:lake czerwon:=red niebiesk:=blue zielon:=green żółt:=yellow czarn:=black biał:=white dwa:#2 dwie:#2 trzy:#3 cztery:#4 zorz:aurora",
    "ru": "груст:sadness печал:sadness любов:love одиночеств:loneliness радост:joy надежд:hope свобод:freedom покой:peace страх:fear осен:autumn весн:spring лето:summer летн:summer деревн:village мост:bridge водопад:waterfall зим:snow крыш:city читает:@read льд:snow лёд:snow снег:snow снеж:snow лес:forest джунгл:forest мор:sea океан:sea пляж:beach город:city улиц:city гор:mount пустын:desert космос:space звезд:stars звёзд:stars лун:moon ноч:night закат:sunset рассвет:dawn дожд:rain бур:storm гроз:storm туман:fog сад:meadow луг:meadow пол:meadow неб:sky кухн:kitchen комнат:room библиотек:library сцен:stage рек:lake озер:lake красн:=red син:=blue зелён:=green зелен:=green жёлт:=yellow чёрн:=black черн:=black бел:=white два:#2 две:#2 три:#3 четыре:#4 сияни:aurora едет:@ride верхом:@ride играет:@play акварел:%watercolour",
    "uk": "зим:snow дах:city читає:@read сніг:snow ліс:forest мор:sea океан:sea пляж:beach міст:city гор:mount пустел:desert космос:space зір:stars зорян:stars місяц:moon ніч:night ноч:night захід:sunset світан:dawn дощ:rain бур:storm туман:fog сад:meadow луг:meadow неб:sky кухн:kitchen кімнат:room бібліотек:library сцен:stage річ:lake озер:lake червон:=red син:=blue зелен:=green жовт:=yellow чорн:=black біл:=white два:#2 дві:#2 три:#3 сяйв:aurora",
    "ja": "悲し:sadness 愛:love 恋:love 孤独:loneliness 喜び:joy 希望:hope 自由:freedom 平和:peace 恐怖:fear 飲:@hold 食:@hold 持:@hold 秋:autumn 春:spring 夏:summer 村:village 橋:bridge 滝:waterfall 冬:snow 屋根:city 読:@read 氷:snow 雪:snow 森:forest 海:sea 浜:beach 街:city 都市:city 町:city 山:mount 砂漠:desert 宇宙:space 星:stars 月:moon 夜:night 夕:sunset 朝:dawn 雨:rain 嵐:storm 霧:fog 海底:deep 水中:deep 庭:meadow 草原:meadow 野原:meadow 空:sky 台所:kitchen 部屋:room 図書館:library 舞台:stage ステージ:stage 川:lake 湖:lake 赤:=red 青:=blue 緑:=green 黄:=yellow 黒:=black 白:=white 二:#2 三:#3 四:#4 オーロラ:aurora 桜:petals 乗:@ride 弾:@play 水彩:%watercolour",
    "zh": "悲伤:sadness 爱:love 孤独:loneliness 快乐:joy 希望:hope 自由:freedom 和平:peace 恐惧:fear 喝:@hold 吃:@hold 拿:@hold 秋:autumn 春:spring 夏:summer 村:village 桥:bridge 瀑布:waterfall 冬:snow 屋顶:city 读:@read 看书:@read 冰:snow 雪:snow 森林:forest 树林:forest 海:sea 海滩:beach 城市:city 街:city 山:mount 沙漠:desert 太空:space 宇宙:space 星:stars 月:moon 夜:night 日落:sunset 黄昏:sunset 日出:dawn 早晨:dawn 雨:rain 暴风:storm 雾:fog 海底:deep 水下:deep 花园:meadow 草地:meadow 草原:meadow 天空:sky 厨房:kitchen 房间:room 图书馆:library 舞台:stage 河:lake 湖:lake 红:=red 蓝:=blue 绿:=green 黄:=yellow 黑:=black 白:=white 两:#2 二:#2 三:#3 四:#4 极光:aurora 骑:@ride 弹:@play 水彩:%watercolour",
    "ko": "슬픔:sadness 사랑:love 외로움:loneliness 기쁨:joy 희망:hope 자유:freedom 평화:peace 두려움:fear 마시:@hold 먹:@hold 들고:@hold 겨울:snow 지붕:city 읽:@read 치는:@play 타는:@ride 눈:snow 숲:forest 바다:sea 해변:beach 도시:city 거리:city 산:mount 사막:desert 우주:space 별:stars 달:moon 밤:night 노을:sunset 일몰:sunset 아침:dawn 비:rain 폭풍:storm 안개:fog 바닷속:deep 정원:meadow 들판:meadow 하늘:sky 부엌:kitchen 방:room 도서관:library 무대:stage 강:lake 호수:lake 빨간:=red 파란:=blue 초록:=green 노란:=yellow 검은:=black 하얀:=white 두:#2 세:#3 네:#4 오로라:aurora",
    "fi": "talv:snow katto:city lukee:@read lumi:snow lume:snow metsä:forest mer:sea ranta:beach kaupun:city vuor:mount aavik:desert avaruu:space täht:stars kuu:moon yö:night auringonlask:sunset aamu:dawn sad:rain myrsky:storm sumu:fog puutarh:meadow niity:meadow taivas:sky taivaa:sky keittiö:kitchen huone:room kirjasto:library lava:stage järv:lake joki:lake punai:=red sini:=blue vihre:=green kelta:=yellow musta:=black valko:=white kaksi:#2 kolme:#3 revontul:aurora",
}  # fmt: skip


def guess(text: str) -> str:
    """The language of a prompt: by script, else by its small words; English where nothing tells."""
    for language, script in SCRIPTS:
        if re.search(script, text):
            return language
    words = set(text.split())
    scores: dict[str, float] = {name: len(words & small) for name, small in _telltales().items()}
    for name in SCENE:  # "la tristesse": the other words tell what the small ones leave open
        if scores.get(name):
            scores[name] += 0.3 * sum(1 for word in words if len(word) > 3 and _scene_word(name, word))
    best = max(scores, key=lambda name: (scores[name], name == "en"))
    if scores[best] == 0:
        hits = {name: sum(1 for w in words if _scene_word(name, w)) for name in SCENE}
        likely = max(hits, key=lambda name: hits[name])
        return likely if hits[likely] > 1 else "en"
    return best if scores[best] > scores["en"] else "en"


@cache
def _telltales() -> dict[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in TELLTALES.items()}


@cache
def scene_words(language: str) -> tuple[tuple[str, str], ...]:
    """(beginning of a word, what it means), longest first. `=red` a colour, `#3` a number, `@ride` a relation."""
    pairs = [tuple(item.split(":", 1)) for item in SCENE.get(language, "").split()]
    return tuple(sorted(((p[0], p[1]) for p in pairs), key=lambda p: -len(p[0])))


def _scene_word(language: str, word: str) -> str | None:
    return next(
        (m for start, m in scene_words(language) if word.startswith(start) and len(word) - len(start) <= 4), None
    )


def _second_half(language: str, word: str) -> str | None:
    """What a compound ends in: "Tannenwald" and "Herbstwald" are woods."""
    if language not in COMPOUNDING:
        return None
    endings = ((end, meaning) for end, meaning in scene_words(language) if meaning[0] not in "=#@%")
    return next((m for end, m in endings if len(end) > 3 and word.endswith(end) and len(word) > len(end) + 2), None)


Table: TypeAlias = dict[str, list[tuple[int, float]]]
ADJECTIVE_FOLLOWS = frozenset({"es", "pt", "fr", "it", "vi", "ms"})
RELATION_WORDS = {"ride": "riding", "play": "playing", "read": "reading", "hold": "holding"}
NAMED_PLACES = frozenset({"paris", "london", "tokyo", "venice", "hawaii", "sahara", "alps", "mars"})
ON_WORDS = {
    "es": "sobre", "pt": "sobre", "fr": "sur", "de": "auf", "it": "su sul sulla", "nl": "op", "sv": "på", "da": "på", "nb": "på", "pl": "na",
    "ru": "на", "uk": "на", "ms": "atas",
}  # fmt: skip
COMPOUNDING = frozenset({"de", "nl", "sv", "da", "nb", "fi", "hu", "et"})
WITH_WORDS = {
    "es": "con", "pt": "com", "fr": "avec", "de": "mit", "it": "con", "nl": "met", "sv": "med", "da": "med", "nb": "med",
    "ru": "с", "uk": "з із",
}  # fmt: skip
VERB_LAST = frozenset({"ja", "ko", "hi", "bn"})
PARTICLES_KO = ("에서", "으로", "이", "가", "은", "는", "을", "를", "에", "의", "와", "과", "로", "도")
SAME_NAME_MOST = 4  # a word that more sprites share says too little
NUMBER_WORDS = {"2": "two", "3": "three", "4": "four", "5": "five"}


def to_english(text: str, language: str) -> str:
    """The prompt as English keywords in its own order: sprite names, places, times, colours, numbers, relations."""
    table = sprites.foreign(language)
    out: list[str] = []
    last_thing, things, doer = 0, 0, None
    pieces = _cut(text, table, language) if language in WITHOUT_SPACES else _group(sprites.plain(text).split(), table)
    small = _telltales().get(language, frozenset())
    on = frozenset(ON_WORDS.get(language, "").split())
    having = frozenset(WITH_WORDS.get(language, "").split())
    related = True  # no relation before the first thing
    for piece in pieces:
        scene = _scene_word(language, piece)
        if second := _second_half(language, piece):
            out.append(_spoken(second))
            if scene is None:
                continue
        if scene is None and piece in on:
            if not related:
                out.append("on the")
                related = True
        elif scene is None and piece in having:
            if not related:
                out.append("with a")
                related = True
        elif scene is None and piece in small:
            continue
        elif scene:
            if scene.startswith("=") and language in ADJECTIVE_FOLLOWS:
                out.insert(last_thing, scene[1:])
            elif scene.startswith("@") and language in VERB_LAST:
                out.insert(last_thing, _spoken(scene))
                doer = last_thing if things == 1 else None  # "[coffee] drinking [cat]": who does it comes after
            else:
                out.append(_spoken(scene))
                related = related or scene.startswith("@")
        elif label := _named(piece, table, language):
            if doer is not None:
                out.insert(doer, label)
                doer = None
            else:
                last_thing, related = len(out), False
                out.append(label)
            things += 1
        elif piece in NAMED_PLACES or (re.fullmatch(r"[a-z0-9]+", piece) and language in WITHOUT_SPACES):
            out.append(piece)
    return " ".join(out)


def _spoken(scene: str) -> str:
    if scene.startswith("#"):
        return NUMBER_WORDS[scene[1:]]
    if scene.startswith("@"):
        return RELATION_WORDS[scene[1:]]
    words = {"deep": "underwater", "mount": "mountain", "lake": "lake"}
    return words.get(scene, scene.lstrip("=%"))


def _named(piece: str, table: Table, language: str) -> str | None:
    """The name of the sprite a word means: by its label, a rare tag, or the same stem with another ending."""
    found = _told(table.get(piece))
    if found is None and language == "ko":
        for particle in PARTICLES_KO:
            if found is None and piece.endswith(particle) and len(piece) > len(particle):
                found = _told(table.get(piece.removesuffix(particle)))
    if found is None and len(piece) > 3:
        near = [k for k in _by_beginning(language, piece[:3]) if _same_stem(k, piece)]
        near.sort(key=lambda k: (abs(len(k) - len(piece)), k))
        sure = [[entry for entry in table[k] if entry[1] >= 0.8] for k in near]  # names, not what they remind of
        found = next((f for f in map(_told, sure) if f is not None), None)
    return None if found is None else sprites.plain(sprites.sprites()[found].label)


def _told(entries: list[tuple[int, float]] | None) -> int | None:
    """The sprite of a table entry, or None where too many share the word. Things go before faces that show them."""
    if not entries:
        return None
    listed = sprites.sprites()
    things = [entry for entry in entries if entry[1] == 1 or "face" not in listed[entry[0]].subgroup] or entries
    best = max(score for _, score in things)
    same = [sprite for sprite, score in things if score == best]
    if best < 1 and len(set(same)) > SAME_NAME_MOST:
        return None
    return min(same, key=lambda i: (len(listed[i].label), i)) if best < 1 else same[0]


@cache
def _by_beginning(language: str, start: str) -> tuple[str, ...]:
    return tuple(k for k in sprites.foreign(language) if k.startswith(start) and " " not in k)


def _same_stem(key: str, word: str) -> bool:
    common = 0
    for a, b in zip(key, word, strict=False):
        if a != b:
            break
        common += 1
    if common == len(key) >= 3 and len(word) - common <= 2:  # the word with a case ending
        return True
    return common >= 4 and common >= 0.75 * max(len(key), len(word))


def _group(words: list[str], table: Table) -> list[str]:
    """Words, with those of a known phrase of two or three joined."""
    out, i = [], 0
    while i < len(words):
        size = next((n for n in (3, 2) if " ".join(words[i : i + n]) in table and i + n <= len(words)), 1)
        out.append(" ".join(words[i : i + size]))
        i += size
    return out


def _cut(text: str, table: Table, language: str) -> list[str]:
    """The longest known pieces of a text that is written without spaces."""
    scene = {start for start, _ in scene_words(language)}
    out, i = [], 0
    while i < len(text):
        size = next((n for n in range(8, 0, -1) if text[i : i + n] in table or text[i : i + n] in scene), 0)
        if size:
            out.append(text[i : i + size])
        i += max(size, 1)
    return out
