"""Draws figures as an SVG picture that can be read on light and on dark pages."""

from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 56, 24, 44, 56
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: 600 } .minor { fill: #57606a }
  .grid { stroke: #d0d7de } .line { fill: none; stroke-width: 2 } .a { stroke: #0969da; fill: #0969da } .b { stroke: #bc4c00; fill: #bc4c00 } path.a, path.b { fill: none }
  text.a, text.b { stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .minor { fill: #9198a1 } .grid { stroke: #3d444d } .a { stroke: #4493f8; fill: #4493f8 } .b { stroke: #f0883e; fill: #f0883e } path.a, path.b { fill: none }
  }"""


def lines(title, across, up, points, series):
    """A line for each of at most two series: names and values, one for each point. Points stand at equal distances, and the values begin at 0."""
    top = _round_up(max(value for values in series.values() for value in values))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points) - 1)
    at = lambda nth, value: (LEFT + nth * step, HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM))  # noqa: E731
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">', f"<style>{STYLE}\n</style>"]
    parts.append(_text(LEFT, 20, title, "title"))
    parts.append(_text(LEFT, HEIGHT - 12, across, "minor"))
    parts.append(_text(4, 36, up, "minor"))
    for value in (0, top / 4, top / 2, top * 3 / 4, top):
        _, y = at(0, value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{value:g}", "minor", "end"))
    for nth, point in enumerate(points):
        parts.append(_text(at(nth, 0)[0], HEIGHT - BOTTOM + 18, f"{point:,}", "minor", "middle"))
    for nth, (color, (name, values)) in enumerate(zip("ab", series.items(), strict=False)):
        places = [at(*place) for place in enumerate(values)]
        parts.append(f'<path class="line {color}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
        parts += [f'<circle class="{color}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        parts.append(_text(WIDTH - RIGHT, 20 + 16 * nth, name, color, "end"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x, y, text, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _round_up(value):
    """The next of 4, 8, 12, 20, 40, 80..., which quarters divide well."""
    unit = 1
    while True:
        for factor in (4, 8, 12, 20):
            if value <= factor * unit:
                return factor * unit
        unit *= 10
