"""Reads records as their products write them and keeps what the checks need of each.

Lines may be NXLog's flat JSON, Winlogbeat's JSON, event XML, or Defender rows (one a line, or an Event Hub batch).
"""

import calendar
import json
import re
import sys

SYSMON = "Microsoft-Windows-Sysmon/Operational"
intern = sys.intern
_days = {}


def seconds(text):
    """A UTC time (`2026-03-02 08:00:02.003`, `2026-03-02T08:00:02.0034055Z`) as seconds since 1970."""
    day = text[:10]
    base = _days.get(day)
    if base is None:
        base = calendar.timegm((int(day[:4]), int(day[5:7]), int(day[8:10]), 0, 0, 0))
        _days[day] = base
    t = base + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
    fraction = text[20:].rstrip("Z")
    return t + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


class Record:
    """One record: where it comes from, what it says, when it happened."""

    __slots__ = ("n", "source", "id", "host", "channel", "number", "writer", "t", "exact", "d", "key", "who", "block")

    def __init__(self, n, source, id, host, channel, number, t, exact, d):
        self.n, self.source, self.id, self.host, self.channel = n, source, id, host, channel
        self.number, self.t, self.exact, self.d = number, t, exact, d
        self.writer = None
        self.key = None
        self.who = None  # key of the acting process, found later
        self.block = None

    def __str__(self):
        return f"line {self.n + 1} ({self.source} {self.id} on {self.host})"


# What no check looks at.
DROP = set(
    "Message Keywords SeverityValue Severity ProviderGuid Version Task OpcodeValue Opcode EventReceivedTime SourceModuleName "
    "SourceModuleType AccountType Category ThreadID EventTime Hostname EventID SourceName RecordNumber ExecutionProcessID Channel "
    "Domain AccountName UserID RuleName MachineGroup AppGuardContainerId DeviceName ReportId Timestamp".split()
)
KEEP_IN_ROWS = {"AccountName"}

TABLES = {
    "ProcessCreated": "process",
    "ImageLoaded": "image_load",
    "LogonSuccess": "logon",
    "LogonFailed": "logon",
    "LogonAttempted": "logon",
    "ConnectionSuccess": "network",
    "ConnectionFailed": "network",
    "InboundConnectionAccepted": "network",
    "ListeningConnectionCreated": "network",
    "FileCreated": "file",
    "FileModified": "file",
    "FileDeleted": "file",
    "FileRenamed": "file",
    "RegistryValueSet": "registry",
    "RegistryKeyCreated": "registry",
    "RegistryKeyDeleted": "registry",
    "RegistryValueDeleted": "registry",
    "RegistryKeyRenamed": "registry",
}
KEY_NAMES = {
    "process": "DeviceProcessEvents",
    "image_load": "DeviceImageLoadEvents",
    "logon": "DeviceLogonEvents",
    "network": "DeviceNetworkEvents",
    "file": "DeviceFileEvents",
    "registry": "DeviceRegistryEvents",
    "events": "DeviceEvents",
}
SOURCES = {
    SYSMON: "sysmon",
    "Security": "security",
    "System": "system",
    "Microsoft-Windows-PowerShell/Operational": "powershell",
    "Microsoft-Windows-TaskScheduler/Operational": "tasks",
}
_blocks = {}
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&#13;", "\r"), ("&#10;", "\n"), ("&#9;", "\t"), ("&#xD;", "\r"), ("&#xA;", "\n"), ("&#x9;", "\t"), ("&amp;", "&"))  # fmt: skip


def plain(text):
    """Text without the entities of XML."""
    if "&" in text:
        for a, b in _ENTITIES:
            text = text.replace(a, b)
    return text


def _event(n, channel, id, host, number, writer, when, d, exact):
    source = SOURCES.get(channel, channel)
    t = seconds(d["UtcTime"]) if source == "sysmon" and "UtcTime" in d else seconds(when)
    exact = exact or source == "sysmon"
    r = Record(n, source, id, intern(host), channel, number, t, exact, d)
    r.writer = (writer, seconds(when))
    r.key = f"{host}|{channel}|{number}"
    return r


def _values(d):
    return {k: intern(v) if isinstance(v, str) and len(v) < 300 else v for k, v in d.items()}


# NXLog copies text out of the event's XML as it stands there.
def _nxlog(n, j):
    host, number = j["Hostname"], j["RecordNumber"]
    d = _values({k: plain(v) if isinstance(v, str) else v for k, v in j.items() if k not in DROP})
    return _event(n, j["Channel"], j["EventID"], host, number, j["ExecutionProcessID"], j["EventTime"], d, False)


def _winlogbeat(n, j):
    w = j["winlog"]
    d = dict(w.get("event_data") or w.get("user_data") or {})
    pid = w.get("process", {}).get("pid", 0)
    number = int(w["record_id"])
    return _event(n, w["channel"], int(w["event_id"]), w["computer_name"], number, pid, j["@timestamp"], _values(d), True)


_XML = {
    "id": re.compile(r"<EventID[^>]*>(\d+)<"),
    "computer": re.compile(r"<Computer>([^<]*)<"),
    "channel": re.compile(r"<Channel>([^<]*)<"),
    "number": re.compile(r"<EventRecordID>(\d+)<"),
    "time": re.compile(r"SystemTime=['\"]([^'\"]*)"),
    "pid": re.compile(r"ProcessID=['\"](\d+)"),
}
_DATA = re.compile(r"<Data Name=['\"]([^'\"]*)['\"](?:/>|>(.*?)</Data>)", re.S)


def _xml(n, text):
    f = {k: (m.group(1) if (m := x.search(text)) else "0") for k, x in _XML.items()}
    d = {k: plain(v or "") for k, v in _DATA.findall(text)}
    return _event(n, f["channel"], int(f["id"]), f["computer"], int(f["number"]), int(f["pid"]), f["time"], _values(d), True)


def _row(n, j, hosts):
    table = TABLES.get(j.get("ActionType"), "events")
    name = j["DeviceName"]
    host = hosts.setdefault(name, name)
    block, d = [], {}
    for k, v in j.items():
        if k.startswith("InitiatingProcess"):
            block.append((k, v))
        elif k not in DROP or k in KEEP_IN_ROWS:
            d[k] = intern(v) if isinstance(v, str) and len(v) < 300 else v
    r = Record(n, "defender." + table, j["ActionType"], intern(host), "", j["ReportId"], seconds(j["Timestamp"]), True, d)
    block = tuple(sorted(block))
    r.block = _blocks.setdefault(block, block)
    r.key = f"{j['DeviceId']}|{j['ReportId']}|{KEY_NAMES[table]}"
    return r


def parse(n, line, hosts):
    """The records of one line."""
    line = line.strip()
    if not line:
        return []
    if line[0] == "<":
        return [_xml(n, line)]
    j = json.loads(line)
    if "RecordNumber" in j:
        return [_nxlog(n, j)]
    if "winlog" in j:
        return [_winlogbeat(n, j)]
    if "records" in j:
        return [_row(n, r["properties"], hosts) for r in j["records"]]
    if "DeviceName" in j:
        return [_row(n, j, hosts)]
    raise ValueError(f"line {n + 1}: no record of a known product")


def read(paths):
    """All records of files (`-` is standard input), in order; host names in the spelling of the event log."""
    hosts, records, n = {}, [], 0
    for path in paths:
        f = sys.stdin if path == "-" else open(path, encoding="utf-8")
        with f:
            for line in f:
                records.extend(parse(n, line, hosts))
                n += 1
    # Defender prints names in lower case; the event log's spelling is the name of the host everywhere
    spelled = {r.host.lower(): r.host for r in records if not r.source.startswith("defender.")}
    for r in records:
        if r.source.startswith("defender."):
            r.host = intern(spelled.get(r.host, r.host))
    return records


class Table:
    """What was checked, how often, and what failed."""

    EXAMPLES = 3

    def __init__(self):
        self.rows = {}

    def row(self, name):
        return self.rows.setdefault(name, [0, 0, []])

    def check(self, name, good, say=None):
        """Counts one check; `say` tells what is wrong and is only called when it failed."""
        r = self.row(name)
        r[0] += 1
        if not good:
            r[1] += 1
            if len(r[2]) < self.EXAMPLES:
                r[2].append(say() if callable(say) else str(say))
        return good

    def equal(self, name, a, b, of):
        return self.check(name, a == b, lambda: f"{of}: {a!r} is not {b!r}")

    def failed(self):
        return sum(1 for r in self.rows.values() if r[1])

    def print(self, out=sys.stdout):
        width = max((len(n) for n in self.rows), default=10)
        print(f"{'check':{width}}  {'made':>9}  {'failed':>7}", file=out)
        for name, (made, failed, examples) in self.rows.items():
            print(f"{name:{width}}  {made:9}  {failed:7}", file=out)
            for e in examples:
                print(f"{'':4}{e[:600]}", file=out)
