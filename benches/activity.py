#!/usr/bin/env python3
"""The personas' days: activity over a week as a plot, made from generated records.

    skirmish generate -c week.yaml --for 7d --source windows.sysmon --boot-state boot.jsonl -o records.jsonl
    benches/activity.py --boot boot.jsonl records.jsonl -o week.svg        # records in the encoding `nxlog`
    benches/activity.py --csv week.csv -o week.svg                         # lines `unix second,site,persona`

Counts what people start (process creations, Sysmon 1 and Security 4688, under an account that owns the machine), in half
hours, one row a persona, one panel a site; the time axis is UTC, working hours shift with the site. `--boot` tells which
persona and site an account has. Only the standard library; the result is an SVG.
"""
import argparse
import collections
import datetime
import json
import sys

SLOT = 1800
ROW, GAP, LEFT, WIDTH, TOP = 46, 12, 150, 1180, 46
COLOURS = ["#1b6ca8", "#c8553d"]


def owners(path):
    """Account -> (site, persona), from the state at the start."""
    found = {}
    for line in open(path, encoding="utf-8"):
        entry = json.loads(line)
        if entry.get("type") == "host" and entry.get("persona"):
            found[entry["owner"].lower()] = (entry["site"], entry["persona"], entry["host"].lower())
    return found


def from_records(path, boot):
    people = owners(boot)
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        if record.get("EventID") not in (1, 4688):
            continue
        user = (record.get("User") or record.get("SubjectUserName") or "").split("\\")[-1].lower()
        site, persona, host = people.get(user, (None, None, None))
        if persona and record.get("Hostname", "").lower() == host:
            text = (record.get("UtcTime") or record["EventTime"])[:19].replace("T", " ")
            when = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
            yield int(when.timestamp()), site, persona


def from_csv(path):
    for line in open(path, encoding="utf-8"):
        second, site, persona = line.strip().rsplit(",", 2)
        yield int(second), site, persona


def plot(events, out):
    counts = collections.defaultdict(collections.Counter)
    first, last = None, None
    for second, site, persona in events:
        first = second if first is None else min(first, second)
        last = second if last is None else max(last, second)
        counts[(site, persona)][second // SLOT] += 1
    if first is None:
        sys.exit("no activity of anybody in the input")
    start = first // 86_400 * 86_400
    end = (last // 86_400 + 1) * 86_400
    total = collections.Counter()
    for (site, _), slots in counts.items():
        total[site] += sum(slots.values())
    sites = [s for s, _ in total.most_common(2)]
    personas = sorted({p for _, p in counts})
    height = TOP + len(sites) * (len(personas) * (ROW + GAP) + 60)
    x = lambda second: LEFT + (second - start) / (end - start) * WIDTH
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">Programs started by people, per half hour (UTC)</text>',
    ]
    y = TOP
    for panel, site in enumerate(sites):
        svg.append(f'<text x="8" y="{y + 14}" font-size="14" font-weight="bold">{site}</text>')
        y += 22
        top = y
        for persona in personas:
            slots = counts.get((site, persona), {})
            most = max(slots.values(), default=1)
            svg.append(f'<text x="8" y="{y + ROW - 4}">{persona.replace("_", " ")}</text>')
            svg.append(f'<text x="{LEFT - 6}" y="{y + 10}" text-anchor="end" fill="#888" font-size="9">{most}</text>')
            svg.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y + ROW}" y2="{y + ROW}" stroke="#ddd"/>')
            w = WIDTH * SLOT / (end - start)
            for slot, n in sorted(slots.items()):
                h = n / most * ROW
                svg.append(
                    f'<rect x="{x(slot * SLOT):.1f}" y="{y + ROW - h:.1f}" width="{w:.2f}" height="{h:.1f}" '
                    f'fill="{COLOURS[panel % 2]}"/>'
                )
            y += ROW + GAP
        for day in range(start, end, 86_400):
            name = datetime.datetime.fromtimestamp(day, datetime.timezone.utc).strftime("%a %d %b")
            svg.append(f'<line x1="{x(day):.1f}" x2="{x(day):.1f}" y1="{top}" y2="{y}" stroke="#bbb"/>')
            svg.append(f'<text x="{x(day) + 4:.1f}" y="{y + 10}" fill="#555">{name}</text>')
            for hour in (6, 12, 18):
                at = x(day + hour * 3600)
                svg.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{y}" stroke="#eee"/>')
        y += 38
    svg.append("</svg>")
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n".join(svg))
    print(f"{sum(total.values())} starts of {len(personas)} personas at {', '.join(sites)}: {out}")


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("records", nargs="?", help="records, one JSON object a line (nxlog)")
    a.add_argument("--boot", help="what `--boot-state` wrote")
    a.add_argument("--csv", help="lines `unix second,site,persona` instead of records")
    a.add_argument("-o", "--output", default="activity.svg")
    a = a.parse_args()
    if bool(a.csv) == bool(a.records) or (a.records and not a.boot):
        sys.exit("give either records and --boot, or --csv")
    plot(from_csv(a.csv) if a.csv else from_records(a.records, a.boot), a.output)


main()
