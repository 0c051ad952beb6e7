"""Processes and sessions as the records and the state at the start tell them."""

import json
from bisect import bisect_right
from collections import defaultdict

ZERO = "{00000000-0000-0000-0000-000000000000}"
# Logon ids that every Windows host has.
FIXED = {0x3E7: "SYSTEM", 0x3E5: "LOCAL SERVICE", 0x3E4: "NETWORK SERVICE"}
# Records of one activity in two sources differ by less than this in event time: both print the host's clock, but Sysmon
# stamps most events with the kernel's coarse one, which stands still for up to 15.6 ms.
SAME = 0.017


def guid(text):
    """Sysmon's GUID: machine part, second, and the last eight bytes as a number."""
    h = text.strip("{}")
    a, b, c, d, e = h.split("-")
    return int(a, 16), int(b, 16) | int(c, 16) << 16, int.from_bytes(bytes.fromhex(d + e), "little")


class Process:
    """One process from its start to its end."""

    __slots__ = (
        "host pid key start end image command_line domain user luid parent parent_pid integrity elevation terminal boot "
        "sysmon security device guid hashes ends"
    ).split()

    def __init__(self, **k):
        for s in self.__slots__:
            setattr(self, s, k.get(s))

    def __str__(self):
        return f"{self.image} (pid {self.pid}, key {self.key:#x} on {self.host})"


class Session:
    """One logon session."""

    __slots__ = ("host", "luid", "user", "domain", "sid", "start", "end", "type", "linked", "elevated", "record", "boot")

    def __init__(self, **k):
        for s in self.__slots__:
            setattr(self, s, k.get(s))


class World:
    """Everything known of processes and sessions."""

    def __init__(self, records, boot):
        self.records = records
        self.by = defaultdict(list)
        for r in records:
            self.by[r.source, r.id].append(r)
        self.at_line = {r.n: r for r in records}
        self.sources = {r.source for r in records}
        self.first = min(r.t for r in records)
        self.last = max(r.t for r in records)
        self.cut = self.last - 10.0
        self.processes, self.sessions = {}, {}
        self.machine = {}
        self.boot = bool(boot)
        for path in boot:
            with open(path, encoding="utf-8") as f:
                for line in f:
                    self._boot(json.loads(line))
        for r in self.by["sysmon", 1]:
            self._start(r)
        for r in self.by["sysmon", 5]:
            p = self.processes.get((r.host, guid(r.d["ProcessGuid"])[2]))
            if p:
                p.ends = (p.ends or 0) + 1
                p.end = r.t
        self._index()
        for r in self.by["security", 4624]:
            self._logon(r)
        for r in self.by["security", 4634]:
            s = self.sessions.get((r.host, int(r.d["TargetLogonId"], 16)))
            if s and s.end is None:
                s.end = r.t
        self._actors()

    def _boot(self, j):
        host = j["host"]
        if j["type"] == "process":
            self.machine.setdefault(host, j["machine"])
            self.processes[host, j["key"]] = Process(
                host=host, pid=j["pid"], key=j["key"], start=float(j["second"]), image=j["image"],
                command_line=j["command_line"], user=j["user"], domain=j.get("domain"), luid=j["logon_id"],
                parent=j["parent_key"], parent_pid=j["parent_pid"], integrity=j.get("integrity"),
                elevation=j.get("elevation"), terminal=j.get("session"), boot=True,
            )  # fmt: skip
        elif j["type"] == "session":
            self.sessions[host, j["logon_id"]] = Session(
                host=host, luid=j["logon_id"], user=j["user"], domain=j.get("domain"), sid=j["sid"],
                start=float(j["second"]), type=j["logon_type"], linked=j["linked_id"], boot=True,
            )  # fmt: skip

    def _start(self, r):
        d = r.d
        domain, _, user = d["User"].rpartition("\\")
        machine, _, key = guid(d["ProcessGuid"])
        self.machine.setdefault(r.host, machine)
        parent = guid(d["ParentProcessGuid"])[2]
        self.processes[r.host, key] = Process(
            host=r.host, pid=int(d["ProcessId"]), key=key, start=r.t, image=d["Image"].replace("%%", "%"),
            command_line=d["CommandLine"].replace("%%", "%"), user=user, domain=domain, luid=int(d["LogonId"], 16),
            parent=parent, parent_pid=int(d["ParentProcessId"]), integrity=d["IntegrityLevel"],
            terminal=int(d["TerminalSessionId"]), boot=False, sysmon=r, guid=d["ProcessGuid"],
            hashes=dict(h.split("=", 1) for h in d["Hashes"].split(",") if "=" in h),
        )  # fmt: skip

    def _index(self):
        # a machine that starts anew has ended everything, whether that was recorded or not
        boots = defaultdict(dict)
        for p in self.processes.values():
            first = boots[p.host].get(p.key >> 48)
            boots[p.host][p.key >> 48] = p.start if first is None else min(first, p.start)
        for p in self.processes.values():
            later = [t for boot, t in boots[p.host].items() if boot > p.key >> 48]
            if later and p.end is None:
                p.end = min(later)
        self.pids = defaultdict(list)
        for p in self.processes.values():
            self.pids[p.host, p.pid].append(p)
        for ps in self.pids.values():
            ps.sort(key=lambda p: p.start)

    def _logon(self, r):
        d = r.d
        luid = int(d["TargetLogonId"], 16)
        if luid in FIXED:
            return
        self.sessions[r.host, luid] = Session(
            host=r.host, luid=luid, user=d["TargetUserName"], domain=d["TargetDomainName"], sid=d["TargetUserSid"], start=r.t,
            type=int(d["LogonType"]), linked=int(d["TargetLinkedLogonId"], 16), elevated=d["ElevatedToken"] == "%%1842",
            record=r, boot=False,
        )  # fmt: skip

    def at(self, host, pid, r, image=None):
        """The process that had a pid when a record was made; the record's clock may only show the second."""
        early, late = (SAME, 0.25) if r.exact else (1.02, 0.3)
        alive = [
            p
            for p in self.pids.get((host, pid), ())
            if int(p.start) <= r.t + early and p.start <= r.t + early + (1.0 if p.boot else 0.0) and (p.end is None or p.end >= r.t - late)
        ]
        if len(alive) > 1 and image:
            alive = [p for p in alive if p.image.lower() == image.lower()] or alive
        return alive[-1] if alive else None

    def _actors(self):
        """Who acted, for every record that names a process."""
        for r in self.records:
            d, host = r.d, r.host
            if r.source == "sysmon":
                g = d.get("ProcessGuid") or d.get("SourceProcessGuid") or d.get("SourceProcessGUID")
                if g and g != ZERO:
                    r.who = (host, guid(g)[2])
            elif r.source.startswith("defender."):
                if r.source == "defender.process":
                    r.who = (host, int(d["ProcessUniqueId"]))
                else:
                    key = int(dict(r.block).get("InitiatingProcessUniqueId") or 0)
                    r.who = (host, key) if key else None
            elif r.source == "powershell":
                p = self.at(host, r.writer[0], r)
                r.who = (host, p.key) if p else None
            elif r.source == "security":
                pid = security_pid(r)
                p = self.at(host, pid, r, d.get("ProcessName")) if pid else None
                r.who = (host, p.key) if p else None
        starts = defaultdict(list)
        for p in self.processes.values():
            if p.sysmon:
                starts[p.host, p.pid].append(p)
        self.unjoined = []
        for r in sorted(self.by["security", 4688], key=lambda r: (r.t, r.number)):
            pid = int(r.d["NewProcessId"], 16)
            slack = 0.3 if r.exact else 1.3
            free = [p for p in starts.get((r.host, pid), ()) if p.security is None and abs(p.start - r.t) < slack]
            exact = [p for p in free if p.image == r.d["NewProcessName"]]
            p = min(exact or free, key=lambda p: p.start, default=None)
            if p is None:
                self.unjoined.append(r)
            else:
                p.security = r
                p.elevation = int(r.d["TokenElevationType"].lstrip("%")) - 1935
                r.who = (r.host, p.key)
        for r in self.by["defender.process", "ProcessCreated"]:
            p = self.processes.get(r.who)
            if p is None or p.device is not None or p.sysmon is None:
                self.unjoined.append(r)
            else:
                p.device = r

    def parent(self, p):
        return self.processes.get((p.host, p.parent))


HEX_PID = {4624, 4625, 4648, 4656, 4658, 4663, 4660, 4689, 4703, 4673, 4674}


def security_pid(r):
    """The acting process's id in a Security record, 0 where it names none."""
    d = r.d
    if r.id in HEX_PID:
        return int(d.get("ProcessId") or "0", 16)
    if r.id in (5156, 5157, 5158):
        return int(d.get("ProcessID") or d.get("ProcessId") or 0)
    if r.id == 5154:
        return int(d.get("ProcessId") or 0)
    if r.id in (4798, 4799):
        return int(d.get("CallerProcessId") or "0", 16)
    if r.id == 4690:
        return int(d.get("SourceProcessId") or "0", 16)
    if r.id in (4697, 4698, 4699, 4700, 4701, 4702, 5379):
        return int(d.get("ClientProcessId") or 0)
    return 0
