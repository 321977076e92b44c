"""The boot timeline as one self-contained SVG: a bar for each monitor, cut where its marks are (medians)."""

from html import escape

PHASES = {  # the mark that ends it: what it is, colour
    "first instruction": ("monitor starts", "#4269d0"),
    "kernel's first line": ("firmware, kernel until its console works", "#efb118"),
    "init": ("kernel", "#3ca951"),
    "tiny: ready": ("user space to its first line", "#a463f2"),
    "end": ("power-off", "#9498a0"),
}
LEFT, WIDTH, TOP, BAR, STEP = 190, 700, 76, 24, 46
STYLE = """text{font:13px system-ui,sans-serif;fill:#222}.small{font-size:11px;fill:#666}.grid{stroke:#ddd}
rect.paper{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#eee}.small{fill:#aaa}.grid{stroke:#444}
rect.paper{fill:#181818}}"""


def nice_step(span):
    """A round distance between grid lines, for about eight of them."""
    return min((base * 10 ** power for power in range(-3, 4) for base in (1, 2, 5)), key=lambda step: abs(span / step - 8))


def draw(timeline):
    last = max(mark["median"] for marks in timeline.values() for mark in marks.values())
    height = TOP + STEP * len(timeline) + 40

    def x(seconds):
        return LEFT + WIDTH * seconds / last

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 80} {height}" role="img">',
             f"<title>Boot timeline</title><style>{STYLE}</style>",
             f'<rect class="paper" width="{LEFT + WIDTH + 80}" height="{height}"/>',
             '<text x="16" y="24">From exec to user space, small kernel, in the lab (emulated seconds; medians)</text>']
    at = 16
    for what, colour in PHASES.values():
        parts.append(f'<rect x="{at}" y="38" width="12" height="12" fill="{colour}"/>'
                     f'<text class="small" x="{at + 17}" y="48">{escape(what)}</text>')
        at += 36 + 6 * len(what)
    step, count = nice_step(last), 0
    while count * step <= last:
        place = x(count * step)
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP - 8}" y2="{height - 34}"/>'
                     f'<text class="small" x="{place:.1f}" y="{height - 18}" text-anchor="middle">{count * step:g} s</text>')
        count += 1
    for i, (name, marks) in enumerate(timeline.items()):
        y, before = TOP + STEP * i, 0.0
        parts.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        for mark, (what, colour) in PHASES.items():
            if mark not in marks:
                continue
            time = max(marks[mark]["median"], before)
            tip = f"{mark}: {marks[mark]['median']:.3f} s ({marks[mark]['min']:.3f} to {marks[mark]['max']:.3f})"
            parts.append(f'<rect x="{x(before):.1f}" y="{y}" width="{x(time) - x(before):.1f}" height="{BAR}" '
                         f'fill="{colour}"><title>{escape(f"{name}: {tip}")}</title></rect>')
            before = time
        ready = marks["tiny: ready"]["median"]
        parts.append(f'<text class="small" x="{x(ready):.1f}" y="{y + BAR + 12}" text-anchor="middle">'
                     f"ready {ready:.2f} s</text>")
    return "\n".join(parts + ["</svg>\n"])
