"""What the lines of the table said, commit by commit: perf/results/history.ndjson and its picture.

Of a commit there is one line; lines of the table that are measured again replace what it said.  perf/results/
and pages do not count as changes: what ran is the commit's program all the same.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess

from gateway import TOP

FOLDER = os.path.join(TOP, "perf", "results")
DATA = os.path.join(FOLDER, "history.ndjson")
PICTURE = os.path.join(FOLDER, "history.svg")


def git(*words):
    done = subprocess.run(["git", "-C", TOP, *words], check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def read():
    if not os.path.exists(DATA):
        return []
    with open(DATA, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def record(results, others_cpus):
    """Adds what was measured to the commit's line and draws anew; says what it did."""
    commit = git("rev-parse", "--short=10", "HEAD")
    if commit is None:
        return "Not recorded: this is no clone of the repository."
    if git("status", "--porcelain", "--untracked-files=no", "--", ":!perf/results", ":!*.md"):
        return "Not recorded: the tree has changes, so these figures belong to no commit."
    entries = read()
    entry = next((e for e in entries if e["commit"] == commit), None)
    if entry is None:
        entry = {"commit": commit, "lines": {}}
        entries.append(entry)
    entry.update(subject=git("log", "-1", "--format=%s"), cpus=os.cpu_count(), kernel=platform.release(),
                 date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
                 others_cpus=round(statistics.median(others_cpus), 2) if others_cpus else None)
    entry["lines"].update({name: rounded(result) for name, result in results.items() if "error" not in result})
    os.makedirs(FOLDER, exist_ok=True)
    with open(DATA, "w", encoding="utf-8") as file:
        for each in entries:
            file.write(json.dumps(each, separators=(",", ":")) + "\n")
    draw(entries)
    return f"Recorded for {commit} in perf/results/history.ndjson, drawn in perf/results/history.svg."


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


# --- the picture ---------------------------------------------------------------------------------

WIDE, HIGH, COLUMNS = 300, 110, 3


def bounds():
    """{line: (figure, how its goal reads, its bound)}"""
    import table  # here: table imports this module
    return {line[0]: (line[1], line[3], line[4]) for line in table.LINES + table.OTHERS}


def panel(out, x, y, figure, points, bound, commits):
    """One line of the table: a point for each commit that measured it, its range, the goal as a dashed line."""
    values = [v for _, v, least, most in points for v in (v, least, most)] + ([bound] if bound else [])
    low, high = min(values), max(values)
    low, high = low - (high - low) * 0.15 - abs(high) * 0.01, high + (high - low) * 0.15 + abs(high) * 0.01

    def at(column, value):
        return (x + WIDE * (column + 0.5) / commits, y + HIGH - HIGH * (value - low) / (high - low))

    out.append(f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" class="frame"/>'
               f'<text x="{x}" y="{y - 7}" class="title">{figure}</text>')
    if bound:
        _, level = at(0, bound)
        out.append(f'<line x1="{x}" x2="{x + WIDE}" y1="{level:.1f}" y2="{level:.1f}" class="goal"/>'
                   f'<text x="{x + WIDE - 3}" y="{level - 3:.1f}" text-anchor="end" class="small">{bound:,g}</text>')
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(c, v) for c, v, _, _ in points))
    out.append(f'<polyline points="{path}" class="path"/>')
    for column, value, least, most in points:
        (px, py), (_, top), (_, bottom) = at(column, value), at(column, most), at(column, least)
        out.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" class="range"/>'
                   f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3"/>')
    column, value, _, _ = points[-1]
    px, py = at(column, value)
    out.append(f'<text x="{min(px + 6, x + WIDE - 40):.1f}" y="{py + 12:.1f}" class="small">{value:,.4g}</text>')


def draw(entries):
    panels = []
    for name, (figure, how, bound) in bounds().items():
        points = []
        for column, entry in enumerate(entries):
            result = entry["lines"].get(name)
            value = None if result is None else result.get("ratio" if how == "ratio" else "ours")
            if value is not None:
                least, most = result.get("range", [value, value]) if how == "ratio" else (value, value)
                points.append((column, value, least, most))
        if points:
            panels.append((f"{figure}{', ratio' if how == 'ratio' else ''}", points, bound))
    rows = -(-len(panels) // COLUMNS)
    wide, high = COLUMNS * (WIDE + 30) + 20, rows * (HIGH + 45) + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif">',
           "<style>.frame{fill:#fff;stroke:#bbb}.title{font-size:12px}.small{font-size:10px;fill:#555}"
           ".goal{stroke:#c40;stroke-dasharray:4 3}.path{fill:none;stroke:#068}.range{stroke:#8bc;stroke-width:2}"
           "circle{fill:#068}</style>", f'<rect width="{wide}" height="{high}" fill="#fafafa"/>',
           f'<text x="20" y="22" class="title">{len(entries)} commits, {entries[0]["commit"]} '
           f'({entries[0]["date"][:10]}) to {entries[-1]["commit"]} ({entries[-1]["date"][:10]}); '
           "dots: medians, bars: range of the rounds, dashed: goal</text>"]
    for i, (figure, points, bound) in enumerate(panels):
        panel(out, 20 + i % COLUMNS * (WIDE + 30), 55 + i // COLUMNS * (HIGH + 45), figure, points, bound,
              len(entries))
    out.append("</svg>")
    with open(PICTURE, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    draw(read())
