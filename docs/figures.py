"""Draw the figures of the documentation with the program's own functions: python docs/figures.py [-o FOLDER]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from TernarySegmentLib.engine.bitplanes import pack, unpack_bits  # noqa: E402
from TernarySegmentLib.engine.graph import Graph  # noqa: E402
from TernarySegmentLib.engine.thresholds import STEP, BatchNorm, fold  # noqa: E402
from TernarySegmentLib.pipeline import load_model  # noqa: E402

plt.rcParams |= {
    "svg.hashsalt": "ternary",  # the same picture gives the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
PLUS, MINUS, ZERO, LINE = "#d95f02", "#1f78b4", "#eeeeee", "#555555"


def save(name: str, folder: Path) -> None:
    """Write the current figure as SVG."""
    plt.savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")
    plt.close()


def ternary_tanh(folder: Path) -> None:
    """The activation for several β, beside the step it becomes, and its gradient."""
    import torch

    from TernarySegmentLib.training.quantise import activate
    from TernarySegmentLib.training.quantise import ternary_tanh as tanh

    x = torch.linspace(-1.6, 1.6, 641, requires_grad=True)
    _, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.8))
    for beta, shade in ((1, 0.25), (2, 0.45), (4, 0.65), (8, 0.85)):
        y = tanh(x, float(beta))
        [gradient] = torch.autograd.grad(y.sum(), x)
        for axes, values in ((left, y), (right, gradient)):
            axes.plot(x.detach(), values.detach(), color=plt.cm.Oranges(shade), label=f"β = {beta}")
    left.plot(x.detach(), activate(x, "ternary").detach(), color="black", lw=1, label="step")
    left.set(xlabel="x", ylabel="t_β(x)", title="ternary tanh", yticks=(-1, 0, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    right.set(xlabel="x", ylabel="dt_β/dx", title="its gradient", xticks=(-1, -0.5, 0, 0.5, 1))
    left.legend(frameon=False, fontsize=8)
    save("ternary-tanh", folder)


def thermometer(folder: Path) -> None:
    """Two trits of one value, and their mean beside the ramp that it approximates."""
    import torch

    from TernarySegmentLib.training.quantise import activate, trit_edges

    x = torch.linspace(-0.6, 2.6, 1601)
    _, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.6), sharey=True)
    for (below, above), colour, style, name in zip(
        trit_edges(2), (PLUS, MINUS), ("-", "--"), ("first", "second"), strict=True
    ):
        trit = (x > above).int() - (x < below).int()
        left.plot(x, trit, color=colour, ls=style, label=f"{name}: −1 below {below}, +1 above {above}")
    right.plot(x, (x - 1).clamp(-1, 1), color="#bbbbbb", lw=3, label="ramp")
    right.plot(x, activate(x, "ternary", trits=2), color="black", lw=1, label="mean of both")
    left.set(xlabel="y after batch norm", title="two trits of one sum", yticks=(-1, 0, 1))
    right.set(xlabel="y after batch norm", title="what the next layer sees")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.set_ylim(-1.15, 1.9)
    save("thermometer", folder)


def ternary_weights(folder: Path) -> None:
    """Weights of one output channel, before and after."""
    import torch

    from TernarySegmentLib.training.quantise import ternary_codes

    weight = torch.randn(1, 27 * 32, generator=torch.Generator().manual_seed(0)) * 0.05
    codes, alpha = ternary_codes(weight)
    delta = 0.7 * weight.abs().mean().item()
    _, axes = plt.subplots(figsize=(5, 2.4))
    for value, colour, text in ((-1, MINUS, "−α"), (0, "#bbbbbb", "0"), (1, PLUS, "+α")):
        bins = delta / 6 * np.arange(-31, 32)  # whose edges fall on ±Δ
        axes.hist(weight[codes == value], bins=bins, color=colour, label=f"becomes {text}")
    marks = {-alpha.item(): "−α", -delta: "−Δ", delta: "+Δ", alpha.item(): "+α"}
    for place, text in marks.items():
        axes.axvline(place, color=LINE, lw=1, ls=":" if "Δ" in text else "--")
        axes.annotate(text, (place, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    axes.set(xlabel="full-precision weight", ylabel="count")
    axes.legend(frameon=False, fontsize=8)
    save("ternary-weights", folder)


def folding(folder: Path) -> None:
    """Batch norm of an integer sum, for γ above and below zero, and the two thresholds that replace it."""
    _, both = plt.subplots(1, 2, figsize=(7.5, 2.8), sharey=True)
    largest, one = 30, np.ones(1)
    for axes, gamma in zip(both, (0.9, -0.9), strict=True):
        norm = BatchNorm(0.1 * one, 0.3 * one, one, gamma * one, 0.1 * one, 1e-5)
        low, high, flip = (int(value[0]) for value in fold(norm, largest))
        sums = np.arange(-largest, largest + 1)
        stored = -sums if flip else sums  # what the engine sums up once the weights are negated
        output = (stored >= high).astype(int) - (stored <= low)
        y = norm(sums.astype(float), 0)
        for value, colour in ((-1, MINUS), (0, "#999999"), (1, PLUS)):
            axes.scatter(
                sums[output == value], y[output == value], s=9, color=colour, label=f"{value:+d}" if value else "0"
            )
        for edge in (-STEP, STEP):
            axes.axhline(edge, color=LINE, lw=0.8, ls="--")
        # the engine negates the weights where γ < 0; told here of the sum s on the axis
        rule = f"s ≤ {-high} → +1,  s ≥ {-low} → −1" if flip else f"s ≥ {high} → +1,  s ≤ {low} → −1"
        axes.set(xlabel="integer sum s", title=f"γ = {gamma:+.1f}: {rule}".replace("-", "−"), yticks=(-2, -0.5, 0.5, 2))
    both[0].set_ylabel("y after batch norm")
    both[0].legend(frameon=False, title="output")
    save("folding", folder)


def _cells(axes: Axes, row: float, values: np.ndarray, label: str, colours: dict[int, str], formats: str = "d") -> None:
    axes.text(-0.4, row + 0.5, label, ha="right", va="center")
    for column, value in enumerate(values):
        axes.add_patch(plt.Rectangle((column, row), 0.94, 0.86, facecolor=colours[int(value)], edgecolor=LINE, lw=0.5))
        text = {1: "+1", -1: "−1", 0: "0"}[int(value)] if formats == "signed" else str(int(value))
        ink = "white" if colours is TRITS and value == -1 else "black"
        axes.text(column + 0.47, row + 0.43, text, ha="center", va="center", fontsize=8, color=ink)


TRITS, BITS = {1: PLUS, -1: MINUS, 0: ZERO}, {1: "#fdc086", 0: ZERO}


def _blank(columns: int, rows: float, width: float) -> Axes:
    _, axes = plt.subplots(figsize=(width, 0.34 * rows + 0.2))
    axes.set(xlim=(-5, columns + 4.5), ylim=(rows, -0.2))
    axes.axis("off")
    return axes


def bit_planes(folder: Path) -> None:
    """Sixteen of the 32 channels that share a word."""
    values = np.random.default_rng(3).integers(-1, 2, 16)
    nonzero, negative = (unpack_bits(plane, 16) for plane in pack(values))
    axes = _blank(16, 3.4, 7.5)
    _cells(axes, 0, values, "channels", TRITS, "signed")
    _cells(axes, 1.3, nonzero, "nonzero n", BITS)
    _cells(axes, 2.3, negative, "negative s", BITS)
    save("bit-planes", folder)


def popcount(folder: Path) -> None:
    """A dot product, worked through with bits; the count equals the sum of products or nothing is drawn."""
    random = np.random.default_rng(5)
    activations, weights = random.integers(-1, 2, 16), random.integers(-1, 2, 16)
    (n_a, s_a), (n_w, s_w) = ((unpack_bits(plane, 16) for plane in pack(values)) for values in (activations, weights))
    both = n_a & n_w
    differ = both & (s_a ^ s_w)
    result = int(both.sum()) - 2 * int(differ.sum())
    if result != int(activations @ weights):
        raise SystemExit(f"popcount gives {result}, the products {activations @ weights}")
    axes = _blank(16, 5.9, 7.5)
    _cells(axes, 0, activations, "activation a", TRITS, "signed")
    _cells(axes, 1, weights, "weight w", TRITS, "signed")
    _cells(axes, 2.3, both, "both nonzero", BITS)
    _cells(axes, 3.3, differ, "of these, signs differ", BITS)
    axes.text(16.3, 2.75, f"popcount {both.sum()}", va="center")
    axes.text(16.3, 3.75, f"popcount {differ.sum()}", va="center")
    axes.text(
        8,
        5.1,
        f"a · w = {both.sum()} − 2 · {differ.sum()} = {result:d}".replace("-", "−"),
        ha="center",
        va="center",
        fontsize=11,
    )
    save("popcount", folder)


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, size: float = 8) -> None:
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.08", fc=colour, ec=LINE, lw=0.8)
    )
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float], **style: object) -> None:
    axes.annotate("", stop, start, arrowprops={"arrowstyle": "->", "color": LINE, "lw": 0.9, **style})


def architecture(folder: Path) -> None:
    """The library's folders and who imports whom."""
    from architecture import draw

    (folder / "architecture.svg").write_text(draw(), encoding="utf-8")


def network(graph: Graph, name: str, folder: Path) -> None:
    """A shipped network, drawn from its own layer graph: height is resolution, the number is channels."""
    colours = {"first": "#fdc086", "conv": "#dceaf7", "upsample": "#dff0d8", "concat": "#f2f2f2", "head": "#fdc086"}
    place = {layer.name: (column, graph.scale(layer.name)) for column, layer in enumerate(graph.layers)}
    deepest = max(scale for _, scale in place.values())
    rows = int(np.log2(deepest))
    _, axes = plt.subplots(figsize=(10, 0.75 * rows + 1.2))
    axes.set(xlim=(-1.2, len(place) - 0.4), ylim=(rows + 0.4, -0.4))
    axes.axis("off")
    for layer in graph.layers:
        column, scale = place[layer.name]
        y = float(np.log2(scale))
        for source in layer.inputs:
            if source in place:
                x_from, scale_from = place[source]
                far = column - x_from > 1 and scale_from == scale
                if far:  # a skip connection, over what lies between
                    _arrow(axes, (x_from, y - 0.24), (column, y - 0.24), connectionstyle="arc3,rad=-0.12")
                else:
                    _arrow(axes, (x_from + 0.44, float(np.log2(scale_from))), (column - 0.44, y))
        text = f"{layer.name}\n{layer.channels}"
        _box(axes, column - 0.42, y - 0.22, 0.84, 0.44, text, colours.get(layer.kind, ZERO), 5.5)
    for row in range(1, rows + 1):
        axes.text(-1.2, row, f"1/{2**row}", va="center", fontsize=7, color=LINE)
    save(f"network-{name}", folder)


def slices(folder: Path) -> None:
    """The paper's 2.5D network: the slices it sees, and the channels and resolution of its convolutions."""
    from TernarySegmentLib.training.runs import build
    from TernarySegmentLib.training.settings import LABELS, PAPER
    from TernarySegmentLib.training.slices import SLICE_STEP, SLICES, SliceNetwork

    made = build(PAPER)
    assert isinstance(made, SliceNetwork)
    _, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.9), width_ratios=(1, 3))
    for number in range(2 * made.context + 1):
        seen = number % SLICE_STEP == 0
        left.plot((0, 1), (number, number), color=PLUS if seen else "#dddddd", lw=2.4 if seen else 1.2)
    left.text(1.08, made.context, "labelled", va="center", fontsize=8)
    left.set(title=f"{SLICES} of {2 * made.context + 1} slices", xlim=(-0.1, 2))
    left.axis("off")
    column = 0
    for name, block in made.blocks.items():
        place = name.removeprefix("enc").removeprefix("dec").rstrip("ab")
        level = int(place) if place.isdecimal() else made.depth if "bottom" in name else 0
        colour = "#fdc086" if not column or name == "scores" else "#dff0d8" if name.startswith("dec") else "#dceaf7"
        text = f"{name.replace('_', ' ')}\n{len(LABELS) if name == 'scores' else block.weight.shape[0]}"
        _box(right, column - 0.44, level - 0.3, 0.88, 0.6, text, colour, 5.5)
        column += 1
    for level in range(made.depth):  # two convolutions on the way down, two on the way up
        first, last = 2 * level + 1, column - 1 - 2 * (level + 1)
        _arrow(right, (first + 0.47, level), (last - 0.47, level), ls="--")
        _arrow(right, (first, level + 0.33), (first + 0.6, level + 0.67))
        _arrow(right, (last - 0.6, level + 0.67), (last, level + 0.33))
    for level in range(made.depth + 1):
        right.text(-1.1, level, f"1/{2**level}", va="center", fontsize=7, color=LINE)
    right.set(xlim=(-1.2, column), ylim=(made.depth + 0.5, -0.5))
    right.axis("off")
    save("slices", folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "figures")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (ternary_tanh, thermometer, ternary_weights, folding, bit_planes, popcount, architecture, slices):
        draw(folder)
    network(load_model().stages["fine"].graph, "fine", folder)
    print(*sorted(folder.glob("*.svg")), sep="\n")


if __name__ == "__main__":
    main()
