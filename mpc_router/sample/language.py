"""The embedded sample's language: three kinds of example, which ask more and more of an encoder.

- **plain**: words decide one by one (cues, praise, misspelt forms; how much two sentences share
  points the same way), so a bag of words is enough;
- **turned**: three switches, negations above all, each of which turns the meaning over: the label
  is the parity of three words, which no sum over words gives and one layer of attention does;
- **nested**: five or six switches (who did it to whom, active or passive, a verb or its converse;
  denials within denials), and the label is their parity: more width, depth and training.

Switches are more often off than on, so every prefix of a parity carries a little of the label:
what makes it learnable in seconds. The kinds use words of their own, so that a stem which sees no
more than the words can tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_TURNED_ON: Final = 0.3
"""How often a switch of a turned example is on."""

_NESTED_ON: Final = 0.2
"""How often a switch of a nested example is on. At a quarter, the parity of six of them is learnt
or missed by chance."""

Words = Sequence[str]
_Switch = tuple[Words, Words]
"""The words of a switch that is off, and of one that is on."""


def _all(text: str) -> Words:
    return tuple(text.split())


class Draw:
    """Makes choices, one after the other, from numbers that are uniform on [0, 1)."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers: Iterator[float] = iter(numbers)

    def unit(self) -> float:
        """Gives the next number."""
        return next(self._numbers)

    def pick(self, words: Words) -> str:
        """Gives one of the words."""
        return words[int(self.unit() * len(words))]

    def pair(self, pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
        """Gives one of the pairs."""
        return pairs[int(self.unit() * len(pairs))]

    def on(self, chance: float) -> bool:
        """Gives True with this chance."""
        return self.unit() < chance

    def flip(self, switch: _Switch, *, on: bool) -> str:
        """Gives a word of the switch in this position."""
        return self.pick(switch[on])


_BODIES: Final = _all(
    "council company hospital museum school airline bank court team factory library theatre union "
    "ministry airport brewery"
)
_OTHER_BODIES: Final = _all("orchestra shipyard monastery circus embassy bakery")
_DEEDS: Final = (
    ("approved", "backed"),
    ("rejected", "refused"),
    ("sold", "traded"),
    ("bought", "acquired"),
    ("closed", "shut"),
    ("opened", "launched"),
    ("cleaned", "washed"),
    ("reviewed", "examined"),
)
_THINGS: Final = (
    ("plan", "proposal"),
    ("budget", "spending"),
    ("contract", "deal"),
    ("building", "house"),
    ("report", "paper"),
    ("road", "street"),
    ("bridge", "crossing"),
    ("shop", "store"),
)
_TIMES: Final = _all(
    "january february march april may june july august september october november december"
)
_OTHER_TIMES: Final = _all("spring summer autumn winter")
_MANNERS: Final = _all("quietly gladly briefly calmly slowly boldly kindly firmly openly twice")
_OTHER_MANNERS: Final = _all("overnight abroad together alone")
SAME: Final = _all("namely indeed likewise again thus")
APART: Final = _all("elsewhere meanwhile separately instead however")
PARTLY: Final = _all("partly somewhat roughly mostly")
PERHAPS: Final = _all("perhaps maybe possibly presumably")
_OFTEN: Final = (_all("always often usually"), _all("never hardly rarely"))
_STATED: Final = (_all("confirmed said"), _all("denied disputed"))
_SPEAKERS: Final = _all("officials experts reporters witnesses neighbours")
_PEOPLE: Final = (
    ("teacher", "pupil"),
    ("doctor", "patient"),
    ("seller", "buyer"),
    ("lawyer", "client"),
    ("driver", "rider"),
    ("writer", "reader"),
)
_CONVERSE: Final = (
    ("preceded", "followed"),
    ("led", "trailed"),
    ("hosted", "visited"),
    ("governed", "obeyed"),
    ("employed", "served"),
)

Pair = tuple[str, str]


def plain_pair(draw: Draw, cues: Words, *, close: bool, elsewhere: bool = False) -> Pair:
    """Gives two sentences and a cue; a close pair says one thing twice, with synonyms."""
    bodies, times = (_OTHER_BODIES, _OTHER_TIMES) if elsewhere else (_BODIES, _TIMES)
    body, deed, thing = draw.pick(bodies), draw.pair(_DEEDS), draw.pair(_THINGS)
    time = draw.pick(times)
    first = f"the {body} {deed[0]} the {thing[0]} in {time}"
    if not close:
        body, deed, thing = draw.pick(bodies), draw.pair(_DEEDS), draw.pair(_THINGS)
        time = draw.pick(times)
    cue = draw.pick(cues)
    return first, f"{cue} the {body} {draw.pick(deed)} the {draw.pick(thing)} in {time}"


def turned_pair(draw: Draw, *, elsewhere: bool = False) -> tuple[Pair, bool]:
    """Gives one thing said twice, negated in up to three places; and whether the meaning stays."""
    bodies = _OTHER_BODIES if elsewhere else _BODIES
    body, deed, thing = draw.pick(bodies), draw.pair(_DEEDS), draw.pair(_THINGS)
    on = [draw.on(_TURNED_ON) for _ in range(3)]
    first = f"the {body} {draw.flip(_OFTEN, on=on[0])} {deed[0]} the {thing[0]}"
    often, stated = draw.flip(_OFTEN, on=on[1]), draw.flip(_STATED, on=on[2])
    second = f"{draw.pick(_SPEAKERS)} {stated} that the {body} {often} {draw.pick(deed)}"
    return (first, f"{second} the {draw.pick(thing)}"), sum(on) % 2 == 0


def nested_pair(draw: Draw, *, elsewhere: bool = False) -> tuple[Pair, bool]:
    """Tells who did what to whom, twice; and whether it was the same one."""
    people, deed = draw.pair(_PEOPLE), draw.pair(_CONVERSE)
    manners = _OTHER_MANNERS if elsewhere else _MANNERS
    on = [draw.on(_NESTED_ON) for _ in range(5)]

    def clause(swapped: bool, passive: bool, converse: bool = False) -> str:
        one, two = people[swapped], people[not swapped]
        middle = f"was {deed[converse]} by" if passive else deed[converse]
        return f"the {one} {middle} the {two} {draw.pick(manners)}"

    return (clause(*on[:2]), clause(*on[2:])), sum(on) % 2 == 0


_WORKS: Final = _all("film play novel plot cast script score ending")
_CRITICS: Final = _all("critics viewers readers friends reviewers fans")
_PRAISE: Final = (
    _all("great lovely clever moving funny fresh warm brilliant"),
    _all("dull clumsy stale boring tedious cold shallow awful"),
)
_TRULY: Final = (_all("truly surely clearly"), _all("not never hardly"))
_RIGHT: Final = (_all("right correct"), _all("wrong mistaken"))
_BELIEVE: Final = (_all("believed thought"), _all("doubted disputed"))
_TRUE: Final = (_all("true certain"), _all("false untrue"))
_EVERYBODY: Final = (_all("everybody somebody"), ("nobody",))


def plain_sentiment(draw: Draw, *, good: bool) -> str:
    """Gives a sentence whose adjectives agree with each other."""
    one, two, three = (draw.flip(_PRAISE, on=not good) for _ in range(3))
    return f"a {one} and {two} {draw.pick(_WORKS)} with a {three} {draw.pick(_WORKS)}"


def turned_sentiment(draw: Draw) -> tuple[str, bool]:
    """Gives praise or blame behind two more switches; and whether it is praise."""
    on = [draw.on(_TURNED_ON) for _ in range(3)]
    who, work = draw.pick(_CRITICS), draw.pick(_WORKS)
    adjective, truly = draw.flip(_PRAISE, on=on[0]), draw.flip(_TRULY, on=on[1])
    right = draw.flip(_RIGHT, on=on[2])
    return f"{who} who call the {work} {adjective} are {truly} {right}", sum(on) % 2 == 0


def nested_sentiment(draw: Draw) -> tuple[str, bool]:
    """Gives praise or blame behind five more switches; and whether it is praise."""
    on = [draw.on(_NESTED_ON) for _ in range(6)]
    who, work = draw.pick(_CRITICS), draw.pick(_WORKS)
    true, believed = draw.flip(_TRUE, on=on[0]), draw.flip(_BELIEVE, on=on[1])
    truly, adjective = draw.flip(_TRULY, on=on[2]), draw.flip(_PRAISE, on=on[3])
    surely, right = draw.flip(_TRULY, on=on[4]), draw.flip(_RIGHT, on=on[5])
    text = f"it is {true} that {who} who {believed} the {work} was {truly} {adjective}"
    return f"{text} were {surely} {right}", sum(on) % 2 == 0


_ANIMALS: Final = _all("dog cat horse bird fox goat wolf bear sheep mouse duck owl")
_STATES: Final = _all("hungry tired happy thirsty angry asleep")
_VERBS: Final = (
    _all("went ran ate slept hid dug sang swam"),
    _all("goed runned eated sleeped hided digged singed swimmed"),
)
_PLACES: Final = _all("garden forest river barn field village")
_SEEMS: Final = (_all("seems looks"), _all("isnt wasnt"))
_DOES: Final = (("doesnt",), ("does",))
_ALWAYS: Final = (_all("always often today"), _all("never seldom rarely"))
_SAYS: Final = (_all("says thinks hopes"), _all("doubts denies"))


def plain_grammar(draw: Draw, *, good: bool) -> str:
    """Gives a sentence with two verbs, in forms that exist or in forms that do not."""
    one, two = (draw.flip(_VERBS, on=not good) for _ in range(2))
    return f"the {draw.pick(_ANIMALS)} {one} and {two} in the {draw.pick(_PLACES)}"


def _tag(draw: Draw, *, on: bool) -> str:
    return f"{draw.flip(_DOES, on=on)} it"


def turned_grammar(draw: Draw) -> tuple[str, bool]:
    """Gives a statement and its tag question; and whether the tag has the other polarity."""
    on = [draw.on(_TURNED_ON) for _ in range(3)]
    animal, state, place = draw.pick(_ANIMALS), draw.pick(_STATES), draw.pick(_PLACES)
    verb, always = draw.flip(_SEEMS, on=on[0]), draw.flip(_ALWAYS, on=on[1])
    text = f"the {animal} {verb} {always} {state} in the {place} , {_tag(draw, on=on[2])}"
    return text, sum(on) % 2 == 0


def nested_grammar(draw: Draw) -> tuple[str, bool]:
    """Gives a tag question after nested negations; and whether the tag has the other polarity."""
    on = [draw.on(_NESTED_ON) for _ in range(6)]
    animal, state = draw.pick(_ANIMALS), draw.pick(_STATES)
    true, who = draw.flip(_TRUE, on=on[0]), draw.flip(_EVERYBODY, on=on[1])
    says, verb = draw.flip(_SAYS, on=on[2]), draw.flip(_SEEMS, on=on[3])
    always = draw.flip(_ALWAYS, on=on[4])
    text = f"it is {true} that {who} {says} the {animal} {verb} {always} {state}"
    return f"{text} , {_tag(draw, on=on[5])}", sum(on) % 2 == 0


_QUESTION_STARTS: Final = _all("so really")
_REST: Final = _all("the a an and in that was were by with it is are who call , ?")


def as_questions(pair: Pair) -> Pair:
    """Gives two questions."""
    return f"{_QUESTION_STARTS[0]} {pair[0]} ?", f"{_QUESTION_STARTS[0]} {pair[1]} ?"


def as_question_and_sentence(pair: Pair) -> Pair:
    """Gives a question, and a sentence that may answer it."""
    return f"{_QUESTION_STARTS[1]} {pair[0]} ?", pair[1]


def words() -> list[str]:
    """Gives every word of the language, each once, in one order on every machine."""
    ordered: dict[str, None] = {}

    def collect(value: object) -> None:
        if isinstance(value, str):
            ordered[value] = None
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item)

    named = {name.lstrip("_"): value for name, value in globals().items() if name.isupper()}
    for _, value in sorted(named.items()):  # an underscore changes nobody's number
        collect(value)
    return list(ordered)
