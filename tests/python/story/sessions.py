"""Logons: every session resolves, began and ended once, and every sensor tells the same of it."""

from collections import defaultdict

from .world import FIXED, ZERO, guid

TYPES = {
    2: "Interactive", 3: "Network", 4: "Batch", 5: "Service", 7: "Unlock", 8: "NetworkCleartext", 9: "NewCredentials",
    10: "RemoteInteractive", 11: "CachedInteractive", 12: "CachedRemoteInteractive", 13: "CachedUnlock",
}  # fmt: skip
# A second of the log's clock, and what two hosts' clocks differ by: some are off by more than a second.
CLOCKS = 4.0


def hexa(text):
    return int(text, 16) if text and text not in ("-",) else 0


def resolve(w, t):
    """Every logon id in any record belongs to a session that had begun, of that user."""

    def known(r, luid, user, sid, name, own_name=True):
        if luid == 0:
            return
        if luid in FIXED:
            t.check(name, True)
            return
        s = w.sessions.get((r.host, luid))
        if s is None:
            t.check(name, not w.boot, lambda: f"{r}: {luid:#x} of {user}")
            return
        t.check(name, True)
        if own_name:
            t.equal("session: user", user.lower(), s.user.lower(), r)
        if sid and sid != "S-1-0-0" and s.sid:
            t.equal("session: SID", sid, s.sid, r)
        t.check("session: begun before it is used", s.start <= r.t + (0.05 if r.exact and (not s.record or s.record.exact) else 1.05), lambda: f"{r}: {luid:#x} begins {s.start - r.t:.3f} s later")
        slack = 0.3 if r.exact and (not s.record or s.record.exact) else 1.3
        t.check("session: not used after its end", s.end is None or r.t <= s.end + slack, lambda: f"{r}: {luid:#x} ended {r.t - (s.end or 0):.1f} s before")

    for r in w.records:
        d = r.d
        if r.source == "security":
            # a machine or NETWORK SERVICE stands for the fixed sessions
            if "SubjectLogonId" in d:
                known(r, hexa(d["SubjectLogonId"]), d["SubjectUserName"], d.get("SubjectUserSid"), "session: subject's logon id resolves")
            if "TargetLogonId" in d and r.id != 4624:
                known(r, hexa(d["TargetLogonId"]), d["TargetUserName"], d.get("TargetUserSid"), "session: target's logon id resolves")
        elif r.source == "sysmon" and r.id == 1:
            user = d["User"].rpartition("\\")[2]
            luid = int(d["LogonId"], 16)
            known(r, luid, user, None, "session: Sysmon's logon id resolves")
            machine, second, key = guid(d["LogonGuid"])
            t.equal("LogonGuid: machine part", machine, w.machine[r.host], r)
            t.equal("LogonGuid: LUID", key, luid, r)
            s = w.sessions.get((r.host, luid))
            if s:
                t.check("LogonGuid: second is the session's", abs(second - int(s.start)) <= (0 if s.boot else 1), lambda: f"{r}: {second} for a session of {s.start:.3f}")
        elif r.source == "defender.process":
            known(r, d["LogonId"], d["AccountName"], d["AccountSid"], "session: Defender's logon id resolves")


def logons(w, t):
    """4624 with 4627, 4672, 4634, DeviceLogonEvents and the tickets of the domain controller."""
    groups, privileges, ends = defaultdict(list), defaultdict(list), defaultdict(list)
    for r in w.by["security", 4627]:
        groups[r.host, hexa(r.d["TargetLogonId"])].append(r)
    for r in w.by["security", 4672]:
        privileges[r.host, hexa(r.d["SubjectLogonId"])].append(r)
    for r in w.by["security", 4634]:
        ends[r.host, hexa(r.d["TargetLogonId"])].append(r)
    rows = defaultdict(list)
    for r in w.by["defender.logon", "LogonSuccess"]:
        rows[r.host, r.d["LogonId"]].append(r)
    tickets = defaultdict(list)
    for r in w.by["security", 4769]:
        if r.d["LogonGuid"] != ZERO:
            tickets[r.d["LogonGuid"].lower()].append(r)
    fresh = [s for s in w.sessions.values() if s.record]
    for s in fresh:
        r, d, key = s.record, s.record.d, (s.host, s.luid)
        if s.start > w.cut:
            continue
        kerberos = d["AuthenticationPackageName"] == "Kerberos"
        # the realm of a Kerberos network logon; the NetBIOS name otherwise
        t.check("4624: domain", (s.domain.upper() == s.domain and "." in s.domain) == (s.type == 3 and kerberos) or s.domain == "-", lambda: f"{r}: {s.domain} for type {s.type}")
        t.equal("4624: nobody asks for a network logon", s.type == 3, d["ProcessId"] == "0x0", r)
        if w.by["security", 4627]:
            t.equal("4627: beside 4624", len(groups[key]), 1, r)
            for g in groups[key]:
                t.equal("4627: as 4624", [g.d[k] for k in ("TargetUserSid", "TargetUserName", "LogonType", "SubjectLogonId")], [d[k] for k in ("TargetUserSid", "TargetUserName", "LogonType", "SubjectLogonId")], g)
                # services' own accounts have rights without being administrators
                if not s.user.endswith("$") and not s.sid.startswith(("S-1-5-80-", "S-1-5-82-")):
                    t.equal("4627: Administrators where 4672", "S-1-5-32-544}" in g.d["GroupMembership"], bool(privileges[key]), g)
        # a network logon's token counts as elevated when it is not split, whoever's it is
        if s.type != 3:
            t.equal("4672: where elevated", len(privileges[key]), int(bool(s.elevated)), r)
        else:
            t.check("4672: where elevated", len(privileges[key]) <= int(bool(s.elevated)), lambda: f"{r}: {len(privileges[key])}")
        for g in privileges[key]:
            t.equal("4672: as 4624", (g.d["SubjectUserSid"], g.d["SubjectUserName"]), (s.sid, s.user), g)
            # a network logon's rights are recorded before the logon, all others' behind it
            t.check("4672: beside 4624", abs(g.t - r.t) <= (0.3 if r.exact else 1.0), lambda: f"{g}: {g.t - r.t:+.1f} s from {r}")
        if s.linked:
            o = w.sessions.get((s.host, s.linked))
            t.check("4624: linked pair", o and o.linked == s.luid and o.user == s.user and o.type == s.type and bool(o.elevated) != bool(s.elevated), lambda: f"{r}: {s.luid:#x} and {s.linked:#x}")
        zero = d["LogonGuid"] == ZERO
        if kerberos:
            t.check("4624: Kerberos has a logon GUID", not zero, lambda: f"{r}: none")
        elif d["AuthenticationPackageName"] == "NTLM":
            t.check("4624: NTLM has no logon GUID", zero, lambda: f"{r}: {d['LogonGuid']}")
        if not zero and s.type == 3:
            t.check("4769: before 4624, with its GUID", tickets[d["LogonGuid"].lower()], lambda: f"{r}: no ticket {d['LogonGuid']}")
        if not zero:
            for k in tickets[d["LogonGuid"].lower()]:
                t.equal("4769: user", k.d["TargetUserName"].split("@")[0].lower(), s.user.lower(), k)
                t.equal("4769: service", k.d["ServiceName"].lower(), s.host.split(".")[0].lower() + "$", k)
                t.check("4769: before 4624", k.t <= s.start + CLOCKS, lambda: f"{k}: {k.t - s.start:.1f} s after {r}")
                # for an interactive logon the machine itself asks, wherever its screen is
                if d["IpAddress"] not in ("-", "127.0.0.1", "::1") and s.type != 10:
                    t.equal("4769: client", k.d["IpAddress"].replace("::ffff:", ""), d["IpAddress"], k)
        if "defender.logon" in w.sources:
            if t.check("join: 4624 with DeviceLogonEvents", len(rows[key]) == 1, lambda: f"{r}: {len(rows[key])} rows"):
                v, q = rows[key][0].d, rows[key][0]
                t.equal("device logon: account", (v["AccountName"], v["AccountSid"]), (s.user.lower(), s.sid), q)
                t.equal("device logon: type", v["LogonType"], TYPES.get(s.type), q)
                t.equal("device logon: address", v["RemoteIP"] or "-", d["IpAddress"], q)
                t.equal("device logon: protocol", v["Protocol"], d["AuthenticationPackageName"], q)
                t.equal("device logon: administrator", v["IsLocalAdmin"], bool(s.elevated or s.linked), q)
                t.check("device logon: clock", -0.3 < r.t - q.t + (0 if r.exact else 1) and r.t - q.t < 0.3, lambda: f"{q}: {q.t - r.t:+.3f} s from 4624")
        if ends[key]:
            t.equal("4634: once", len(ends[key]), 1, r)
    for key, v in [e for e in rows.items() if e[1]]:
        s = w.sessions.get(key)
        if key[1] not in FIXED and v[0].t <= w.cut and "security" in w.sources:
            t.check("join: 4624 with DeviceLogonEvents", s and (s.record or s.boot), lambda: f"{v[0]}: no 4624")
    for (host, luid), rs in [e for e in ends.items() if e[1]]:
        r, s = rs[0], w.sessions.get((host, luid))
        if s is None:
            continue
        t.equal("4634: as 4624", (int(r.d["LogonType"]), r.d["TargetUserName"], r.d["TargetUserSid"]), (s.type, s.user, s.sid), r)
        left = [p for p in w.processes.values() if p.host == host and p.luid == luid and p.start <= r.t and (p.end is None or p.end > r.t + 5.0)]
        if s.type == 2 or s.type == 10:
            t.check("4634: no process of the session is left", not left, lambda: f"{r}: {luid:#x} of {s.user}, left {left[0]}")


def failures(w, t):
    """4625 with DeviceLogonEvents."""
    if not {"security", "defender.logon"} <= w.sources:
        return
    left = defaultdict(list)
    for r in w.by["defender.logon", "LogonFailed"]:
        left[r.host, r.d["AccountName"]].append(r)
    for r in w.by["security", 4625]:
        t.equal("4625: nobody's SID", r.d["TargetUserSid"], "S-1-0-0", r)
        if r.t > w.cut:
            continue
        key = (r.host, r.d["TargetUserName"].lower())
        near = [q for q in left[key] if -0.3 < r.t - q.t + (0 if r.exact else 1) and r.t - q.t < 0.3]
        if t.check("join: 4625 with DeviceLogonEvents", near, lambda: f"{r}: no row for {key[1]}"):
            q = near[0]
            left[key].remove(q)
            t.equal("device logon: type", q.d["LogonType"], TYPES.get(int(r.d["LogonType"])), q)
            t.equal("device logon: address", q.d["RemoteIP"] or "-", r.d["IpAddress"], q)
    for rs in left.values():
        for r in rs:
            if r.t <= w.cut:
                t.check("join: 4625 with DeviceLogonEvents", False, lambda: f"{r}: no 4625")


def explicit(w, t):
    """4648: the process that used other credentials, and the logon that follows on the server named."""
    hosts = {}
    for r in w.records:
        hosts.setdefault(r.host.split(".")[0].lower(), r.host)
    tried = defaultdict(list)
    for id in (4624, 4625):
        for r in w.by["security", id]:
            tried[r.host, r.d["TargetUserName"].lower()].append(r.t)
    for r in w.by["security", 4648]:
        d = r.d
        server = d["TargetServerName"].split(".")[0].lower()
        host = r.host if server == "localhost" else hosts.get(server)
        if r.t > w.cut or host is None or not any(h == host for h, _ in tried):
            continue
        near = [x for x in tried[host, d["TargetUserName"].split("@")[0].lower()] if -CLOCKS < x - r.t < 10 + CLOCKS]
        t.check("4648: a logon follows", near, lambda: f"{r}: {d['TargetUserName']} to {d['TargetServerName']}")


def tickets(w, t):
    """4768 and 4769: a service ticket needs a ticket-granting ticket; addresses are hosts'."""
    for id in (4768, 4769):
        for r in w.by["security", id]:
            t.check("Kerberos: address mapped", r.d["IpAddress"].startswith("::ffff:") or r.d["IpAddress"] == "::1", lambda: f"{r}: {r.d['IpAddress']}")
            t.equal("Kerberos: written on a domain controller", bool(r.d["ServiceName"]), True, r)


def names(w, t):
    """One account, one SID."""
    sids = {}
    for r in w.records:
        d = r.d
        if r.source != "security":
            continue
        for who in ("Subject", "Target"):
            name, domain, sid = d.get(who + "UserName"), d.get(who + "DomainName"), d.get(who + "UserSid")
            if not sid or sid in ("S-1-0-0", "-") or not name or name == "-" or (r.id == 4625):
                continue
            if sid == "S-1-5-18" and name.endswith("$") or sid == "S-1-5-20" and name.endswith("$"):
                t.equal("account: HOST$ for SYSTEM", name.lower(), r.host.split(".")[0].lower() + "$", r)
                continue
            key = (name.lower(), (domain or "").split(".")[0].lower(), r.host if not sid.startswith("S-1-5-21") else "")
            t.equal("account: one SID", sid, sids.setdefault(key, sid), r)


def check(w, t):
    for f in (resolve, logons, failures, explicit, tickets, names):
        f(w, t)

