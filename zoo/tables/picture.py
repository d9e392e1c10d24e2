"""Rows as a picture: one column against another, the Pareto front named."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .files import Row
from .query import lower_is_better, pareto

LABELS = {'param_count': 'parameters (millions)', 'gmacs': 'multiply-adds (billions)',
          'macts': 'activations (millions)', 'img_size': 'image side (pixels)',
          'top1': 'top-1 (%)', 'top5': 'top-5 (%)',
          'gpu_img_per_sec': 'published images a second, GPU', 'cpu_img_per_sec': 'published images a second, CPU'}


def draw(rows: Sequence[Row], path: str | Path, x: str = 'param_count', y: str = 'top1', title: str = '') -> list[Row]:
    """Draws column `y` against `x`, a dot a row, and writes it to `path` in the format that its ending names (.png,
    .svg, .pdf). `x` is on a logarithmic scale where all of it is positive. The rows of the Pareto front are joined by a
    line, numbered, named beside the picture, and returned.

    Raises:
        ValueError: a column without numbers, no row with both, or a format that cannot be written.
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures are drawn with matplotlib: pip install 'zoo-image-models[results]'.") from error

    front = pareto(rows, x, y)
    if not front:
        raise ValueError(f'No row has both {x} and {y}.')
    points = [row for row in rows if x in row and y in row]
    figure = Figure(figsize=(13, 7), layout='constrained')
    FigureCanvasAgg(figure)
    axes, names = figure.subplots(1, 2, width_ratios=(3, 1))
    names.axis('off')
    axes.scatter([row[x] for row in points], [row[y] for row in points], s=16, color='#9aa5b1', label='other')
    axes.plot([row[x] for row in front], [row[y] for row in front], 'o-', color='#c2410c', markersize=5,
              linewidth=1, label='Pareto front')
    if all(row[x] > 0 for row in points):
        axes.set_xscale('log')
    outwards = -5 if lower_is_better(x) else 5                      # towards the side of the front where nothing lies
    for number, row in enumerate(front, 1):
        axes.annotate(str(number), (row[x], row[y]), xytext=(outwards, 4), textcoords='offset points', fontsize=7,
                      ha='right' if outwards < 0 else 'left')
    names.text(0, 1, '\n'.join(f'{n:2}  {row["model"]}  {row[y]:.5g}' for n, row in enumerate(front, 1)), va='top',
               fontsize=7.5, family='monospace', linespacing=1.5)
    axes.set(xlabel=LABELS.get(x, x), ylabel=LABELS.get(y, y), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right' if lower_is_better(x) else 'lower left')
    with matplotlib.rc_context({'svg.fonttype': 'none'}):           # text stays text
        figure.savefig(path, dpi=150)
    return front
