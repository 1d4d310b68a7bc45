#!/usr/bin/env python3
"""What receipts of a chat day cost, drawn: reads the JSON lines of sluice_day, writes a picture.

    sluice_day 20 50 100 200 256 500 1000 2000 > lines
    sluice_day --memory 2500 10000 30000 100000 >> lines
    day_figure.py lines > tests/sim/day.svg       and the table of the README on standard error
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT, TOP = 760, 430, 62, 46, 232, 46
COLOURS = {"live": "#1f77b4", "asked": "#2ca02c", "team": "#9467bd", "all": "#d62728"}


def series(lines):
    """Frames of the day by members, for each line of the picture."""
    town = [(line["members"], line["town"], line["devices"]) for line in lines]
    return [
        ("all", "each move told to everybody", "5 4", [(n, t["moves"] * d) for n, t, d in town]),
        ("live", "receipts:town, told live", "", [(n, t["frames"]) for n, t, _ in town if t["frames"]]),
        ("asked", "counts, answered on request", "", [(n, t["answers"]) for n, t, _ in town if t["answers"]]),
        ("team", "receipts of the teams of eight", "", [(line["members"], line["team"]["frames"]) for line in lines]),
    ]


def power(exponent):
    """10^exponent as people write it."""
    return ["1", "10", "100", "1,000", "10,000", "100,000", "1 million", "10 million", "100 million",
            "1 billion", "10 billion", "100 billion"][exponent]


def draw(lines):
    """The picture: both axes logarithmic, so that what is linear has the slope of the grey lines."""
    all_series = series(lines)
    xs = [n for _, _, _, points in all_series for n, _ in points]
    ys = [y for _, _, _, points in all_series for _, y in points]
    x0, x1 = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
    y0, y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))

    def at(n, y):
        return (LEFT + (math.log10(n) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (math.log10(y) - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="20" font-size="15">Frames of receipts in a chat day, all members together</text>',
           '<clipPath id="plot"><rect '
           f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - BOTTOM - TOP}"/></clipPath>']
    for k in range(y0 - (x1 - x0), y1 + 1):
        (ax, ay), (bx, by) = at(10 ** x0, 10 ** k), at(10 ** x1, 10 ** (k + x1 - x0))
        out.append(f'<path d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}" stroke="#ddd" clip-path="url(#plot)"/>')
    for k in range(x0, x1 + 1):
        x, y = at(10 ** k, 10 ** y0)
        out.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{power(k)}</text>')
    for k in range(y0, y1 + 1):
        x, y = at(10 ** x0, 10 ** k)
        out.append(f'<path d="M{x:.1f} {y:.1f}h{WIDTH - LEFT - RIGHT}" stroke="#eee"/>')
        out.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">10<tspan dy="-4" '
                   f'font-size="9">{k}</tspan></text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    out.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">members of the town; '
               'grey: linear</text>')
    for name, label, dash, points in all_series:
        path = "L".join("%.1f %.1f" % at(n, y) for n, y in points)
        colour = COLOURS[name]
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        for n, y in points:
            x, height = at(n, y)
            out.append(f'<circle cx="{x:.1f}" cy="{height:.1f}" r="3" fill="{colour}"/>')
        x, height = at(*points[-1])
        if name == "live":
            out.append(f'<text x="{x + 8:.1f}" y="{height - 6:.1f}" fill="{colour}">{label}</text>')
        else:
            out.append(f'<text x="{x + 8:.1f}" y="{height + 4:.1f}" fill="{colour}">{label}</text>')
    return "\n".join(out + ["</svg>"])


def table(lines):
    """The README's rows."""
    for line in lines:
        town, team, n = line["town"], line["team"], line["members"]
        print("| {:,} | {:,} | {:,} | {:.0f} | {:.1f} | {:.1f} | {:.1f} | {:,} |".format(
            n, town["moves"], town["frames"], town["frames"] / n, town["bytes"] / n / 1024,
            (town["answers"] + town["own"] + team["own"]) / n, team["frames"] / n,
            town["moves"] * line["devices"]), file=sys.stderr)


def main():
    lines = [json.loads(line) for path in sys.argv[1:] for line in open(path, encoding="utf-8")]
    lines.sort(key=lambda line: line["members"])
    print(draw(lines))
    table(lines)


main()
