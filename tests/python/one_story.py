#!/usr/bin/env python3
"""Shows that the records of many sensors tell one story.

    one_story.py [--boot-state FILE] [--truth FILE] [--joins N] RECORDS...

RECORDS are payloads only, one a line, as `skirmish generate` writes them: NXLog, Winlogbeat or event XML for windows.*,
rows or Event Hub batches for defender.*. The records should come from the policy `verbose_lab` and the collection
profile `lab`, or nothing can be expected of a join. `-` is standard input.

--boot-state FILE   processes and sessions that lived at the start (`generate --boot-state FILE`); without it, what began
                    before the first record is not looked up
--truth FILE        truth lines of the attack records; only for the last part: the closure of each attack
--joins N           fail when fewer process starts were joined

The last 10 s are left out: their records may not have been delivered yet. Prints what was checked, how often, and what
failed with its first examples; ends with 1 when anything failed, with 2 when it could not be run.
"""

import argparse
import sys

from story import objects, processes, sessions
from story.records import Table, read
from story.world import World


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("records", nargs="+")
    p.add_argument("--boot-state", action="append", default=[])
    p.add_argument("--truth", action="append", default=[])
    p.add_argument("--joins", type=int, default=0)
    a = p.parse_args()
    records = read(a.records)
    if not records:
        print("no records", file=sys.stderr)
        return 2
    world, table = World(records, a.boot_state), Table()
    processes.check(world, table)
    sessions.check(world, table)
    objects.check(world, table)
    if a.truth:
        from story import closure

        closure.check(world, table, a.truth)
    joined = sum(1 for q in world.processes.values() if q.security and q.device)
    if a.joins:
        table.check(f"at least {a.joins} starts joined", joined >= a.joins, f"{joined} joined")
    print(f"{len(records)} records of {len({r.host for r in records})} hosts over {world.last - world.first:.0f} s; {joined} process starts joined in three sources")
    table.print()
    if a.truth:
        closure.print_closures(table.closures)
    bad = table.failed()
    print(f"{sum(r[0] for r in table.rows.values())} checks, {bad} kinds failed" if bad else f"{sum(r[0] for r in table.rows.values())} checks, none failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
