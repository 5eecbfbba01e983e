"""Print the shapes that fit a budget, and the recipe that makes the first: `harness plan --budget`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from harness.api.options import ScaleOptions
from harness.api.student_shapes import ShapeChoice, choose_shapes
from harness.cli.app import err, hint, out, print_json, print_table
from harness.config.shape_cost import BASIS
from harness.config.show import show, to_yaml
from harness.errors import UsageError
from harness.plans.shape_choice import Proposal
from harness.units import format_count


def print_shapes(
    budget: str,
    language: str,
    *,
    recipe: str | None,
    scale: str,
    options: ScaleOptions,
    length: int | None,
    threads: int,
    write: Path | None,
    as_json: bool,
) -> None:
    """Print the proposals as a table or as JSON; write the recipe of the first where a file is named."""
    if write is not None and (write.exists() or write.suffix not in {".yaml", ".yml"}):
        raise UsageError(
            f"--write {write}: expected a new file that ends in .yaml; got another; name another"
        )
    with err.status("choosing") as status:

        def show_progress(done: int, total: int) -> None:
            if not done:
                hint(f"timing {total} students on this machine, about a minute, once")
            status.update(f"{done} of {total} exported")

        choice = choose_shapes(
            budget,
            recipe=recipe,
            scale=scale,
            options=options,
            length=length,
            threads=threads,
            progress=show_progress,
        )
    text = to_yaml(choice.recipe, show(choice.recipe, choice.teacher, choice.scale))
    if write is not None:
        write.write_text(text, encoding="utf-8")
    if as_json:
        print_json(_describe(choice, text))
        return
    print_table(_tabulate(choice))
    for line in _explain(choice):
        out.print(line, soft_wrap=True, markup=False)
    if write is None:
        out.print(
            f"\nthe recipe of the first (--write recipe.yaml keeps it):\n\n{text}",
            markup=False,
            soft_wrap=True,
            end="",
        )
    else:
        hint(f"written: {write}; harness plan {language} --recipe {write} shows its stages")


def _tabulate(choice: ShapeChoice) -> Table:
    table = Table(
        "", "layers", "hidden", "heads", "FFN", "tokens", "parameters", "MB", "ms", "cost",
        title=f"at most {choice.budget}", title_justify="left",
    )  # fmt: skip
    for number, one in enumerate(choice.proposals, start=1):
        shape = one.shape
        sizes = map(str, (shape.layers, shape.hidden, shape.heads, shape.ffn))
        numbers = (format_count(shape.vocabulary), format_count(shape.num_parameters))
        latency = "–" if one.latency_ms is None else f"{one.latency_ms:.2f}"
        row = (f"{one.size_bytes / 1e6:.2f}", latency, f"{one.cost:.3f}")
        table.add_row(str(number), *sizes, *numbers, *row)
    return table


def _explain(choice: ShapeChoice) -> list[str]:
    """Return what each predicted column is computed from."""
    setting, table = choice.setting, choice.table
    lines = [f"MB: the {setting.precision} file for a text task, counted from the shape, within 2 %"]
    if table is not None:
        lines.append(
            f"ms: the median of one row of {setting.length} tokens on {setting.threads} thread(s), from "
            f"{len(table.shapes)} students timed on this machine ({table.path}); one left out is "
            f"predicted within {table.model.worst_error:.0%}"
        )
    lines.append(f"cost: a proxy that ranks shapes and forecasts no score (0: the teacher's own): {BASIS}")
    return lines


def _describe(choice: ShapeChoice, recipe: str) -> dict[str, Any]:
    table = choice.table
    return {
        "budget": vars(choice.budget),
        "teacher": choice.teacher.model_dump(),
        "setting": vars(choice.setting),
        "latency_table": None
        if table is None
        else {"path": str(table.path), "students": len(table.shapes), "worst_error": table.model.worst_error},
        "cost": {"basis": BASIS},
        "proposals": [_describe_proposal(one) for one in choice.proposals],
        "recipe": recipe,
    }


def _describe_proposal(one: Proposal) -> dict[str, Any]:
    return {
        "shape": one.shape.model_dump(),
        "parameters": one.shape.num_parameters,
        "size_bytes": one.size_bytes,
        "latency_ms": one.latency_ms,
        "cost": one.cost,
    }
