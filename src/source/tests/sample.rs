//! Activities for tests: every field set, none set, or what one start of a process has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::activity::{Entity, Type};
use crate::time::Time;

/// 2026-03-02T09:14:27.1234567Z.
pub const WHEN: Time = Time(1_772_442_867_123_456_700);

/// A value for every field: texts hold what needs escaping in one encoding or another.
pub fn full(kind: Kind) -> MapView {
    let fields = Field::ALL.iter().map(|f| {
        // from the name: a field more elsewhere changes no record
        // an event's tick is its time here
        let name = if *f == Field::TimeTick { Field::TimeEvent.name() } else { f.name() };
        let n = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) % 10_007;
        let i = n as usize;
        let value = match f.ty() {
            Type::Text => Value::Text(Box::leak(format!(r#"{f}\é "<&>' %x%"#).into_boxed_str())),
            Type::Uint => Value::Uint(n * 1001),
            Type::Bool => Value::Bool(n.is_multiple_of(2)),
            Type::Time => Value::Time(Time(WHEN.0 + n as i64 * 1_000_000)),
            Type::Guid => Value::Guid([i as u8; 16]),
            Type::Entity => Value::Entity(Entity { machine: 0x564f_f025, second: 0x62fe_44fd, key: 6 << 48 | n }),
            Type::Ip if i.is_multiple_of(2) => Value::Ip(IpAddr::V4(Ipv4Addr::new(10, 20, 3, i as u8))),
            Type::Ip => Value::Ip(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, i as u16))),
        };
        (*f, value)
    });
    MapView { kind, fields: fields.collect() }
}

/// Nothing but the kind.
pub fn empty(kind: Kind) -> MapView {
    MapView { kind, fields: BTreeMap::new() }
}

/// A shell that a document starts.
pub fn shell() -> MapView {
    use Field::*;
    let entity = |second, key| Value::Entity(Entity { machine: 0x2d35_1099, second, key });
    let t = Value::Text;
    let fields = [
        (HostName, t("WS-0412.corp.example")),
        (HostHostname, t("WS-0412")),
        (TimeEvent, Value::Time(WHEN)),
        (TimeTick, Value::Time(WHEN)),
        (TimeWrite, Value::Time(Time(WHEN.0 + 4_000_000))),
        (TimeRelease, Value::Time(Time(WHEN.0 + 2_000_000_000))),
        (RecordId, Value::Uint(1_818_951)),
        (SensorPid, Value::Uint(3172)),
        (SensorThread, Value::Uint(4688)),
        (ProcEntityId, entity(0x69a5_5633, 4 << 48 | 0x1020)),
        (ProcPid, Value::Uint(3776)),
        (ProcExecutable, t(r"C:\Windows\System32\cmd.exe")),
        (ProcFileVersion, t("10.0.22621.2506 (WinBuild.160101.0800)")),
        (ProcDescription, t("Windows Command Processor")),
        (ProcProduct, t("Microsoft® Windows® Operating System")),
        (ProcCompany, t("Microsoft Corporation")),
        (ProcOriginalName, t("Cmd.Exe")),
        (ProcCommandLine, t(r#"cmd.exe /c dir "%TEMP%" > C:\out.txt"#)),
        (ProcWorkingDirectory, t(r"C:\Users\jdoe\")),
        (ProcUser, t("jdoe")),
        (ProcDomain, t("CORP")),
        (ProcLogonEntityId, entity(0x69a5_1000, 0x2b_78cd)),
        (ProcLogonId, Value::Uint(0x2b_78cd)),
        (ProcSessionId, Value::Uint(2)),
        (ProcIntegrity, t("Medium")),
        (ProcSha1, t("DF79C86FDD11B9CCB89148458E509F879C72566C")),
        (ProcMd5, t("D7AB69FAD18D4A643D84A271DFC0DBDF")),
        (ProcSha256, t("FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5")),
        (ProcImphash, t("272245E2988E1E430500B852C4FB5E18")),
        (ParentProcEntityId, entity(0x69a5_55f0, 4 << 48 | 0xc54)),
        (ParentProcPid, Value::Uint(5520)),
        (ParentProcExecutable, t(r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE")),
        (ParentProcCommandLine, t(r#""WINWORD.EXE" /n "C:\Users\jdoe\plan.docm""#)),
        (ParentProcUser, t("jdoe")),
        (ParentProcDomain, t("CORP")),
    ];
    MapView { kind: Kind::ProcessStart, fields: fields.into_iter().collect() }
}
