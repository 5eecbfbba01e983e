"""The built-in languages: a corpus and four labelled tasks without a download.

One lexicon per language (``lexicons/<code>.yaml``) and one grammar engine. A document has a latent topic,
a latent polarity and a small cast of entities; each sentence fills a pattern of the language with words
that fit, by Zipf's law. Half of the words (``seen``) may occur in labelled training sets; test sets draw
mostly from the other half, the corpus from both: a model's knowledge of *which words go together*, learned
from the corpus, decides the score.

The lexicon's format
====================
A *word* is its forms joined by ``/``, in the order of the columns declared for its kind; words are
separated by white space in folded blocks; ``_`` is the space within a form or a name. No form is left out::

    language: mt
    script: Latn                     # Latn | Hebr | Deva
    genders: [m, f]                  # or noun classes; [] when nouns have none (then the one gender is `all`)
    columns:                         # what each kind inflects for
      noun: [sg, pl]                 # a number, or a number and a case: sg.acc
      adjective: [m.sg, f.sg, pl]    # agreement columns, see below
      verb: [sg, pl]
      adverb: [all]
    nouns:      {<group>: {<gender>: words}}
    verbs:      {<group>: words}     # third person, one tense
    adjectives: {<group>: words}
    adverbs:    {<group>: words}
    names:      {person: {given: words, family: words}, place: words, organisation: words}
    function:   {<name>: {<column>: form}}                  # determiners and the like that agree with a noun
    elide:      {<form>: <form before>, before: <letters>}  # le → l'; also a → an
    assimilate: {literal: il-, consonants: {s: is-}, vowels: l-, vowel_letters: <letters or list of onsets>}
    patterns:   [<pattern>, …]

Groups are the six topics and the three polarities (``neutral`` has neither topic nor polarity); a form
is in one group of its kind. ``elide`` and ``assimilate`` (one rule or a list) change function words
only, by the onset of the next word.

A pattern is tokens separated by white space:

- ``literal|TAG``: a function word or punctuation mark with its UPOS tag;
- ``{noun:sg}``: a noun in that column; ``{noun}``: sg or pl by chance; nouns are numbered from 1 by place;
- ``{adj~1}``, ``{verb~1}``: agreeing with noun 1; ``{adj}``, ``{verb}``, ``{adverb}``: the first column;
  ``{verb:pl}``: that column. A noun of gender *g* in column *n.c* is looked up as ``g.n.c``, ``g.n``,
  ``n.c``, ``n``, ``all``: the first that is a column of the kind wins;
- ``{adj+}``, ``{noun+:sg}``, ``{verb+~1}``, ``{adverb+}``: a word of the document's polarity (without
  ``+``: of its topic);
- ``{PER}``, ``{LOC}``, ``{ORG}``, ``{ENT}`` (any of the three): a name;
- ``{the~1|DET}``: the form of ``function: the`` that agrees with noun 1.

In running text a PUNCT literal joins the previous token, a literal ending in ``-`` or ``'`` joins the next
one, one beginning with them joins the previous one, and the first letter becomes a capital. About half of
all sentences are in lower case throughout. To these patterns the engine adds plain lists of words and names,
in which the place of a word does not depend on the word.
"""

from __future__ import annotations

from harness.data.builtin.corpus import read_corpus
from harness.data.builtin.labelled import LABELS, read_task
from harness.data.builtin.lexicon import LANGUAGES

__all__ = ["LANGUAGES", "TASKS", "read_corpus", "read_task"]

TASKS = tuple(LABELS)
"""The tasks that the built-in languages have."""
