"""From the collected figures to ``docs/performance.md``, the long tables behind it, and its chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from TernarySegmentLib.bench import contestants as engines

BEGIN, END = "<!-- figures: written by `python -m TernarySegmentLib bench` -->", "<!-- end of figures -->"
PAGE, TABLES, CHART = "performance.md", "performance-tables.md", "performance.png"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spelled(stage: str, figures: dict[str, Any]) -> str:
    """A network for people: of several alike, which take the same time, one is measured."""
    count = len(figures["stages"])
    return f"{stage} network" if count == 1 else f"{stage} network (one of {count} alike)"


def _fine(stages: dict[str, Any]) -> dict[str, Any]:
    return {stage: figures for stage, figures in stages.items() if stage.startswith("fine")}


def _milliseconds(timing: dict[str, Any]) -> str:
    low, high = (1000 * v for v in timing["quartiles"])
    return f"{1000 * timing['median']:.0f} ({low:.0f}–{high:.0f})"


def _each(results: dict[str, Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(instruction set, threads, stage, figures) of every network run."""
    return [
        (limit, threads, stage, figures)
        for limit, by_threads in results.get("networks", {}).items()
        for threads, stages in by_threads.items()
        for stage, figures in stages.items()
    ]


def _hidden(figures: dict[str, Any], name: str) -> float:
    """Seconds in the ternary convolutions alone: without first layer, head and copies."""
    layers, products = figures["layers"][name], figures["products"]
    return sum(layers[layer] for layer, count in products.items() if count and layer not in ("first", "scores"))


def _networks(results: dict[str, Any]) -> list[str]:
    rows = []
    for limit, threads, stage, figures in _each(results):
        cells = []
        for name in engines.NAMES:
            timing = figures["seconds"].get(name)
            cells.append(_milliseconds(timing) if timing else figures["remarks"].get(name, ""))
        rows.append([f"{_spelled(stage, figures)}, {limit}, {threads} thread{'s' * (threads != '1')}", *cells])
    head = ["ms: median (quartiles)", *engines.NAMES]
    grids = {
        f"the {stage} network works on {'×'.join(str(n) for n in figures['shape'])} voxels of {figures['spacing']:g} mm"
        for _, _, stage, figures in _each(results)
    }
    note = f"(z, y, x): {'; '.join(sorted(grids))}."
    return ["### Whole networks", _table(head, rows), note] if rows else []


def _ratios(results: dict[str, Any]) -> list[str]:
    rows = []
    for limit, threads, stage, figures in _each(results):
        ours = figures["seconds"].get(engines.OURS)
        if ours is None:
            continue
        cells = [
            f"{figures['seconds'][name]['median'] / ours['median']:.2f}×" if name in figures["seconds"] else "–"
            for name in engines.NAMES[1:]
        ]
        rows.append([f"{_spelled(stage, figures)}, {limit}, {threads} thread{'s' * (threads != '1')}", *cells])
        if engines.OURS in figures["layers"]:
            convolutions = [
                f"{_hidden(figures, name) / _hidden(figures, engines.OURS):.2f}×" if name in figures["layers"] else "–"
                for name in engines.NAMES[1:]
            ]
            rows.append(["– its ternary convolutions alone", *convolutions])
    head = ["how many times longer than TernarySegment numba", *engines.NAMES[1:]]
    return ["### Ratios", _table(head, rows)] if rows else []


def _layers(results: dict[str, Any]) -> list[str]:
    parts = []
    for limit, threads, stage, figures in _each(results):
        if threads != "1" or not stage.startswith("fine"):
            continue
        rows = []
        clock = figures.get("GHz")
        for layer, count in figures["products"].items():
            cells = []
            mine = figures["layers"].get(engines.OURS, {}).get(layer)
            per_cycle = f"{count / mine / clock / 1e9:.0f}" if mine and count and clock else ""
            for name in engines.NAMES:
                seconds = figures["layers"].get(name, {}).get(layer)
                if seconds is None:
                    cells.append("–")
                elif count and seconds:
                    cells.append(f"{1000 * seconds:.2f} · {count / seconds / 1e9:.0f}")
                else:
                    cells.append(f"{1000 * seconds:.2f}")
            rows.append([f"{layer} ({figures['kinds'][layer]})", per_cycle, *cells])
        parts += [
            f"### Layers of the {stage} network, one thread, {limit}",
            "Milliseconds · G products a second; first column: products in one clock cycle of TernarySegment numba"
            + (f" at {clock:.2f} GHz. " if clock else ". ")
            + "The other engines' times are their own profilers'.",
            _table(["layer", "a cycle", *engines.NAMES], rows),
        ]
    return parts


def _scaling(results: dict[str, Any]) -> list[str]:
    rows = []
    for limit, by_threads in results.get("networks", {}).items():
        if len(by_threads) < 2:
            continue
        for threads in list(by_threads)[1:]:
            for stage, figures in by_threads[threads].items():
                one = by_threads["1"][stage]["seconds"]
                cells = [
                    f"{one[name]['median'] / figures['seconds'][name]['median']:.2f}×"
                    if name in one and name in figures["seconds"] else "–"
                    for name in engines.NAMES
                ]  # fmt: skip
                rows.append([f"{_spelled(stage, figures)}, {limit}, 1 → {threads} threads", *cells])
    return ["### Threads", _table(["speed-up", *engines.NAMES], rows)] if rows else []


def _memory(results: dict[str, Any]) -> list[str]:
    if "memory" not in results:
        return []
    rows = []
    kinds = ("packed", "float32", "float32 planned")
    for stage, figures in results["memory"].items():
        parts = [figures[part] for part in ("activations", "weights")]
        together = [sum(part[kind] for part in parts) for kind in kinds]
        cells = [f"{figures['activations'][kind] / 1e6:.2f}" for kind in kinds]
        cells += [f"{figures['weights'][kind] / 1e6:.2f}" for kind in kinds[:2]]
        cells += [f"1/{each / together[0]:.2f}" for each in together[1:]]
        rows.append([_spelled(stage, figures), *cells])
    head = [
        "MB", "activations alive at once", "as float32 in PyTorch", "as float32, planned alike",
        "weights", "as float32", "both together against PyTorch", "against float32 planned alike",
    ]  # fmt: skip
    note = (
        "Without the output, a label and a margin for each voxel of the grid, on either side. PyTorch copies what a "
        "concatenation joins, this engine reads it where it lies; *planned alike* is float32 without those copies."
    )
    return ["### Memory of the networks", _table(head, rows), note]


def _claims(results: dict[str, Any]) -> list[str]:
    """What was aimed at before the work began, and what came out."""
    rows: list[list[str]] = []

    def add(claim: str, bar: str, value: float, reached: bool, form: str = "{:.2f}×") -> None:
        rows.append([claim, bar, form.format(value), "yes" if reached else "**no**"])

    networks = results.get("networks", {})
    capped = next((name for name in ("AVX-512 VNNI", "as is") if name in networks), None)  # without AMX
    wide = "VPOPCNTDQ" in str(results["machine"]["instructions"]) or "AMX" in str(results["machine"]["instructions"])
    bars = {engines.TORCH: (4.2, 4.0), engines.OPENVINO_INT8: (1.1, 1.2)} if wide else {
        engines.TORCH: (2.7, 4.0), engines.OPENVINO_INT8: (1.5, 1.2),
    }  # fmt: skip
    for threads, stages in networks.get(capped, {}).items() if capped else ():
        many = f"{threads} thread{'s' * (threads != '1')}"
        for stage, figures in _fine(stages).items():
            for name, (convolutions, whole) in bars.items():
                if engines.OURS not in figures["seconds"] or name not in figures["seconds"]:
                    continue
                if threads == "1" and name in figures["layers"]:
                    ratio = _hidden(figures, name) / _hidden(figures, engines.OURS)
                    claim = f"ternary convolutions of the {stage} network, {many}, against {name}"
                    add(claim, f"≥ {convolutions}×", ratio, ratio >= convolutions)
                ratio = figures["seconds"][name]["median"] / figures["seconds"][engines.OURS]["median"]
                add(f"whole {stage} network, {many}, against {name}", f"≥ {whole}×", ratio, ratio >= whole)
            mine, numpy = (figures["seconds"].get(name) for name in (engines.OURS, engines.OURS_NUMPY))
            if mine and numpy:
                ratio = numpy["median"] / mine["median"]
                claim = f"NumPy path, {stage} network, {many}, how much longer, same bits"
                add(claim, "≤ 10×", ratio, ratio <= 10)
    if capped and {"1", "2"} <= set(networks[capped]):
        for stage in _fine(networks[capped]["2"]):
            one, two = (networks[capped][n][stage]["seconds"].get(engines.OURS) for n in ("1", "2"))
            if one and two:
                ratio = one["median"] / two["median"]
                add(f"{stage} network, 1 → 2 threads", "≥ 1.85×", ratio, ratio >= 1.85)
    if "pipeline" in results:
        threads, runs = max(results["pipeline"]["runs"].items(), key=lambda item: int(item[0]))
        seconds = _median([run["parts"]["networks"] for run in runs])
        add(f"all networks in a whole run, {threads} threads", "< 1 s", seconds, seconds < 1, "{:.2f} s")
        seconds = _median([run["total"] for run in runs])
        add(f"`segment`, file to file, {threads} threads", "≤ 3 s", seconds, seconds <= 3, "{:.2f} s")
        peak = max(run["peak bytes"] for run in runs) / 1e9
        add("its peak memory", "≤ 0.8 GB", peak, peak <= 0.8, "{:.2f} GB")
        seconds = _median([run["parts"]["waiting for the kernels"] for run in runs])
        add("what it waits for the kernels on a warm start", "< 0.5 s", seconds, seconds < 0.5, "{:.2f} s")
        seconds = _median([start["kernels"] for start in results["pipeline"]["starts"]])
        add("loading the kernels on a warm start, nothing beside", "< 0.5 s", seconds, seconds < 0.5, "{:.2f} s")
    if "900" in results.get("sizes", {}):
        peak = results["sizes"]["900"]["peak bytes"] / 1e9
        add("peak memory of a 512×512×900 scan", "≤ 1.6 GB", peak, peak <= 1.6, "{:.2f} GB")
    for stage, figures in results.get("memory", {}).items():
        parts = [figures[part] for part in ("activations", "weights")]
        ratio = sum(part["float32"] for part in parts) / sum(part["packed"] for part in parts)
        claim = f"{_spelled(stage, figures)}: weights and activations against float32 in PyTorch"
        add(claim, "≤ 1/14", ratio, ratio >= 14, "1/{:.2f}")
    return ["### Aims", _table(["what", "aim", "measured", "reached"], rows)] if rows else []


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _pipeline(results: dict[str, Any]) -> list[str]:
    if "pipeline" not in results:
        return []
    found = results["pipeline"]
    columns = dict(sorted(found["runs"].items(), key=lambda item: int(item[0])))
    parts = {part: None for runs in columns.values() for run in runs for part in run["parts"]}
    rows = [
        [part, *(f"{_median([run['parts'].get(part, 0.0) for run in runs]):.2f}" for runs in columns.values())]
        for part in parts
    ]
    rows.append(["**file to file**", *(f"**{_median([r['total'] for r in runs]):.2f}**" for runs in columns.values())])
    rows.append(
        ["peak memory, GB", *(f"{_median([r['peak bytes'] for r in runs]) / 1e9:.2f}" for runs in columns.values())]
    )
    size = "×".join(str(n) for n in next(iter(columns.values()))[0]["size"])
    start = _median([each["kernels"] for each in found["starts"]])
    imports = _median([each["SimpleITK"] for each in found["starts"]])
    alone = _median([each["kernels"] for each in found["starts alone"]]) if "starts alone" in found else None
    return [
        f"### A whole run on a {'' if found['scan'] == 'given' else 'synthetic '}scan of {size} voxels",
        _table(["seconds, median", *(f"{threads} thread{'s' * (threads != '1')}" for threads in columns)], rows),
        f"On a warm start the kernels load in {start:.2f} s, SimpleITK in {imports:.2f} s."
        + (f" Where SciPy is not installed, which numba imports if it can, they take {alone:.2f} s." if alone else ""),
    ]


def _sizes(results: dict[str, Any]) -> list[str]:
    if "sizes" not in results:
        return []
    rows = [
        [
            f"512×512×{slices}",
            f"{run['parts']['reading']:.2f}",
            f"{run['total'] - run['parts']['reading']:.2f}",
            f"{run['parts'].get('networks', 0.0):.2f}",
            f"{run['peak bytes'] / 1e9:.2f}",
        ]
        for slices, run in results["sizes"].items()
    ]
    head = ["synthetic scan", "reading, s", "everything else, s", "of which networks, s", "peak memory, GB"]
    return ["### Size of the scan, all threads", _table(head, rows)]


def _standin(results: dict[str, Any]) -> list[str]:
    if "standin" not in results:
        return []
    found = results["standin"]
    extent = " × ".join(f"{side:.0f}" for side in found["extent mm"])
    rows = [
        [spacing, str(found["windows"][spacing]), f"{found['seconds'][spacing]:.0f}"] for spacing in found["windows"]
    ]
    return [
        "### A stand-in for whole-body tools",
        "A float32 U-Net of nnU-Net's shape in PyTorch, all threads, with random weights: timing only, no one's "
        f"trained network. One window of 128³ voxels takes {found['seconds per window']:.1f} s (extrapolated by the "
        f"number of voxels from one of {found['edge']}³); the rows multiply that by the windows, overlapping by half, "
        f"that cover a scan of {extent} mm. Nothing but the network is counted.",
        _table(["grid", "windows", "seconds"], rows),
    ]


SUMMARY = (_claims, _memory, _pipeline, _sizes)
"""What the page shows of the figures."""
DETAILS = (_networks, _ratios, _scaling, _layers, _standin)
"""What the page of tables shows."""


def summary(results: dict[str, Any]) -> str:
    """The machine, the chart and the short tables, as Markdown."""
    machine = results["machine"]
    parts = [
        f"{machine['processor']}, {machine['instructions']}, {machine['cores']} cores; {machine['system']}; "
        f"{machine['libraries']}.",
        *_warning(results),
    ]
    if results.get("networks"):
        parts.append(f"![Time of the fine network in each engine]({CHART})")
    return "\n\n".join([*parts, *(part for section in SUMMARY for part in section(results))])


def details(results: dict[str, Any]) -> str:
    """The long tables, as Markdown."""
    return "\n\n".join([*_warning(results), *(part for section in DETAILS for part in section(results))])


def _warning(results: dict[str, Any]) -> list[str]:
    return ["**A smoke test: tiny shapes, one turn. These figures mean nothing.**"] if results.get("quick") else []


def chart(results: dict[str, Any], path: Path) -> None:
    """Bars: each fine network in each engine; an instruction set a row, a number of threads a column."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [run for run in _each(results) if run[2].startswith("fine")]
    columns = len({threads for _, threads, _, _ in runs}) or 1
    rows = -(-len(runs) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(5.6 * columns, 2.7 * rows), squeeze=False, sharex=True, layout="constrained"
    )
    for axis, (limit, threads, stage, figures) in zip(axes.flat, runs, strict=False):
        names = [name for name in reversed(engines.NAMES) if name in figures["seconds"]]
        milliseconds = [1000 * figures["seconds"][name]["median"] for name in names]
        colours = ["#2a7f62" if name in (engines.OURS, engines.OURS_NUMPY) else "#9aa5b1" for name in names]
        bars = axis.barh(names, milliseconds, color=colours)
        axis.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        axis.margins(x=0.1)
        axis.set_xlabel("ms; shorter is better")
        axis.set_title(f"{stage} network, {limit}, {threads} thread{'s' * (threads != '1')}", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(results: dict[str, Any], folder: Path) -> str:
    """Put the tables between the marks of both pages (new ones where there are none) and draw the chart.

    Returns:
        All tables.
    """
    texts = {PAGE: summary(results), TABLES: details(results)}
    for name, text in texts.items():
        page = folder / name
        before, after = "# Performance\n\n", "\n"
        if page.exists():
            content = page.read_text(encoding="utf-8")
            if BEGIN in content and END in content:
                before, after = content.split(BEGIN)[0], content.split(END)[1]
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    if results.get("networks"):
        chart(results, folder / CHART)
    return "\n\n".join(texts.values())
