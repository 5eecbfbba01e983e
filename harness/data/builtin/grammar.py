"""The grammar engine: documents with a latent topic, polarity and cast, and the sentences drawn from them."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.data.builtin import lexicon as lexicons
from harness.data.builtin import spelling, zipf
from harness.data.builtin.chance import choose
from harness.data.builtin.lexicon import KINDS, NAME_TYPES, POLARITIES, TOPICS, Lexicon, Name, Word
from harness.data.builtin.patterns import Pattern, Slot, make_list_patterns, parse_pattern

CAST_FRACTION = 0.75
TYPE_FRACTION = 0.85
LOWER_FRACTION = 0.5


@dataclass(frozen=True, slots=True)
class Entity:
    """A person, place or organisation: its type, and the ways it is mentioned."""

    type: str
    mentions: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The latent values that the sentences of one document share.

    Attributes:
        view: the half of the vocabulary it draws from (see ``zipf``).
        type: the type most of its entities have.
    """

    view: str
    topic: str
    polarity: str
    type: str
    cast: tuple[Entity, ...]


@dataclass(slots=True)
class Sentence:
    """Tokens with their UPOS tags and IOB2 entity tags."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)

    def add(self, tokens: tuple[str, ...], tag: str, entity: str | None = None) -> None:
        """Add tokens that share a tag, and an entity type if they are a name."""
        self.words.extend(tokens)
        self.tags.extend([tag] * len(tokens))
        self.entities.extend(
            [f"B-{entity}", *[f"I-{entity}"] * (len(tokens) - 1)] if entity else ["O"] * len(tokens)
        )

    def text(self) -> str:
        """Return the running text."""
        return spelling.join(self.words, self.tags)


@dataclass(slots=True)
class _Draft:
    """A sentence in the making: its random source, its document, and the words and names used so far."""

    rng: random.Random
    document: Document
    nouns: list[tuple[Word, str, int]] = field(default_factory=list)
    taken: list[Word] = field(default_factory=list)
    named: list[Entity] = field(default_factory=list)


class Grammar:
    """A language ready to be drawn from: its patterns parsed, its tables summed."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.patterns = tuple(parse_pattern(source, lexicon) for source in lexicon.source["patterns"])
        self.lists = tuple(
            parse_pattern(source, lexicon) for source in make_list_patterns(lexicon, self._full_stop())
        )
        self._rules = spelling.read_rules(lexicon.source)
        self._words = {
            (view, latent, kind): self._word_table(view, latent, kind)
            for view in zipf.VIEWS
            for latent in (*TOPICS, *POLARITIES)
            for kind in KINDS
        }
        self._names: dict[tuple[str, str], zipf.WordTable[Name]] = {
            (view, part): zipf.build_table([(1.0, names)], view)
            for view in zipf.VIEWS
            for part, names in lexicon.names.items()
        }

    def draw_document(self, rng: random.Random, view: str, topic: str = "", polarity: str = "") -> Document:
        """Draw a document's latent values; topic and polarity may be fixed."""
        topic = topic or choose(rng, TOPICS)
        polarity = polarity or choose(rng, POLARITIES)
        kind = choose(rng, NAME_TYPES)
        cast: list[Entity] = []
        for _ in range(choose(rng, (2, 3))):
            cast.append(self._entity(rng, view, self._type(rng, kind), cast))
        return Document(view, topic, polarity, kind, tuple(cast))

    def draw_sentence(self, rng: random.Random, document: Document, pattern: Pattern) -> Sentence:
        """Draw one sentence of the pattern; its nouns come first so that other words can agree with them."""
        draft = _Draft(rng, document)
        for slot in pattern.nouns:
            column, place = choose(rng, slot.columns)
            draft.nouns.append((self._draw(draft, slot), column, place))
        made = Sentence()
        for slot in pattern.slots:
            if slot.kind == "name":
                entity = self._mention(draft, slot)
                made.add(choose(rng, entity.mentions), slot.tag, entity.type)
            else:
                made.add(self._fill(draft, slot), slot.tag)
        spelling.adapt(made.words, made.tags, self._rules)
        if rng.random() < LOWER_FRACTION:
            made.words = [word.lower() for word in made.words]
        else:
            made.words[0] = spelling.capital(made.words[0])
        return made

    def find_table(self, view: str, latent: str, kind: str) -> zipf.WordTable[Word]:
        """Return the table of a kind's words for a topic or polarity."""
        return self._words[view, latent, kind]

    def _fill(self, draft: _Draft, slot: Slot) -> tuple[str, ...]:
        if slot.kind == "literal":
            return slot.tokens
        if slot.kind == "noun":
            word, _, place = draft.nouns[slot.noun or 0]
            return word.forms[place]
        place = slot.column
        if slot.noun is not None:
            noun, column, _ = draft.nouns[slot.noun]
            place = slot.places[noun.gender, column]
        return slot.forms[place] if slot.kind == "function" else self._draw(draft, slot).forms[place]

    def _draw(self, draft: _Draft, slot: Slot) -> Word:
        """Draw a word; a word that the sentence already has is drawn again, once."""
        latent = draft.document.polarity if slot.polar else draft.document.topic
        table = self.find_table(draft.document.view, latent, slot.kind)
        word = table.draw(draft.rng)
        if word in draft.taken:
            word = table.draw(draft.rng)
        draft.taken.append(word)
        return word

    def _mention(self, draft: _Draft, slot: Slot) -> Entity:
        """Return an entity of the cast that is not in the sentence yet, or sometimes another entity."""
        free = [
            one for one in draft.document.cast if slot.text in ("ENT", one.type) and one not in draft.named
        ]
        if free and draft.rng.random() < CAST_FRACTION:
            entity = choose(draft.rng, free)
        else:
            kind = self._type(draft.rng, draft.document.type) if slot.text == "ENT" else slot.text
            entity = self._entity(draft.rng, draft.document.view, kind, draft.named)
        draft.named.append(entity)
        return entity

    def _type(self, rng: random.Random, common: str) -> str:
        return common if rng.random() < TYPE_FRACTION else choose(rng, NAME_TYPES)

    def _entity(self, rng: random.Random, view: str, kind: str, taken: Sequence[Entity]) -> Entity:
        """Draw an entity of that type; an entity whose first mention is taken is drawn again."""
        while True:
            entity = self._new_entity(rng, view, kind)
            if all(entity.mentions[0] != one.mentions[0] for one in taken):
                return entity

    def _new_entity(self, rng: random.Random, view: str, kind: str) -> Entity:
        if kind == "PER":
            given, family = (self._names[view, part].draw(rng).tokens for part in ("given", "family"))
            return Entity(kind, (given, given + family))
        name = self._names[view, "place" if kind == "LOC" else "organisation"].draw(rng)
        return Entity(kind, (name.tokens,))

    def _word_table(self, view: str, latent: str, kind: str) -> zipf.WordTable[Word]:
        words = self.lexicon.words[kind]
        shares = zipf.topic_shares(latent) if latent in TOPICS else zipf.polarity_shares(latent)
        if latent == "neutral" and "neutral" not in words:
            shares = dict.fromkeys(TOPICS, 1.0)
        if not set(shares) & set(words):
            shares = dict.fromkeys(words, 1.0)
        return zipf.build_table_by_shares(words, shares, view)

    def _full_stop(self) -> str:
        ends = Counter(source.split()[-1].split("|")[0] for source in self.lexicon.source["patterns"])
        return str(ends.most_common(1)[0][0])


@functools.cache
def load_grammar(language: str) -> Grammar:
    """Return the language's grammar, made once."""
    return Grammar(lexicons.load_lexicon(language))
