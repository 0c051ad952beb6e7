"""Processes: three sensors, one start each; who their parents are; what their GUIDs say; who acts."""

import re
from collections import Counter, defaultdict

from .world import SAME, ZERO, guid, security_pid

# an app container has a token of low integrity: only Sysmon tells them apart
DEFENDER = {"AppContainer": "Low"}
LABELS = {"Untrusted": "S-1-16-0", "AppContainer": "S-1-16-4096", "Low": "S-1-16-4096", "Medium": "S-1-16-8192", "High": "S-1-16-12288", "System": "S-1-16-16384"}
ELEVATION = {1: "TokenElevationTypeDefault", 2: "TokenElevationTypeFull", 3: "TokenElevationTypeLimited"}
# Records may be written in another order than things happened; event times may not contradict each other by more.
LATE = 0.05
# A drive, folders, a file: no second drive, no switches, no quotes.
PATH = re.compile(r"[A-Z]:(\\[^\\/:*?\"<>|]+)+$")


def lower(text):
    return text.lower() if isinstance(text, str) else text


def dash(text):
    """A value as Defender has it where Sysmon prints a dash."""
    return None if text in ("-", "", None) else text


def subject(world, host, user, domain):
    """How auditing names an account that Sysmon names by its token."""
    if user in ("SYSTEM", "NETWORK SERVICE") and domain == "NT AUTHORITY":
        return host.split(".")[0].upper() + "$", world.netbios
    return user, domain


def learn(world):
    """The domain's NetBIOS name: what auditing prints for SYSTEM."""
    names = Counter(r.d["SubjectDomainName"] for r in world.records if r.source == "security" and r.d.get("SubjectUserSid") == "S-1-5-18")
    world.netbios = names.most_common(1)[0][0] if names else None


def joins(w, t):
    """Sysmon 1, Security 4688 and DeviceProcessEvents, one to one."""
    have = {"security": "security" in w.sources, "device": "defender.process" in w.sources}
    for p in w.processes.values():
        if p.sysmon is None or p.start > w.cut:
            continue
        for side in ("security", "device"):
            if have[side]:
                t.check(f"join: Sysmon 1 with {'4688' if side == 'security' else 'DeviceProcessEvents'}", getattr(p, side), lambda: f"{p.sysmon}: {p} has none")
    for r in w.unjoined:
        if r.t <= w.cut:
            t.check("join: none left over", False, lambda: f"{r} starts a process that Sysmon does not know")
    t.check("join: none left over", True)


def derivations(w, t):
    """Every field of the three records of one start."""
    for p in w.processes.values():
        a = p.sysmon
        if a is None or p.start > w.cut:
            continue
        d = a.d
        user, domain = subject(w, p.host, p.user, p.domain)
        pdomain, _, puser = d["ParentUser"].rpartition("\\")
        t.check("pid: a multiple of four", p.pid % 4 == 0 and p.parent_pid % 4 == 0, lambda: f"{a}: {p.pid}, parent {p.parent_pid}")
        if p.security:
            s, r = p.security.d, p.security
            t.equal("4688: pid in hex", s["NewProcessId"], f"0x{p.pid:x}", r)
            t.equal("4688: parent's pid in hex", s["ProcessId"], f"0x{p.parent_pid:x}", r)
            t.equal("4688: image", s["NewProcessName"], p.image, r)
            t.equal("4688: command line", s["CommandLine"], p.command_line, r)
            t.equal("Sysmon 1: % doubled", d["CommandLine"], s["CommandLine"].replace("%", "%%"), r)
            t.equal("4688: parent's image", s["ParentProcessName"], d["ParentImage"].replace("%%", "%"), r)
            t.equal("4688: creator subject", (s["SubjectUserName"], s["SubjectDomainName"]), subject(w, p.host, puser, pdomain), r)
            t.equal("4688: integrity label", s["MandatoryLabel"], LABELS.get(p.integrity), r)
            other = int(s["SubjectLogonId"], 16) != p.luid
            t.equal("4688: target logon id", int(s["TargetLogonId"], 16), p.luid if other else 0, r)
            t.equal("4688: target subject", (s["TargetUserName"], s["TargetDomainName"]), (user, domain) if other else ("-", "-"), r)
            named = other and (s["TokenElevationType"] != "%%1936" or p.luid == 0x3E5)
            t.check("4688: target SID", (s["TargetUserSid"] != "S-1-0-0") == named, lambda: f"{r}: {s['TargetUserSid']} for {p}")
            slack = (-0.25, 0.02) if r.exact else (-1.0, 1.02)
            t.check("4688: clock", -slack[1] < r.t - p.start < -slack[0], lambda: f"{r}: {r.t - p.start:+.3f} s from Sysmon 1")
        if p.device:
            v, r, b = p.device.d, p.device, dict(p.device.block)
            i = lambda name: b["InitiatingProcess" + name]
            t.equal("device process: pid", v["ProcessId"], p.pid, r)
            t.equal("device process: key", int(v["ProcessUniqueId"]), p.key, r)
            t.equal("device process: image", (v["FolderPath"], v["FileName"]), (p.image, p.image.rsplit("\\", 1)[-1]), r)
            t.equal("device process: command line", v["ProcessCommandLine"], p.command_line, r)
            t.equal("device process: user", (v["AccountDomain"], v["AccountName"]), (lower(p.domain), lower(p.user)), r)
            t.equal("device process: logon id", v["LogonId"], p.luid, r)
            t.equal("device process: integrity", v["ProcessIntegrityLevel"], DEFENDER.get(p.integrity, p.integrity), r)
            t.equal("device process: session", v["CreatedProcessSessionId"], p.terminal, r)
            if p.elevation:
                t.equal("device process: elevation", v["ProcessTokenElevation"], ELEVATION.get(p.elevation), r)
            for name in ("MD5", "SHA1", "SHA256"):
                if name in p.hashes:
                    t.equal("device process: hashes", v[name], p.hashes[name].lower(), r)
            version = dash(d["FileVersion"])
            t.equal("device process: version", v["ProcessVersionInfoProductVersion"], version and version.split(" ")[0], r)
            for name, field in (("CompanyName", "Company"), ("ProductName", "Product"), ("FileDescription", "Description"), ("OriginalFileName", "OriginalFileName")):
                t.equal("device process: version", v["ProcessVersionInfo" + name], dash(d[field]), r)
            t.check("device process: clock", abs(r.t - p.start) < SAME, lambda: f"{r}: {r.t - p.start:+.4f} s from Sysmon 1")
            t.equal("device process: parent", (i("Id"), int(i("UniqueId"))), (p.parent_pid, p.parent), r)
            t.equal("device process: parent's image", i("FolderPath"), lower(d["ParentImage"].replace("%%", "%")), r)
            t.equal("device process: parent's command line", i("CommandLine") or "", d.get("ParentCommandLine", "").replace("%%", "%"), r)
            t.equal("device process: parent's user", (i("AccountDomain"), i("AccountName")), (lower(pdomain), lower(puser)), r)
            if p.security:
                t.equal("device process: parent's logon id", i("LogonId"), int(p.security.d["SubjectLogonId"], 16), r)


def images(w, t):
    """One image and version: one hash and one description, on every host."""
    seen = {}
    for p in w.processes.values():
        if p.sysmon is None:
            continue
        d = p.sysmon.d
        plain = p.image == "System" or PATH.match(p.image) or re.match(r"\\\\[\w.-]+\\", p.image)
        t.check("image: a path", plain, lambda: f"{p.sysmon}: {p.image}")
        what = (d["Hashes"], d["Description"], d["OriginalFileName"], d["Company"])
        key = (p.image.lower().rsplit("\\", 1)[-1] if d["FileVersion"] != "-" else (p.host, p.image.lower()), d["FileVersion"])
        if d["FileVersion"] != "-":
            t.equal("image: one hash a version", what, seen.setdefault(key, what), p.sysmon)


def parents(w, t):
    """Every parent is known, was alive, and is what the child says."""
    for p in w.processes.values():
        a = p.sysmon
        if a is None or a.d["ParentProcessGuid"] == ZERO:
            continue
        d = a.d
        q = w.parent(p)
        if q is None:
            t.check("parent: resolves", not w.boot, lambda: f"{a}: parent {d['ParentProcessGuid']} ({d['ParentImage']}) of {p}")
            continue
        t.check("parent: resolves", True)
        t.equal("parent: pid", p.parent_pid, q.pid, a)
        t.equal("parent: image", d["ParentImage"].replace("%%", "%"), q.image, a)
        t.equal("parent: command line", d.get("ParentCommandLine", "").replace("%%", "%"), q.command_line, a)
        if q.domain:
            t.equal("parent: user", d["ParentUser"], f"{q.domain}\\{q.user}", a)
        t.check("parent: starts before its child", q.start <= p.start + SAME, lambda: f"{a}: {p} before {q}")
        t.check("parent: alive at the child's start", q.end is None or q.end >= p.start - SAME, lambda: f"{a}: {q} had ended {p.start - q.end:.3f} s before {p}")
        if q.sysmon:
            t.equal("parent: GUID", d["ParentProcessGuid"], q.guid, a)
        if p.security:
            t.equal("parent: logon id", int(p.security.d["SubjectLogonId"], 16), q.luid, p.security)


def guids(w, t):
    """What Sysmon's GUIDs are made of."""
    machines, boots = {}, {}
    for (host, _), p in w.processes.items():
        boots.setdefault(host, set()).add(p.key >> 48)
    for host, m in w.machine.items():
        t.check("GUID: one machine part a host", machines.setdefault(m, host) == host, lambda: f"{host} and {machines[m]} share {m:08x}")
    for host, ids in boots.items():
        t.check("GUID: boot ids small and few", max(ids) < 5000 and len(ids) <= 3, lambda: f"{host}: boot ids {sorted(ids)}")
    for r in w.records:
        if r.source != "sysmon":
            continue
        for name, text in r.d.items():
            if not name.lower().endswith("processguid") or text == ZERO:
                continue
            machine, second, key = guid(text)
            t.equal("GUID: machine part", machine, w.machine.get(r.host, machine), r)
            p = w.processes.get((r.host, key))
            if p is None:
                t.check("GUID: resolves", not w.boot, lambda: f"{r}: {name} {text}")
                continue
            t.check("GUID: resolves", True)
            t.check("GUID: second is the start's", int(p.start) == second, lambda: f"{r}: {name} {text} says {second}, started {p.start:.3f}")
            pid = r.d.get(name[: -len("Guid")] + "Id")
            if pid is not None:
                t.equal("GUID: pid", int(pid), p.pid, r)
            image = {"ProcessGuid": "Image", "SourceProcessGuid": "SourceImage", "SourceProcessGUID": "SourceImage"}.get(name, "TargetImage" if name.startswith("Target") else None)
            if image and image in r.d:
                t.equal("GUID: image", r.d[image].replace("%%", "%") if r.id == 1 else r.d[image], p.image, r)
            user = {"ProcessGuid": "User", "SourceProcessGuid": "SourceUser", "SourceProcessGUID": "SourceUser"}.get(name, "TargetUser" if name.startswith("Target") else None)
            if user and user in r.d and p.domain:
                t.equal("GUID: user", r.d[user], f"{p.domain}\\{p.user}", r)
    orders = defaultdict(list)
    for p in w.processes.values():
        if p.sysmon:
            orders[p.host].append((p.key, p.start))
    for host, keys in orders.items():
        keys.sort()
        for (k, a), (k2, b) in zip(keys, keys[1:]):
            t.check("GUID: sequence grows with time", a <= b + LATE, lambda: f"{host}: key {k2:#x} started {a - b:.3f} s before {k:#x}")


def alive(w, t):
    """No pid twice alive; nobody acts before the start or after the end."""
    for (host, pid), ps in w.pids.items():
        for p, q in zip(ps, ps[1:]):
            # the end of what a late one follows may not have been delivered yet
            if q.start > w.cut:
                continue
            t.check("pid: not alive twice", p.end is not None and p.end <= q.start + SAME, lambda: f"{host}: {q} while {p} lives")
    for p in w.processes.values():
        if p.ends:
            t.equal("end: once", p.ends, 1, p)
            t.check("end: after the start", p.end >= p.start, lambda: f"{p} ended before it started")
    for r in w.records:
        p = w.processes.get(r.who) if r.who else None
        if p is None or (r.source, r.id) in (("sysmon", 1), ("security", 4688), ("defender.process", "ProcessCreated")):
            continue
        if r.exact and r.source in ("sysmon",) or r.source.startswith("defender."):
            t.check("acts: after its start", r.t >= p.start - SAME - (1.0 if p.boot else 0), lambda: f"{r}: {p.start - r.t:.3f} s before {p} started")
            t.check("acts: before its end", p.end is None or r.t <= p.end + SAME, lambda: f"{r}: {r.t - (p.end or 0):.3f} s after {p} ended")


def ends(w, t):
    """Sysmon 5 and Security 4689, one to one."""
    if not {"sysmon", "security"} <= w.sources:
        return
    left = defaultdict(list)
    for r in w.by["security", 4689]:
        left[r.host, int(r.d["ProcessId"], 16)].append(r)
    for r in w.by["sysmon", 5]:
        if r.t > w.cut:
            continue
        key = (r.host, int(r.d["ProcessId"]))
        near = [q for q in left[key] if -0.02 < q.t - r.t + (0 if q.exact else 1.0) and q.t - r.t < 0.3]
        near = [q for q in near if q.d["ProcessName"] == r.d["Image"]] or near
        if not t.check("join: Sysmon 5 with 4689", near, lambda: f"{r}: no 4689 of pid {key[1]}"):
            continue
        q = near[0]
        left[key].remove(q)
        p = w.processes.get(r.who)
        t.equal("4689: image", q.d["ProcessName"], r.d["Image"], q)
        domain, _, user = r.d["User"].rpartition("\\")
        t.equal("4689: subject", (q.d["SubjectUserName"], q.d["SubjectDomainName"]), subject(w, r.host, user, domain), q)
        if p:
            t.equal("4689: logon id", int(q.d["SubjectLogonId"], 16), p.luid, q)
    for rest in left.values():
        for r in rest:
            if r.t <= w.cut - 2.0:
                t.check("join: Sysmon 5 with 4689", False, lambda: f"{r}: no Sysmon 5")


def audited(w, t):
    """Security records that name a process: it lived, under that name, in that session; and who wrote them."""
    own = {4656, 4658, 4663, 4660, 4689, 4690, 4703, 4673, 4674}
    lsass = {4624, 4625, 4627, 4634, 4647, 4648, 4672, 4768, 4769, 4771, 4776, 4720, 4722, 4724, 4738}
    kernel = {4688, 4689, 5156, 5158, 5154, 4656, 4658, 4663, 4703}
    for r in w.records:
        if r.source != "security":
            continue
        pid = security_pid(r)
        d = r.d
        if pid:
            p = w.processes.get(r.who) if r.who else None
            if p is None:
                t.check("audit: process resolves", not w.boot, lambda: f"{r}: pid {pid} {d.get('ProcessName') or d.get('Application')}")
            else:
                t.check("audit: process resolves", True)
                if "ProcessName" in d:
                    t.equal("audit: process name", d["ProcessName"], p.image, r)
                if "CallerProcessName" in d:
                    t.equal("audit: process name", d["CallerProcessName"], p.image, r)
                if "Application" in d:
                    path = d["Application"]
                    want = "System" if p.pid == 4 else p.image[2:].lower()
                    t.check("audit: device path", path == want or path.startswith("\\device\\harddiskvolume") and path.endswith(want), lambda: f"{r}: {path} for {p.image}")
                if "ClientProcessStartKey" in d:
                    t.equal("audit: start key", int(d["ClientProcessStartKey"]), p.key, r)
                if r.id in own:
                    t.equal("audit: session of the process", int(d["SubjectLogonId"], 16), p.luid, r)
                    t.equal("audit: subject of the process", (d["SubjectUserName"], d["SubjectDomainName"]), subject(w, r.host, p.user, p.domain or d["SubjectDomainName"]), r)
        if r.id in kernel:
            t.equal("writer: kernel", r.writer[0], 4, r)
        if r.id in lsass and w.boot:
            q = [p for p in w.pids.get((r.host, r.writer[0]), ()) if p.image.lower().endswith("\\lsass.exe")]
            t.check("writer: lsass", q, lambda: f"{r}: written by pid {r.writer[0]}")
    if w.boot:
        for r in w.records:
            if r.source == "sysmon":
                t.check("writer: Sysmon", any("sysmon" in p.image.lower() for p in w.pids.get((r.host, r.writer[0]), ())), lambda: f"{r}: written by pid {r.writer[0]}")


def initiating(w, t):
    """The acting process as Defender's other tables print it."""
    seen = set()
    for r in w.records:
        if not r.source.startswith("defender.") or r.source == "defender.process" or not r.who:
            continue
        t.row("device: acting process")[0] += 1
        if (r.who, id(r.block)) in seen:
            continue
        seen.add((r.who, id(r.block)))
        b = {k[17:]: v for k, v in r.block}
        p = w.processes.get(r.who)
        if p is None:
            t.check("device: acting process resolves", not w.boot, lambda: f"{r}: {r.who[1]:#x} {b.get('FolderPath')}")
            continue
        t.check("device: acting process resolves", True)
        said = {
            "Id": p.pid,
            "FolderPath": p.image.lower(),
            "FileName": p.image.lower().rsplit("\\", 1)[-1],
            "CommandLine": p.command_line,
            "AccountName": p.user.lower(),
            "AccountDomain": lower(p.domain),
            "IntegrityLevel": DEFENDER.get(p.integrity, p.integrity),
            "TokenElevation": ELEVATION.get(p.elevation),
            "SessionId": p.terminal,
            "LogonId": p.luid,
        }
        for field, want in said.items():
            if field in b and want is not None:
                t.equal(f"device: acting process's {field}", b[field] or "" if field == "CommandLine" else b[field], want, r)
        if b.get("ParentId") is not None:
            t.equal("device: acting process's parent", b["ParentId"], p.parent_pid, r)
            q = w.parent(p)
            if q:
                t.equal("device: acting process's parent", b["ParentFileName"], q.image.rsplit("\\", 1)[-1], r)
        if p.device:
            v = p.device.d
            t.equal("device: acting process's hashes", (b["MD5"], b["SHA1"], b["SHA256"]), (v["MD5"], v["SHA1"], v["SHA256"]), r)
            t.equal("device: acting process's creation time", b["CreationTime"], v["ProcessCreationTime"], r)
    for p in w.processes.values():
        if p.device and p.sysmon:
            b = {k[17:]: v for k, v in p.device.block}
            q = w.parent(p)
            if q is None:
                continue
            name = "device process: parent's fields"
            if q.integrity:
                t.equal(name, b["IntegrityLevel"], DEFENDER.get(q.integrity, q.integrity), p.device)
            if q.elevation:
                t.equal(name, b["TokenElevation"], ELEVATION[q.elevation], p.device)
            if q.terminal is not None:
                t.equal(name, b["SessionId"], q.terminal, p.device)
            if q.device:
                v = q.device.d
                t.equal(name, (b["MD5"], b["SHA256"], b["CreationTime"]), (v["MD5"], v["SHA256"], v["ProcessCreationTime"]), p.device)
            g = w.parent(q)
            if g and b["ParentFileName"] is not None:
                t.equal(name, (b["ParentId"], b["ParentFileName"]), (g.pid, g.image.rsplit("\\", 1)[-1]), p.device)


def numbers(w, t):
    """Records stand in the order of their numbers, none twice."""
    last = {}
    for r in w.records:
        key = (r.host, r.channel or r.source)
        if key in last:
            t.check("number: grows in each channel", r.number > last[key], lambda: f"{r}: {r.number} after {last[key]}")
        last[key] = r.number


def check(w, t):
    learn(w)
    for f in (numbers, joins, derivations, images, parents, guids, alive, ends, audited, initiating):
        f(w, t)


