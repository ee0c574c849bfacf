"""What the demo voices say: the Speech Commands words, a small English vocabulary, templates, words of five languages.

A Pico voice reads every text by the spelling rules of its own language, so the German, French, Spanish and Italian
voices are given each English word as a reader of their language would have to see it. They then speak English with an
accent, and stay recognisable. `spell` does this word by word, which is why sentences use no word outside `VOCABULARY`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The ten words to be spotted (Speech Commands v0.01 and v0.02)."""

OTHERS = (
    *("bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin"),
    *("nine", "one", "seven", "sheila", "six", "three", "tree", "two", "wow", "zero"),
)
"""The other twenty words of Speech Commands v0.01."""

LATER = ("backward", "follow", "forward", "learn", "visual")
"""The five words that v0.02 added."""

WORDS = KEYWORDS + OTHERS + LATER

# word: German, French, Spanish, Italian spelling; a dot leaves the word as it is.
_SPELLINGS = """
yes        jess      yesse      .          ies
no         nou       nau        nou        nou
up         app       appe       ap         app
down       daun      daoune     daun       daun
left       .         lefte      left       .
right      rait      raïte      rait       rait
on         onn       onne       .          onn
off        .         offe       of         .
stop       stopp     stoppe     estop      stopp
go         gou       gau        gou        gou
bed        bedd      bedde      bed        bedd
bird       börd      beurde     berd       berd
cat        kett      quatte     cat        chet
dog        dogg      dogue      .          dogh
eight      eit       éïte       eit        eit
five       faiv      faïve      faiv       faiv
four       foor      fore       for        foor
happy      heppi     happi      japi       eppi
house      haus      haousse    jaus       haus
marvin     marwin    marvine    .          .
nine       nain      naïne      nain       nain
one        wann      ouanne     uan        uan
seven      sewen     sévenne    seven      seven
sheila     schiela   chila      chila      sciila
six        sicks     .          .          sics
three      sri       sri        zri        tri
tree       trie      trie       tri        trii
two        tu        tou        tu         tu
wow        wau       ouaou      uau        uau
zero       siro      ziro       siro       ziro
backward   beckword  bacouorde  bacuord    becuord
follow     follo     follau     folou      follou
forward    forword   foreouorde foruord    foruord
learn      lörn      leurne     lern       lern
visual     wischuel  vijouel    visual     vijual
the        sö        ze         de         de
turn       törn      teurne     tern       tern
lights     laits     laïtse     laits      laits
music      mjusik    miousique  miusic     miusic
heat       hiet      hite       jit        hiit
lamp       lemp      lampe      lamp       lemp
in         inn       inne       .          .
kitchen    kitschen  kitchène   kichen     chicen
bedroom    bedruhm   bedroume   bedrum     bedrum
bathroom   bahsruhm  bassroume  basrum     basrum
open       oupen     aupène     oupen      oupen
close      klous     clause     clous      clous
window     windou    ouindau    uindou     uindou
door       dohr      dore       dor        dor
please     plies     plize      plis       pliis
now        nau       naou       nau        nau
small      smohl     smole      esmol      smol
red        redd      redde      red        redd
old        ould      aulde      ould       ould
sits       .         sitse      .          .
sleeps     slieps    slipse     eslips     slips
runs       ranns     reunse     rans       rans
sings      .         singse     .          .
under      ander     eundère    ander      ander
behind     bihaind   bihaïnde   bijaind    bihaind
has        hess      hase       jas        hes
sees       sies      size       siis       siis
cats       ketts     quatse     cats       chets
dogs       doggs     dogse      dogs       doghs
birds      börds     beurdse    berds      berds
"""

LANGUAGES = ("de", "fr", "es", "it")
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    word: tuple(word if spelling == "." else spelling for spelling in spellings)
    for word, *spellings in (line.split() for line in _SPELLINGS.strip().splitlines())
}

NATIVE: Mapping[str, tuple[str, ...]] = {
    "en": (*("five", "four", "nine", "one", "seven", "six", "three", "two"), "evening", "friend", "morning", "water"),
    "de": (*("fünf", "vier", "neun", "eins", "sieben", "sechs", "drei", "zwei"), "Abend", "Freund", "Morgen", "Wasser"),
    "fr": (*("cinq", "quatre", "neuf", "un", "sept", "six", "trois", "deux"), "soirée", "ami", "matin", "eau"),
    "es": (*("cinco", "cuatro", "nueve", "uno", "siete", "seis", "tres", "dos"), "tarde", "amigo", "mañana", "agua"),
    "it": (*("cinque", "quattro", "nove", "uno", "sette", "sei", "tre", "due"), "sera", "amico", "mattina", "acqua"),
}
"""The same twelve meanings in five languages, in one order."""

PLACES = ("in the kitchen", "in the bedroom", "in the bathroom")


def spell(text: str, language: str) -> str:
    """English `text` as a voice of `language` must see it; unchanged for "en".

    >>> spell("turn right", "de")
    'törn rait'
    """
    if language == "en":
        return text
    column = LANGUAGES.index(language)
    return " ".join(VOCABULARY[word][column] for word in text.split())


def commands() -> dict[str, dict[str, str]]:
    """Every household command with its slots `action`, `object` and `location` ("none" where it names no place).

    >>> commands()["turn on the lights in the kitchen"]
    {'action': 'activate', 'object': 'lights', 'location': 'kitchen'}
    """
    verbs = {"turn on": "activate", "turn off": "deactivate", "turn up": "increase", "turn down": "decrease"}
    things = {"activate": ("lights", "music", "lamp"), "increase": ("heat", "music")}
    things |= {"deactivate": things["activate"], "decrease": things["increase"]}
    found = {}
    for (verb, action), place in product(verbs.items(), ("", *PLACES)):
        for thing in things[action]:
            slots = {"action": action, "object": thing, "location": place.split()[-1] if place else "none"}
            found[f"{verb} the {thing} {place}".strip()] = slots
    return found


def sentences() -> tuple[str, ...]:
    """Short plain sentences, each about two seconds of speech, in a fixed order."""
    animals, looks = ("bird", "cat", "dog"), ("small", "red", "old", "happy")
    numbers = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
    acts = ("sits", "sleeps", "runs", "sings")
    places = ("in the house", "in the tree", "on the bed", "under the tree", "behind the door")
    ones = [f"the {look} {one} {act} {place}" for look, one, act, place in product(looks, animals, acts, places)]
    counts = [
        f"{name} {verb} {number} {look} {many}"
        for name, verb, number, look, many in product(
            ("marvin", "sheila"), ("has", "sees"), numbers, looks, ("birds", "cats", "dogs")
        )
    ]
    doors = [
        f"{please}{verb} the {look} {thing}{when}"
        for please, verb, look, thing, when in product(
            ("", "please "), ("open", "close"), looks[:3], ("door", "window"), ("", " now")
        )
    ]
    return tuple(ones + counts + doors)


def deal(texts: tuple[str, ...], hands: int, size: int, seed: int) -> list[list[str]]:
    """`hands` lists of `size` texts, no text twice: what each voice and setting reads, so that splits share none.

    >>> sorted(sum(deal(("a", "b", "c", "d"), hands=2, size=2, seed=0), []))
    ['a', 'b', 'c', 'd']
    """
    drawn = random.Random(seed).sample(texts, hands * size)
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]
