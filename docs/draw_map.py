"""Draw docs/map.svg: the packages, layer by layer, and what they import (`make map`).

Layers come from [tool.importlinter] of pyproject.toml, arrows from the imports themselves. An
import that already follows from a chain of arrows is not drawn.
"""

import sys
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import grimp

PROJECT = Path(__file__).resolve().parents[1]
WIDTH, BOX, TALL, GAP, TOP, CLEAR = 940, 204, 46, 34, 16, 11  # px; CLEAR: of an arrow from a box
LEFT, MIDDLE_LEFT, MIDDLE, MIDDLE_RIGHT, RIGHT = 116, 352, 470, 588, 824  # centres of boxes, px
FILLS = {"run": "#E3ECF7", "show": "#E6F3EE", "answer": "#FDF1DC", "base": "#F1F1EF"}
PACKAGES = {  # where, which colour, in a few words
    "__main__": (MIDDLE, "run", "the commands"),
    "pipeline": (MIDDLE, "run", "which notebooks to run"),
    "checking": (MIDDLE, "run", "what is wrong with a study"),
    "report": (MIDDLE, "show", "words, page, provenance"),
    "figures": (MIDDLE, "show", "every picture (notebook 04)"),
    "robustness": (MIDDLE, "answer", "calibration, choices, power"),
    "clinical": (LEFT, "answer", "outcomes (notebook 01)"),
    "grey_matter": (MIDDLE_LEFT, "answer", "segmentation (notebook 00)"),
    "vbm": (MIDDLE_RIGHT, "answer", "change of volume (02)"),
    "receptors": (RIGHT, "answer", "the receptor link (03)"),
    "datasets": (MIDDLE_RIGHT + 118, "base", "the demo, public trials"),
    "importing": (MIDDLE, "base", "any table into a study"),
    "atlas": (MIDDLE, "base", "regions, their names"),
    "study": (MIDDLE_LEFT, "base", "the study file, its tables"),
    "computing": (MIDDLE_RIGHT + 118, "base", "processes, Dask clusters"),
    "results": (MIDDLE_LEFT, "base", "result files, numbers"),
    "trialmmrm": (LEFT, "base", "engine: mixed models"),
    "voxelperm": (MIDDLE_RIGHT + 118, "base", "engine: permutations"),
}


def package(module):
    """The package, or engine, that a module belongs to."""
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == "analysis_lib" and rest else first


def read_layers():
    """Names by layer, from the top."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[package(name.strip()) for name in layer.split("|")] for layer in layers]


def read_imports():
    """Imports between packages, a set of pairs; number of files in each package."""
    sys.path[:0] = [str(PROJECT), *map(str, sorted(PROJECT.glob("engines/*/src")))]
    graph = grimp.build_graph("analysis_lib", "trialmmrm", "voxelperm", cache_dir=None)
    pairs = {
        (package(module), package(found))
        for module in graph.modules
        for found in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in pairs if a != b}, Counter(map(package, graph.modules))


def without_shortcuts(pairs):
    """The pairs that do not follow from a chain of others."""

    def below(name):
        return {b for a, b in pairs if a == name}.union(*(below(b) for a, b in pairs if a == name))

    return {(a, b) for a, b in pairs if not any(b in below(c) for x, c in pairs if x == a)}


def cost_of(before, after):
    """Of going sideways between two rows: the distance, and a bend."""
    return abs(before - after) + 25 * (before != after)


def free_places(row, taken):
    """Values of x between the boxes of a row, away from earlier arrows."""
    boxes = [PACKAGES[name][0] for name in row]
    clear = (x for x in range(4, WIDTH, 2) if all(abs(x - c) > BOX / 2 + CLEAR for c in boxes))
    return [x for x in clear if all(abs(x - other) >= CLEAR for other in taken)]


def route(start, end, rows, taken):
    """Where an arrow passes the rows between its ends: x in each, with the least sideways."""
    ways = {start: (0, ())}
    for row, others in zip(rows, taken, strict=True):
        ways = {
            x: min((cost + cost_of(at, x), (*way, x)) for at, (cost, way) in ways.items())
            for x in free_places(row, others)
        }
    return min((cost + cost_of(at, end), way) for at, (cost, way) in ways.items())[1]


def routes(level, layers, pairs):
    """x of every arrow in the rows between its ends, the shortest arrow first."""
    taken, ways = [[] for _ in layers], {}
    for a, b in sorted(pairs, key=lambda pair: (level[pair[1]] - level[pair[0]], pair)):
        between = slice(level[a] + 1, level[b])
        ways[a, b] = route(PACKAGES[a][0], PACKAGES[b][0], layers[between], taken[between])
        for others, x in zip(taken[between], ways[a, b], strict=True):
            others.append(x)
    return ways


def arrows(layers, pairs):
    """First row, and x in each row, of every arrow; ends lie side by side on the boxes."""
    level = {name: i for i, row in enumerate(layers) for name in row}
    ways = routes(level, layers, pairs)
    leaving = {(a, b): (*way, PACKAGES[b][0])[0] for (a, b), way in ways.items()}
    coming = {(a, b): (PACKAGES[a][0], *way)[-1] for (a, b), way in ways.items()}
    return {
        (a, b): (level[a], [spread(a, b, 0, leaving), *way, spread(a, b, 1, coming)])
        for (a, b), way in ways.items()
    }


def spread(a, b, end, towards):
    """Where on its box an arrow begins (end 0) or ends (1): ordered as the arrows part."""
    box = (a, b)[end]
    mine = sorted((pair for pair in towards if pair[end] == box), key=lambda p: (towards[p], p))
    return PACKAGES[box][0] + 26 * (mine.index((a, b)) - (len(mine) - 1) / 2)


def row_top(level):
    """Upper edge of a row, px."""
    return TOP + level * (TALL + GAP)


def draw_arrow(level, xs):
    """One arrow: straight beside boxes, bent between rows."""
    path = f"M{xs[0]:g} {row_top(level) + TALL}"
    for i, (x, following) in enumerate(pairwise(xs), start=level + 1):
        y, last = row_top(i), i == level + len(xs) - 1
        bend = y - GAP / 2
        path += f"C{x:g} {bend:g} {following:g} {bend:g} {following:g} {y - 5 * last:g}"
        path += "" if last else f"V{y + TALL}"
    return f'<path class="arrow" d="{path}"/>'


def draw_box(name, level, n_files):
    """One package: its name, its files, its words."""
    middle, kind, words = PACKAGES[name]
    left, top = middle - BOX / 2, row_top(level)
    return (
        f'<rect x="{left:g}" y="{top}" width="{BOX}" height="{TALL}" rx="6" fill="{FILLS[kind]}"/>'
        f'<text class="name" x="{left + 12:g}" y="{top + 19}">{name}</text>'
        f'<text class="files" x="{left + BOX - 12:g}" y="{top + 19}">'
        f"{n_files} file{'s' * (n_files > 1)}</text>"
        f'<text class="words" x="{left + 12:g}" y="{top + 36}">{words}</text>'
    )


STYLE = """\
text{font-family:Helvetica,Arial,"DejaVu Sans",sans-serif;fill:#222}
rect{stroke:#C9C9C4;stroke-width:.8}
.name{font-size:14px;font-weight:bold}.words{font-size:12px;fill:#444}
.files{font-size:11px;fill:#8C8C8C;text-anchor:end}
.arrow{fill:none;stroke:#7A7A7A;stroke-width:1;marker-end:url(#tip)}"""
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="3" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0.8L7 4L0 7.2z" fill="#7A7A7A"/></marker></defs>'
)


def draw():
    """The picture, as SVG."""
    layers, (pairs, n_files) = read_layers(), read_imports()
    height = row_top(len(layers)) - GAP + TOP
    ways = arrows(layers, without_shortcuts(pairs))
    lines = [draw_arrow(*ways[pair]) for pair in sorted(ways)]
    boxes = [draw_box(name, i, n_files[name]) for i, row in enumerate(layers) for name in row]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    title = "<title>The packages: an arrow points to what is imported</title>"
    ground = f'<path fill="#fff" d="M0 0H{WIDTH}V{height}H0z"/>'
    parts = [head, title, f"<style>{STYLE}</style>", TIP, ground, *lines, *boxes, "</svg>"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (PROJECT / "docs" / "map.svg").write_text(draw(), encoding="utf-8")
