"""Connections, files, registry values, modules and the rest: each seen alike by every sensor that sees it."""

import json
from collections import defaultdict

from .world import SAME

# Some hosts' clocks are off by more than a second.
CLOCKS = 4.0
HIVES = (("HKLM\\", "HKEY_LOCAL_MACHINE\\"), ("HKCR\\", "HKEY_LOCAL_MACHINE\\SOFTWARE\\Classes\\"))


def pair(w, t, name, left, right, near=2 * SAME):
    """Joins two sources' records one to one, in the order of time: `left` and `right` are (key, record); equal keys within
    `near` seconds."""
    rest = defaultdict(list)
    for key, r in sorted(right, key=lambda e: e[1].t):
        rest[key].append(r)
    pairs = []
    for key, r in sorted(left, key=lambda e: e[1].t):
        if r.t > w.cut:
            continue
        fits = [q for q in rest.get(key, ()) if (abs(q.t - r.t) < near if q.exact and r.exact else -0.35 < r.t - q.t < 1.35 if q.exact is False else -0.35 < q.t - r.t < 1.35)]
        if t.check(name, fits, lambda: f"{r}: none for {key[1:]}"):
            q = fits[0]
            rest[key].remove(q)
            pairs.append((r, q))
    for key, rs in rest.items():
        for r in rs:
            # the log's clock may only show the second, and its partner may be behind the cut
            if r.t <= w.cut - 2.0:
                t.check(name, False, lambda: f"{r}: left over, {key[1:]}")
    return pairs


def connections(w, t):
    """Sysmon 3, Security 5156 and DeviceNetworkEvents on the five-tuple; the port was bound before."""

    def sysmon():
        for r in w.by["sysmon", 3]:
            d = r.d
            yield (r.host, d["Protocol"].lower(), d["Initiated"] == "true", d["SourceIp"], int(d["SourcePort"]), d["DestinationIp"], int(d["DestinationPort"])), r

    def audit():
        for r in w.by["security", 5156]:
            d = r.d
            yield (r.host, {"6": "tcp", "17": "udp"}.get(d["Protocol"]), d["Direction"] == "%%14593", d["SourceAddress"], int(d["SourcePort"]), d["DestAddress"], int(d["DestPort"])), r

    def rows():
        for id in ("ConnectionSuccess", "InboundConnectionAccepted"):
            for r in w.by["defender.network", id]:
                d = r.d
                out = id == "ConnectionSuccess"
                a, b = (d["LocalIP"], d["LocalPort"]), (d["RemoteIP"], d["RemotePort"])
                yield (r.host, d["Protocol"].lower(), out, *(a + b if out else b + a)), r

    if {"sysmon", "security"} <= w.sources:
        for r, q in pair(w, t, "join: Sysmon 3 with 5156", list(sysmon()), list(audit())):
            t.equal("5156: process", int(q.d.get("ProcessID") or 0), int(r.d["ProcessId"]), q)
    if {"sysmon", "defender.network"} <= w.sources:
        for r, q in pair(w, t, "join: Sysmon 3 with DeviceNetworkEvents", list(sysmon()), list(rows())):
            t.equal("device network: process", q.who, r.who, q)
    bound = defaultdict(list)
    for r in w.by["security", 5158]:
        bound[r.host, r.d["Protocol"], r.d["SourcePort"]].append(r)
    if bound:
        for r in w.by["security", 5156]:
            if r.d["Direction"] == "%%14593":
                near = [q for q in bound[r.host, r.d["Protocol"], r.d["SourcePort"]] if q.number < r.number and r.t - q.t < 5]
                if t.check("5158: before 5156", near, lambda: f"{r}: port {r.d['SourcePort']} was not bound before"):
                    t.equal("5158: process", near[-1].d.get("ProcessId") or near[-1].d.get("ProcessID"), r.d.get("ProcessID"), near[-1])
    # both ends of a connection inside
    ours = {}
    watched = set()
    for key, r in sysmon():
        if key[2]:
            ours[key[1], key[3], key[4], key[5], key[6]] = r
            watched.add(key[3])
    for key, r in sysmon():
        # a host whose records are here; others (another system's, another source's) are not seen to connect
        if not key[2] and r.t <= w.cut and key[3] in watched:
            a = ours.get((key[1], key[3], key[4], key[5], key[6]))
            if t.check("connection: both ends", a, lambda: f"{r}: nobody opened {key[3]}:{key[4]} to {key[5]}:{key[6]}"):
                t.check("connection: opened before it arrives", a.t <= r.t + CLOCKS, lambda: f"{r}: {a.t - r.t:.3f} s before {a}")


def files(w, t):
    if {"sysmon", "defender.file"} <= w.sources:
        a = [((r.host, r.who, r.d["TargetFilename"].replace("%%", "%")), r) for r in w.by["sysmon", 11]]
        b = [((r.host, r.who, r.d["FolderPath"]), r) for r in w.by["defender.file", "FileCreated"]]
        pair(w, t, "join: Sysmon 11 with DeviceFileEvents", a, b)
        a = [((r.host, r.who, r.d["TargetFilename"].replace("%%", "%")), r) for id in (23, 26) for r in w.by["sysmon", id]]
        b = [((r.host, r.who, r.d["FolderPath"]), r) for r in w.by["defender.file", "FileDeleted"]]
        pair(w, t, "join: Sysmon 23, 26 with DeviceFileEvents", a, b)
    for r in w.records:
        if r.source == "defender.file":
            t.equal("device file: name", r.d["FileName"], r.d["FolderPath"].rsplit("\\", 1)[-1], r)


def long_key(path):
    for a, b in HIVES:
        if (path + "\\").startswith(a):
            return b + path[len(a) :] if len(path) > len(a) else b.rstrip("\\")
    if path.startswith("HKU\\"):
        rest = path[4:]
        return ("HKEY_CURRENT_USER\\" if rest.startswith("S-1-5-21") else "HKEY_USERS\\") + rest
    return path


def registry(w, t):
    if not {"sysmon", "defender.registry"} <= w.sources:
        return

    def rows(*ids):
        for id in ids:
            for r in w.by["defender.registry", id]:
                path, value = r.d["RegistryKey"], r.d["RegistryValueName"]
                yield (r.host, r.who, f"{path}\\{value}" if value is not None else path), r

    def sysmon(id, *types):
        return [((r.host, r.who, long_key(r.d["TargetObject"].replace("%%", "%"))), r) for r in w.by["sysmon", id] if r.d["EventType"] in types]

    for r, q in pair(w, t, "join: Sysmon 13 with DeviceRegistryEvents", sysmon(13, "SetValue"), list(rows("RegistryValueSet"))):
        details, data, kind = r.d["Details"].replace("%%", "%"), q.d["RegistryValueData"], q.d["RegistryValueType"]
        if kind in ("Binary", "None", "MultiString"):
            t.equal("registry: data", details, "Binary Data", r)
        elif kind == "Dword":
            t.equal("registry: data", details, f"DWORD (0x{int(data, 0) & 0xFFFFFFFF:08x})" if not data.startswith("DWORD") else data, r)
        elif kind == "Qword":
            t.check("registry: data", details.startswith("QWORD ("), lambda: f"{r}: {details}")
        else:
            t.equal("registry: data", details if details != "(Empty)" else "", data or "", r)
    pair(w, t, "join: Sysmon 12 with DeviceRegistryEvents", sysmon(12, "CreateKey"), list(rows("RegistryKeyCreated")))
    pair(w, t, "join: Sysmon 12 with DeviceRegistryEvents", sysmon(12, "DeleteKey"), list(rows("RegistryKeyDeleted")))
    pair(w, t, "join: Sysmon 12 with DeviceRegistryEvents", sysmon(12, "DeleteValue"), list(rows("RegistryValueDeleted")))


def modules(w, t):
    if not {"sysmon", "defender.image_load"} <= w.sources:
        return
    a = [((r.host, r.who, r.d["ImageLoaded"]), r) for r in w.by["sysmon", 7]]
    b = [((r.host, r.who, r.d["FolderPath"]), r) for r in w.by["defender.image_load", "ImageLoaded"]]
    for r, q in pair(w, t, "join: Sysmon 7 with DeviceImageLoadEvents", a, b):
        hashes = dict(h.split("=", 1) for h in r.d["Hashes"].split(",") if "=" in h)
        t.equal("module: hashes", (q.d["MD5"], q.d["SHA256"]), (hashes.get("MD5", "").lower() or None, hashes.get("SHA256", "").lower() or None), r)


def events(w, t):
    """What DeviceEvents has in common with the event log."""
    if "defender.events" not in w.sources:
        return

    def more(r):
        return json.loads(r.d.get("AdditionalFields") or "{}")

    def rows(id, key):
        return [((r.host, *key(r)), r) for r in w.by["defender.events", id]]

    def logged(source, ids, key):
        return [((r.host, *key(r)), r) for id in ids for r in w.by[source, id]]

    if "sysmon" in w.sources:
        pair(w, t, "join: Sysmon 22 with DeviceEvents", logged("sysmon", [22], lambda r: (r.who, r.d["QueryName"])), rows("DnsQueryResponse", lambda r: (r.who, more(r)["DnsQueryString"])))
        pair(w, t, "join: Sysmon 17 with DeviceEvents", logged("sysmon", [17], lambda r: (r.who, r.d["PipeName"])), rows("NamedPipeEvent", lambda r: (r.who, more(r)["PipeName"])))
        pair(w, t, "join: Sysmon 8 with DeviceEvents", logged("sysmon", [8], lambda r: (r.who, int(r.d["TargetProcessId"]))), rows("CreateRemoteThreadApiCall", lambda r: (r.who, r.d["ProcessId"])))
    if "security" in w.sources:
        service = lambda r: (r.d["ServiceName"],)
        pair(w, t, "join: 4697 with DeviceEvents", logged("security", [4697], service), rows("ServiceInstalled", lambda r: (more(r)["ServiceName"],)))
        pair(w, t, "join: 4698 with DeviceEvents", logged("security", [4698], lambda r: (r.d["TaskName"],)), rows("ScheduledTaskCreated", lambda r: (more(r)["TaskName"],)))
        pair(w, t, "join: 4720 with DeviceEvents", logged("security", [4720], lambda r: (r.d["TargetUserName"],)), rows("UserAccountCreated", lambda r: (r.d["AccountName"],)))
        pair(w, t, "join: 1102 with DeviceEvents", logged("security", [1102], lambda r: ()), rows("SecurityLogCleared", lambda r: ()))
    if {"security", "system"} <= w.sources:
        pair(w, t, "join: 4697 with 7045", logged("security", [4697], lambda r: (r.d["ServiceName"], r.d["ServiceFileName"])), logged("system", [7045], lambda r: (r.d["ServiceName"], r.d["ImagePath"])))
    if {"security", "tasks"} <= w.sources:
        pair(w, t, "join: 4698 with 106", logged("security", [4698], lambda r: (r.d["TaskName"],)), logged("tasks", [106], lambda r: (r.d["TaskName"],)))


def check(w, t):
    for f in (connections, files, registry, modules, events):
        f(w, t)
