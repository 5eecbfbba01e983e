"""The numbers of all stages of a plan, as the report's data; none is computed that no stage has measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic import JsonValue

from harness.languages import LANGUAGES
from harness.measure.environment import describe
from harness.precisions import FP32, PRECISIONS
from harness.report import results as schema
from harness.report import texts
from harness.report.exported import Copy, Export
from harness.report.values import Cost, Estimate, Interval, Ratio, Study
from harness.tasks import TASKS

_ESTIMATE = ("value", "low", "high")
_TRAINS = ("pretrain", "adapt", "distill")
_NONE = dict.fromkeys(("shape", "parameters", "size_bytes"), "it is no encoder and has none")
_WITHOUT = {"majority": _NONE, "tfidf": _NONE, "static": {"shape": "it has no layers, only embeddings"}}
"""What baselines lack, and why."""
_RESUMED = "the training was cut off and resumed, so that"
_OF_ONE_ATTEMPT = {
    "tokens_per_s": "its speed was not measured whole",
    "wall_s": "its time was not measured whole",
    "peak_memory_bytes": "the peak of all attempts was not measured",
}
"""What a training that was cut off lacks."""


def collect(config: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> schema.Results:
    """Gives the results of a run out of its settings and its stages' manifests."""
    tasks = {name: TASKS[name].metrics[0] for name in config["tasks"]}
    students = [one for one in config["scored"] if one["role"] == "student"]
    files = config.get("exported") or {"teacher": "teacher", students[-1]["id"]: "student"}
    exported = tuple(files) if tasks else ()
    exported_tasks = tuple(config.get("exported_tasks") or tasks)
    trained = tuple(name for name, one in manifests.items() if one["kind"] in _TRAINS)
    exports = [
        row
        for model in exported
        for task in exported_tasks
        for row in _exports(model, files[model], task, manifests)
    ]
    return schema.Results(
        run=schema.Run(
            language=config["language"],
            language_name=_language_name(config["language"]),
            recipe=config["recipe"],
            recipe_source=config["recipe_source"],
            scale=config["scale"],
            teacher=config.get("teacher") or _teacher(manifests["teacher"]),
            data=config["data"],
        ),
        environment=cast("dict[str, JsonValue]", describe()),
        declared=schema.Declared(
            tasks=tasks,
            scored=tuple(one["id"] for one in config["scored"]) if tasks else (),
            exported=exported,
            exported_tasks=exported_tasks,
            precisions=tuple(config["precisions"]),
            trained=trained,
        ),
        models=tuple(_model(one, manifests) for one in config["scored"] if one["stage"] in manifests),
        scores=tuple(
            score for one in config["scored"] for task in tasks for score in _scores(one, task, manifests)
        ),
        comparisons=tuple(_comparisons(manifests.get("compare"))),
        exports=tuple(exports),
        copies=tuple(_copies(students[-1]["id"], manifests.get("precisions"))),
        held_out=tuple(_held_out(config, manifests)),
        leakage=tuple(_leakage(config, manifests["tasks"])),
        training=tuple(_training(name, manifests[name]) for name in trained),
        costs=tuple(_cost(model, made, manifests) for model, made in config.get("made_by", {}).items()),
        study=Study(**config["study"]) if "study" in config else None,
        absent=tuple(_absent(config, manifests, trained)),
    )


def _language_name(code: str) -> str:
    """Gives a language's name; of one that only the user's data folder knows, its code."""
    return LANGUAGES[code].name if code in LANGUAGES else code


def _teacher(manifest: dict[str, Any]) -> str:
    if manifest["kind"] == "pretrain":
        shape = manifest["facts"]["shape"]
        return f"{shape['family']}, {shape['layers']} layers of {shape['hidden']}, trained here"
    return str(manifest["facts"]["teacher"]["name"])


def _model(one: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> schema.Model:
    manifest = manifests[one["stage"]]
    facts = manifest["facts"]
    return schema.Model(
        id=one["id"],
        name=one["name"],
        role=one["role"],
        step=one["stage"] if one["role"] == "student" else None,
        shape={name: value for name, value in facts["shape"].items() if name != "tied"}
        if "shape" in facts
        else None,
        parameters=facts.get("parameters"),
        size_bytes=facts.get("size_bytes"),
        key=manifest["key"],
    )


def _scores(one: dict[str, Any], task: str, manifests: dict[str, dict[str, Any]]) -> list[schema.Score]:
    manifest = manifests[f"score.{task}.{one['id']}"]
    found = manifest["facts"]["scores"]
    return [
        schema.score_of(
            one["id"],
            task,
            metric,
            cell["values"],
            seeds=found["by_seed"],
            interval=Interval(low=cell["low"], high=cell["high"]),
            n_test=found["n_test"],
            keys=[manifest["key"]],
            signature=found["signature"],
        )
        for metric, cell in found["metrics"].items()
    ]


def _comparisons(manifest: dict[str, Any] | None) -> list[schema.Comparison]:
    """Gives the rows of the stage ``compare``; none where nothing was scored."""
    if manifest is None:
        return []
    return [
        schema.Comparison(
            **{name: row[name] for name in schema.Comparison.model_fields if name in row},
            key=manifest["key"],
        )
        for row in manifest["facts"]["comparisons"]
    ]


def _exports(model: str, role: str, task: str, manifests: dict[str, dict[str, Any]]) -> list[Export]:
    manifest, timed = manifests[f"export.{task}.{role}"], manifests["latency"]
    rows = []
    for precision in PRECISIONS:
        facts = manifest["facts"].get(precision)
        if facts is None:
            continue
        timing = _timing(timed["facts"]["latency"], task, role, precision)
        base = (role, precision) == ("teacher", FP32)
        rows.append(
            Export(
                model=model,
                task=task,
                precision=precision,
                graph=facts.get("graph") or manifest["facts"][FP32]["graph"],
                reason=facts.get("reason"),
                size_bytes=facts["size_bytes"],
                max_abs_delta=facts["max_abs_delta"],
                argmax_agreement=facts["argmax_agreement"],
                p50_ms=timing["p50_ms"],
                p90_ms=timing["p90_ms"],
                ratio=None if base else _ratio(timing["speed_ratio"]),
                threads=timing["threads"],
                length=timing["length"],
                batch_size=timing["batch_size"],
                key=manifest["key"],
                latency_key=timed["key"],
            )
        )
    return rows


def _copies(model: str, manifest: dict[str, Any] | None) -> list[Copy]:
    """Gives the rows of the stage ``precisions``; none where the scale names none."""
    if manifest is None:
        return []
    return [
        Copy(
            model=model,
            task=row["task"],
            precision=row["precision"],
            size_bytes=row["size_bytes"],
            kept_parts=tuple(row["kept_parts"]),
            drop=Estimate(**{part: told[{"value": "drop"}.get(part, part)] for part in _ESTIMATE}),
            **{
                name: told[name] for name in ("metric", "num_items", "original", "score", "allowed", "passed")
            },
            key=manifest["key"],
        )
        for row in manifest["facts"]["copies"]
        for told in (row["verdict"],)
    ]


def _timing(rows: list[dict[str, Any]], task: str, role: str, precision: str) -> dict[str, Any]:
    """Gives the timing of the longest input on the fewest threads; ``latency.json`` has the others."""
    mine = [row for row in rows if (row["task"], row["role"], row["precision"]) == (task, role, precision)]
    return min(mine, key=lambda row: (row["threads"], -row["length"]))


def _ratio(speed: dict[str, float]) -> Ratio:
    return Ratio(value=speed["value"], interval=Interval(low=speed["low"], high=speed["high"]))


def _training(name: str, manifest: dict[str, Any]) -> schema.Training:
    """Gives what a step cost and reached; time and memory only of one that was made in a single attempt."""
    facts, whole = manifest["facts"], not manifest["resumed"]
    losses = facts["training"]["losses"]
    return schema.Training(
        step=name,
        tokens=facts["training"]["tokens"],
        tokens_per_s=facts["training"]["tokens_per_s"],
        wall_s=manifest["wall_s"] if whole else None,
        peak_memory_bytes=manifest["peak_memory_bytes"] if whole else None,
        loss_final=float(losses[-1]["loss"]) if losses else None,
        loss_held_out=facts.get("held_out", {}).get("loss"),
        key=manifest["key"],
    )


def _cost(model: str, made_by: list[str], manifests: dict[str, dict[str, Any]]) -> Cost:
    """Gives what all the steps of one recipe cost together, as if none were shared with another recipe."""
    made = [manifests[name] for name in made_by]
    whole = not any(one["resumed"] for one in made)
    return Cost(
        model=model,
        tokens=sum(one["facts"].get("training", {}).get("tokens", 0) for one in made),
        wall_s=sum(one["wall_s"] for one in made) if whole else None,
        keys=tuple(dict.fromkeys(one["key"] for one in made)),
    )


def _held_out(config: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> Iterator[texts.HeldOut]:
    """Gives the loss of each model whose stage measured it."""
    for one in config["scored"]:
        manifest = manifests.get(one["stage"])
        found = manifest["facts"].get("held_out") if manifest else None
        if manifest and found:
            loss, per_byte = found["loss"], found["loss_per_byte"]
            yield texts.HeldOut(model=one["id"], loss=loss, loss_per_byte=per_byte, key=manifest["key"])


def _leakage(config: dict[str, Any], manifest: dict[str, Any]) -> Iterator[texts.Leakage]:
    for task in config["tasks"]:
        facts = manifest["facts"][task]
        sizes = {"n_dev": facts["dev"], "n_test": facts["test"]}
        yield texts.Leakage(task=task, **facts["leakage"], **sizes, key=manifest["key"])


def _absent(
    config: dict[str, Any], manifests: dict[str, dict[str, Any]], trained: tuple[str, ...]
) -> list[schema.Absent]:
    """Explains the cells that have no number."""
    found = [
        schema.Absent(cell=f"model/{one['id']}/{field}", reason=reason)
        for one in config["scored"]
        for field, reason in _WITHOUT.get(one["id"], {}).items()
    ]
    for name in trained:
        row = _training(name, manifests[name])
        reasons = {
            "peak_memory_bytes": "this system does not tell a process's peak memory",
            "loss_final": "too few steps to log a loss",
            "loss_held_out": "it is trained on many languages; the loss on this one is the next step's",
        }
        if manifests[name]["resumed"]:
            reasons |= {field: f"{_RESUMED} {what}" for field, what in _OF_ONE_ATTEMPT.items()}
        found += [
            schema.Absent(cell=f"training/{name}/{field}", reason=reason)
            for field, reason in reasons.items()
            if getattr(row, field) is None
        ]
    return found
