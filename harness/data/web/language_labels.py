"""Which labels of a web corpus mean a language: ``mt`` is labelled mt, mlt, mlt_Latn or mlt-Latn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.languages import LANGUAGES

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FOLDER = re.compile(r"[a-z]{2,3}[_-][A-Z][a-z]{3}")


@dataclass(frozen=True)
class Labels:
    """The labels of the languages that are read.

    Attributes:
        accepted: by language, its labels, each a language and, where it is stated, a script.
    """

    accepted: Mapping[str, tuple[tuple[str, str | None], ...]]

    def find(self, label: str) -> str | None:
        """Return the language that a label means; None if it means another."""
        name, script = _split_label(label)
        for language, accepted in self.accepted.items():
            for its_name, its_script in accepted:
                if name == its_name and (None in {script, its_script} or script == its_script):
                    return language
        return None

    def find_folder(self, folders: tuple[str, ...]) -> str | None:
        """Return the label that a file has by its folders, the last first: ``mlt_Latn``, or ``mt``."""
        for folder in reversed(folders):
            if _FOLDER.fullmatch(folder) or self.find(folder) is not None:
                return folder
        return None


def parse_labels(given: str) -> Labels:
    """Return the labels of a list of languages as ``mt,sr=srp_Cyrl+srp``.

    Raises:
        UsageError: the list is empty, names a language twice, or a code is not the name of a folder.
    """
    accepted: dict[str, tuple[tuple[str, str | None], ...]] = {}
    for one in filter(None, (part.strip() for part in given.split(","))):
        language, _, stated = one.partition("=")
        if not _CODE.fullmatch(language) or (stated and not all(map(_CODE.fullmatch, stated.split("+")))):
            raise UsageError(f"--lang: expected CODE or CODE=LABEL+LABEL; got '{one}'; correct it")
        if language in accepted:
            raise UsageError(f"--lang: expected each language once; got {language} twice; remove one")
        accepted[language] = tuple(map(_split_label, stated.split("+"))) if stated else _list_labels(language)
    if not accepted:
        raise UsageError("--lang: expected languages, as mt,sw; got none; add them")
    return Labels(accepted)


def _list_labels(language: str) -> tuple[tuple[str, str | None], ...]:
    row = LANGUAGES.get(language)
    if row is None:
        return (_split_label(language),)
    configs = (row.corpus.config, row.tasks["topic"].config if "topic" in row.tasks else "")
    names = {language, *(_split_label(config)[0] for config in configs if config)}
    return tuple((name, row.script) for name in sorted(names))


def _split_label(label: str) -> tuple[str, str | None]:
    """Return the language of a label and its script, if it has one."""
    name, *others = re.split(r"[_-]", label.strip())
    script = next((one.title() for one in others if len(one) == 4 and one.isalpha()), None)
    return name.lower(), script
