"""From stored results to tables (Markdown, CSV), figures and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxinterp.config import to_toml
from jaxinterp.data.images import NamedImage
from jaxinterp.models.network import Network
from jaxinterp.report.comparison_page import write_comparison_page
from jaxinterp.report.views import ReportHead, Table, TableRow
from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig
from jaxinterp.sweep.comparison.figures import Results, drawings
from jaxinterp.sweep.comparison.pairs import KernelPair
from jaxinterp.sweep.comparison.plan import ComparisonJob
from jaxinterp.sweep.comparison.tables import (
    COLUMNS,
    NOTES,
    ComparedLayer,
    cells,
    overview,
    paper_cells,
    paper_columns,
    to_csv,
    to_markdown,
)
from jaxinterp.sweep.store import Results as Store, RunFolder, write_atomically

__all__ = ["write_summary"]


def write_summary(
    config: ComparisonConfig,
    folder: RunFolder,
    network: Network,
    images: Sequence[NamedImage],
    jobs: Sequence[ComparisonJob],
    records: Mapping[int, Mapping[str, Any]],
    stored: Store,
    pairs: Sequence[KernelPair],
    tables: Sequence[ComparedLayer],
    skipped: int,
) -> Path | str:
    """Writes `table.md`, `table.csv`, `figures/` and `index.html`; returns the page's path."""
    manifest = folder.manifest or {}
    counts = [record["status"] for record in records.values()]
    head = ReportHead(
        title=config.title,
        subtitle="Which inputs keep one kernel's feature map and silence all others of its layer.",
        facts=(
            ("Network", f"{network.name} (weights {network.weights_sha256[:12]})"),
            ("Jobs", ", ".join(f"{counts.count(s)} {s}" for s in ("done", "silent", "failed"))),
            (
                "Images",
                f"{len(images)} at {config.images.size} px"
                + (f" ({skipped} files left out)" if skipped else ""),
            ),
            *(
                ("Kernels", f"{layer}: {', '.join(map(str, kernels))}")
                for layer, kernels in manifest.get("kernels", {}).items()
            ),
            *((variant.title, _described(variant)) for variant in config.variants),
            ("Device", ", ".join(dict.fromkeys(manifest.get("devices", [])))),
            ("Versions", ", ".join(f"{k} {v}" for k, v in manifest.get("versions", {}).items())),
            ("Started", str(manifest.get("created", ""))),
        ),
        config_toml=to_toml(config),
    )
    results = Results(config, network, images, jobs, records, stored)
    with folder.files() as path:
        write_atomically(path / "table.md", to_markdown(config, tables))
        write_atomically(path / "table.csv", to_csv(tables))
        write_comparison_page(
            path,
            head,
            [_overview(tables), *map(_table, tables)],
            NOTES,
            drawings(results, manifest.get("kernels", {}), pairs),
        )
    return folder.locate("index.html")


def _described(variant: VariantConfig) -> str:
    if variant.method != "suppression":
        return f"{variant.method}, seed: the kernel's map, best scalar gain"
    settings = variant.suppression
    return (
        f"alpha {settings.alpha:g}, beta {settings.beta:g}, {settings.normalization} "
        f"normalization; {settings.optimizer}, rate {settings.rate:g}, {settings.steps} steps, "
        f"{'bounded to [0, 1]' if settings.bounded else 'unbounded'}"
    )


def _overview(tables: Sequence[ComparedLayer]) -> Table:
    columns, rows = overview(tables)
    return Table(
        title="Overview",
        columns=columns,
        rows=tuple(TableRow(texts, reference) for texts, reference in rows),
        note="Means; standard deviations and the paper's figures are in the tables below.",
    )


def _table(table: ComparedLayer) -> Table:
    beside = paper_columns(table)
    return Table(
        title=table.layer,
        columns=(*COLUMNS, *beside),
        rows=tuple(
            TableRow((*cells(row), *(paper_cells(row) if beside else ())), row.reference)
            for row in table.rows
        ),
        note=table.note,
    )
