"""docs/recipes.md lists every loss as its row states it."""

from __future__ import annotations

from pathlib import Path

from harness.config.losses import LOSSES

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
LOOKS_AT = {
    "labels": "labels",
    "classes": "logits of a task",
    "logits": "logits of the vocabulary",
    "last_state": "last hidden states",
    "states": "hidden states",
    "attention": "attention",
    "relations": "relations",
}
SHARED = {
    None: "–",
    "vocabulary": "vocabulary",
    "width": "hidden size",
    "heads": "number of heads",
    "relation_heads": "number of relation heads",
}


def write_row(name, loss):
    steps = ", ".join(f"`{step}`" for step in loss.steps)
    setting = f"`{loss.setting}`" if loss.setting else "–"
    cells = [f"`{name}`", steps, LOOKS_AT[loss.looks_at], SHARED[loss.requires], setting, loss.source]
    return f"| {' | '.join(cells)} |"


def test_the_page_lists_every_loss():
    _, _, section = PAGE.read_text("utf-8").partition("\n## Losses\n")
    section, _, _ = section.partition("\n## ")
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [write_row(name, loss) for name, loss in LOSSES.items()]
