"""The closure of each attack, found from payloads, against the truth, in both directions.

Truth says which processes and logons the steps themselves were: from there on only payloads count. In the closure are
  process   what a step's process or any descendant of it did; an injected process from the injection on
  session   what a session that a step or a process of it opened did and had done
  moment    what a service recorded without naming an object (a log cleared, a service that runs), within two seconds of it
  object    what other processes did to or with an object that the closure names: a service, task, file, key, account,
            host or connection that stands in a command line, a script, or a record that is in it already
Every record of the closure must be the instance's in the truth, and every direct or effect record of the truth must be in
the closure. Collateral is listed apart, and must be explained by the closure too. A step's own deeds by other hands (a user
saves a file with explorer) cannot be found from payloads: they are given, and counted.
"""

import json
import re
from bisect import bisect
from collections import Counter, defaultdict

from .world import FIXED, ZERO, guid

# Parts of paths and keys that name nothing in particular.
COMMON = set(
    """windows system32 syswow64 users public appdata local roaming temp programdata program files microsoft currentversion software hklm hkey_local_machine hkey_current_user
    system currentcontrolset controlset001 services control run runonce explorer tasks tree taskcache schedule registry machine user device harddiskvolume1 harddiskvolume2
    harddiskvolume3 harddiskvolume4 s-1-5-18 s-1-5-19 s-1-5-20 security default type start objectname imagepath displayname errorcontrol index actions path hash schema triggers
    dynamicinfo author date http https domain corp administrators documents desktop downloads startup menu true false tcp udp network service localsystem console execute command
    cmd.exe powershell.exe svchost.exe services.exe rundll32.exe explorer.exe system c$ admin$ ipc$ wbem root cimv2 subscription classes installer policies settings cache data
    content.outlook inetcache windowspowershell v1.0 s-1-0-0 s-1-16-16384 key file process success failure started stopped running none null value name state text""".split()
)
# Seconds between a deed of the attack and what a service does of it; the log's clock may only show seconds.
MOMENT = 2.0
WORD = re.compile(r"""[^\s"'\\/=,;()|&<>\[\]{}@:]{3,}""")
GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def words(text):
    found = {w.lower().strip(".`$%*?!+-") for w in WORD.findall(text)} | {g.lower() for g in GUID.findall(text)}
    return {w for w in found if len(w) >= 3 and w not in COMMON and not w.isdigit()}


NAMES = """TargetFilename TargetObject Details PipeName QueryName ImageLoaded ServiceName ServiceFileName ImagePath TaskName TaskContent ScriptBlockText Path ObjectName ObjectValueName
 NewValue TargetUserName MemberName MemberSid SamAccountName TargetSid ShareName RelativeTargetName DestinationHostname DestinationIp SourceIp DestAddress SourceAddress IpAddress WorkstationName
 TargetServerName TargetInfo FolderPath FileName PreviousFolderPath RegistryKey RegistryValueName RegistryValueData RemoteIP RemoteUrl RemoteDeviceName AccountName AdditionalFields
 Name Query Destination Consumer Filter param1 param2 param3 param4 CommandLine ProcessCommandLine SubjectUserName Device Hash Contents Service SubcategoryGuid AttributeValue ObjectDN
 TargetOutboundUserName Channel BackupPath""".split()
OWN_USER = {"SubjectUserName"}


class Closure:
    def __init__(self, w, index, lines):
        self.w, self.index = w, index
        self.since, self.sessions, self.names, self.tuples = {}, set(), set(), set()
        self.reason, self.hosts, self.paths = {}, set(), {}
        self.todo = []
        self.given = []
        self.guids = set()
        for r, line in lines:
            if line["role"] != "direct":
                continue
            if (r.source, r.id) == ("sysmon", 1):
                self.process(r.who, r.t)
            elif (r.source, r.id) == ("security", 4624):
                self.session((r.host, int(r.d["TargetLogonId"], 16)))
        self.run()
        # a step's own deeds by other hands
        for r, line in lines:
            if line["role"] == "direct" and r.n not in self.reason:
                self.take(r, "given")
                self.given.append(r)
        self.run()
        # what services and other machines did with what the closure names, until nothing is added
        waiting = [r for r, line in lines if line["role"] != "collateral" and r.n not in self.reason]
        while True:
            left = [r for r in waiting if r.n not in self.reason]
            for r in left:
                if self.linked(r):
                    self.take(r, "object")
                    self.follow(r)
            self.run()
            if sum(1 for r in left if r.n not in self.reason) == len(left):
                break
        # a service's record that names no object (a log cleared, a service that runs): right behind a deed of the attack
        moments = defaultdict(list)
        for n in self.reason:
            r = self.w.at_line[n]
            moments[r.host].append(r.t)
        for times in moments.values():
            times.sort()
        for r in left:
            # a service that was started for it: what it does follows
            if (r.source, r.id) == ("sysmon", 1) and r.n not in self.reason:
                times = moments.get(r.host, [])
                i = bisect(times, r.t + MOMENT)
                if i and times[i - 1] > r.t - MOMENT:
                    self.take(r, "moment")
                    self.follow(r)
        self.run()
        for r in left:
            if r.n not in self.reason and (r.source != "sysmon" or r.id in (3, 10, 12, 13, 22)):
                times = moments.get(r.host, [])
                i = bisect(times, r.t + MOMENT)
                if i and times[i - 1] > r.t - MOMENT:
                    self.take(r, "moment")
        # what became of it later: a service that was started is stopped
        for r in left:
            if r.n not in self.reason and self.linked(r):
                self.take(r, "object")

    def process(self, key, t):
        if key and self.since.get(key, float("inf")) > t:
            self.since[key] = t
            self.todo.append(("process", key))

    def session(self, key):
        if key not in self.sessions and key[1] not in FIXED:
            self.sessions.add(key)
            self.todo.append(("session", key))

    def take(self, r, why):
        if r.n in self.reason:
            return
        self.reason[r.n] = why
        self.hosts.add(r.host)
        d = r.d
        for name in NAMES:
            v = d.get(name)
            if isinstance(v, str) and name not in OWN_USER and v != "-":
                self.names |= words(v)
        for name in ("Image", "ProcessName", "NewProcessName"):
            if r.id in (1, 4688) and name in d:
                self.names |= words(d[name])
        tup = five(r)
        if tup:
            self.tuples.add(tup)
        if d.get("LogonGuid", ZERO) != ZERO:
            self.guids.add(d["LogonGuid"].lower())

    def follow(self, r):
        """An object record that leads on: a process started for it, a session opened for it."""
        if (r.source, r.id) == ("sysmon", 1):
            self.process(r.who, r.t)
        if (r.source, r.id) == ("security", 4624):
            self.session((r.host, int(r.d["TargetLogonId"], 16)))
        if (r.source, r.id) == ("sysmon", 8):
            self.injected(r)

    def injected(self, r):
        self.process((r.host, guid(r.d["TargetProcessGuid"])[2]), r.t)

    def run(self):
        while self.todo:
            kind, key = self.todo.pop()
            if kind == "process":
                t = self.since[key] - 0.02
                for r in self.index["who"].get(key, ()):
                    if r.t >= (t if r.exact else int(t)):
                        self.take(r, "process")
                        if (r.source, r.id) == ("sysmon", 8):
                            self.injected(r)
                for p in self.index["children"].get(key, ()):
                    if p.start >= t:
                        self.process((p.host, p.key), p.start)
            else:
                for r in self.index["session"].get(key, ()):
                    self.take(r, "session")
                for p in self.index["inside"].get(key, ()):
                    self.process((p.host, p.key), p.start)
                s = self.w.sessions.get(key)
                if s and s.linked:
                    self.session((s.host, s.linked))

    def linked(self, r):
        d = r.d
        tup = five(r)
        if tup and tup in self.tuples:
            return True
        target = d.get("TargetProcessGuid") or d.get("TargetProcessGUID")
        if target and (r.host, guid(target)[2]) in self.since:
            return True
        if d.get("LogonGuid", ZERO) != ZERO and d["LogonGuid"].lower() in self.guids:
            return True
        for name in NAMES:
            v = d.get(name)
            if isinstance(v, str) and words(v) & self.names:
                return True
        # an event of a service on a host that the closure names: `\\\\host` on a command line
        return (r.source, r.id) in (("security", 4624), ("security", 4625), ("defender.logon", "LogonSuccess"), ("defender.logon", "LogonFailed")) and bool(words(r.host) & self.names)


def five(r):
    """A connection's ends, the same on both sides."""
    d = r.d
    if r.source == "sysmon" and r.id == 3:
        return d["Protocol"].lower(), d["SourceIp"], int(d["SourcePort"]), d["DestinationIp"], int(d["DestinationPort"])
    if r.source == "security" and r.id == 5156:
        return {"6": "tcp", "17": "udp"}.get(d["Protocol"]), d["SourceAddress"], int(d["SourcePort"]), d["DestAddress"], int(d["DestPort"])
    if r.source == "defender.network" and d.get("LocalIP") and d.get("RemoteIP"):
        a, b = (d["LocalIP"], d["LocalPort"]), (d["RemoteIP"], d["RemotePort"])
        ends = b + a if r.id == "InboundConnectionAccepted" else a + b
        return (d["Protocol"].lower(), *ends)
    return None


def logons_of(r):
    """The sessions a record is about."""
    d = r.d
    if r.source == "security":
        if r.id in (4624, 4627, 4634, 4647):
            return [d["TargetLogonId"]]
        if r.id != 4688 and "SubjectLogonId" in d:
            return [d["SubjectLogonId"]]
    if r.source == "defender.logon" and d.get("LogonId") is not None:
        return [hex(d["LogonId"])]
    return []


def check(w, t, paths):
    truth = {}
    for path in paths:
        with open(path, encoding="utf-8") as f:
            for line in f:
                j = json.loads(line)
                if j["attack"]:
                    truth[j["key"]] = j
    by_key = {r.key: r for r in w.records}
    for key, j in truth.items():
        t.check("truth: its record is there", key in by_key, lambda: f"{key} of {j['source']}")
    index = {"who": defaultdict(list), "children": defaultdict(list), "session": defaultdict(list), "inside": defaultdict(list)}
    for r in w.records:
        if r.who:
            index["who"][r.who].append(r)
        for luid in logons_of(r):
            index["session"][r.host, int(luid, 16)].append(r)
    for p in w.processes.values():
        index["children"][p.host, p.parent].append(p)
        index["inside"][p.host, p.luid].append(p)
    instances = defaultdict(list)
    for key, j in truth.items():
        if key in by_key:
            instances[j["instance"], j["scenario"]].append((by_key[key], j))
    lines = []
    for (instance, scenario), mine in sorted(instances.items()):
        mine.sort(key=lambda m: m[0].n)
        c = Closure(w, index, mine)
        own = {r.n for r, _ in mine}
        late = {r.n for r, _ in mine if r.t > w.cut}
        for r, j in mine:
            if j["role"] == "collateral":
                kin = r.n in c.reason or c.linked(r) or explained(r, c)
                t.check("closure: collateral is explained", kin, lambda: f"{scenario}, step {j['step']}: {r}: {short(r)}")
            else:
                t.check("closure: direct and effect truth is in it", r.n in c.reason, lambda: f"{scenario}, step {j['step']}, {j['role']}: {r}: {short(r)}")
        for n in c.reason:
            r = w.at_line[n]
            if r.t > w.cut:
                continue
            j = truth.get(r.key)
            t.check("closure: what is in it is the attack's", n in own, lambda: f"{scenario}: {r}, reached by {c.reason[n]}, is {'of instance ' + str(j['instance']) if j else 'benign'} in the truth: {short(r)}")
        count = Counter(c.reason[r.n] for r, j in mine if j["role"] != "collateral" and r.n in c.reason)
        part = Counter(j["role"] for _, j in mine)
        lines.append((scenario, instance, len({j["step"] for _, j in mine}), part, count, len(c.since), len(c.sessions), len(late)))
    t.closures = lines
    touched(w, t, truth)


def explained(r, c):
    """Another machine's or component's part: a controller that answers a host of the attack, a console's host."""
    d = r.d
    if r.source == "security" and r.id in (4768, 4769, 4771, 4776):
        return True
    p = c.w.processes.get(r.who) if r.who else None
    if p is not None and (p.host, p.parent) in c.since:
        return True
    target = d.get("TargetProcessGuid") or d.get("TargetProcessGUID")
    q = c.w.processes.get((r.host, guid(target)[2])) if target else None
    # a service that was asked to start or stop
    for one in (p, q):
        parent = one and c.w.processes.get((one.host, one.parent))
        if parent and parent.image and parent.image.lower().endswith("\\services.exe"):
            return True
    return screen(p, c) or screen(q, c)


def screen(p, c):
    """A part of the terminal session that the session manager made for a logon of the attack over Remote Desktop."""
    while p is not None:
        if p.image and p.image.lower().endswith("\\smss.exe"):
            comes = (c.w.sessions.get(key) for key in c.sessions if key[0] == p.host)
            if any(s is not None and s.type == 10 and s.start and p.start and 0 <= s.start - p.start < 20 for s in comes):
                return True
        p = c.w.processes.get((p.host, p.parent))
    return False


def touched(w, t, truth):
    """A file that an attack made: whoever runs, loads, changes or deletes it is a part of the attack."""
    made = {}
    for r in w.by["sysmon", 11]:
        j = truth.get(r.key)
        if j:
            made.setdefault((r.host, r.d["TargetFilename"].replace("%%", "%").lower()), (r.t, j))
    for r in w.records:
        d = r.d
        path = d.get("TargetFilename") or d.get("FolderPath") or (d.get("ImageLoaded") if r.source == "sysmon" else None) or (d.get("Image") if (r.source, r.id) == ("sysmon", 1) else None)
        if not path:
            continue
        hit = made.get((r.host, path.replace("%%", "%").lower()))
        if hit and r.t > hit[0] + 0.02 and r.t <= w.cut:
            t.check("closure: who touches its files is the attack's", r.key in truth, lambda: f"{hit[1]['scenario']}, step {hit[1]['step']}: {r}: {path}")


def short(r):
    keep = {k: v for k, v in r.d.items() if k in NAMES or k in ("Image", "User", "ProcessName", "SubjectLogonId", "TargetLogonId", "LogonType")}
    return json.dumps(keep, ensure_ascii=False)[:260]


def print_closures(lines):
    print()
    print("attack (instance)                          steps   direct  effect  collateral  by process  session  object  moment  given  processes  sessions  last 10 s")
    for scenario, instance, steps, part, count, processes, sessions, late in lines:
        name = f"{scenario} ({instance})"
        print(f"{name:42} {steps:5} {part['direct']:8} {part['effect']:7} {part['collateral']:11} {count['process']:11} {count['session']:8} {count['object']:7} {count['moment']:7} {count['given']:6} {processes:10} {sessions:9} {late:10}")
