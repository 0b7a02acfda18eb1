"""The metrics' course as a PNG, drawn with matplotlib where it is installed."""

# matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

FILE_NAME = "curves.png"
HOW_TO_GET_IT = "no curves.png: drawing needs matplotlib (pip install matplotlib)"
_PANELS_MAX = 12
_COLUMNS = 2


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_curves(metrics: Sequence[Mapping[str, object]], title: str, path: Path) -> bool:
    """Write one panel per metric; return whether there was anything to draw.

    Parameters
    ----------
    metrics
        What the job logged, as `{"step": ..., name: value}`.
    """
    series = series_of(metrics)
    if not series:
        return False
    # The object interface: no display, no global state, no configuration of the user's touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(series)[:_PANELS_MAX]
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(5.2 * columns, 3.2 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names, 1):
        steps, values = series[name]
        axes = figure.add_subplot(rows, columns, place)
        colour = f"C{place - 1}"
        axes.plot(steps, values, color=colour, marker="o" if len(steps) < 50 else "", markersize=3)
        axes.set_title(f"{name}: {values[-1]:.4g}", fontsize=11, parse_math=False)
        axes.set_xlabel("step", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    figure.savefig(path, dpi=144)
    return True


def series_of(metrics: Sequence[Mapping[str, object]]) -> dict[str, tuple[list[int], list[float]]]:
    """Return steps and values by metric; a metric without a step counts its own."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for number, metric in enumerate(metrics, 1):
        step = metric.get("step")
        for name, value in metric.items():
            if name == "step" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            steps, values = series.setdefault(name, ([], []))
            steps.append(step if isinstance(step, int) else number)
            values.append(float(value))
    return series
