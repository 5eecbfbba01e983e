"""Draw the edge benchmark's numbers as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
_SPEED = "times as fast as the teacher in fp32 (95 %)"


def draw_tables(numbers: Mapping[str, Sequence[Row]], absent: Mapping[str, str]) -> list[str]:
    """Return the tables of targets, timings, processes under limits and sizes, and the absent variants."""
    return [
        "## Targets",
        "",
        "The fastest int8 file of each student and the teacher's in fp32, 1 row of 128 tokens, 1 thread.",
        "",
        *_table(
            ("model", _SPEED, "target", "MB", "target", "times as fast as the fastest of a peer"),
            map(_target, numbers["targets"]),
        ),
        "## Times",
        "",
        *_table(
            (
                "rows × tokens, threads",
                "model",
                "runtime",
                "precision",
                "form",
                "MB",
                "p50 ms",
                "p90",
                "p99",
                "rows/s",
                _SPEED,
            ),
            map(_timing, numbers["rows"]),
        ),
        "## Under a device's limits",
        "",
        *_table(
            ("model", "precision", "limits", "cold start ms", "p50 ms", "peak MB"),
            map(_device, numbers["device"]),
        ),
        "## Sizes",
        "",
        *_table(("model", "precision", "MB", "MB after gzip"), map(_size, numbers["compressed"])),
        *(f"- absent: {name}: {reason}" for name, reason in absent.items()),
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(header), _line(["---"] * len(header)), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _target(one: Row) -> list[str]:
    peers = "; ".join(f"{name} {_ratio(speed)}" for name, speed in one["times_as_fast_as"].items())
    size = "–" if one["size_wanted_mb"] is None else f"≤ {one['size_wanted_mb']}: {_met(one['size_met'])}"
    speed = f"≥ {one['speed_wanted']}: {_met(one['speed_met'])}"
    return [one["model"], _ratio(one["speed_ratio"]), speed, f"{one['size_mb']:.2f}", size, peers or "–"]


def _timing(row: Row) -> list[str]:
    return [
        f"{row['batch_size']} × {row['length']}, {row['threads']}",
        *(row[name] for name in ("model", "runtime", "precision", "form")),
        "–" if row["size_bytes"] is None else _mega(row["size_bytes"]),
        *(f"{row[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
        f"{row['rows_per_s']:.1f}",
        _ratio(row["speed_ratio"]),
    ]


def _device(row: Row) -> list[str]:
    about = [row["model"], row["precision"], row["limits"]]
    if "ended" in row:
        return [*about, row["ended"], "–", "–"]
    return [*about, f"{row['cold_ms']:.0f}", f"{row['p50_ms']:.2f}", _mega(row["peak_bytes"])]


def _size(row: Row) -> list[str]:
    return [row["model"], row["precision"], _mega(row["size_bytes"]), _mega(row["gzip_bytes"])]


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _mega(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"


def _ratio(speed: Sequence[float]) -> str:
    value, low, high = speed
    return f"{value:.2f} ({low:.2f}–{high:.2f})"
