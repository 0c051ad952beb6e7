//! Formatters: one table that types them, documents them and tests itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::activity::{Entity, Type, Value};
use crate::time::Time;

/// How the value of a field becomes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Print {
    /// Text and addresses as they are.
    Plain,
    /// Decimal.
    Dec,
    /// `0x` and at least so many digits.
    Hex { digits: u8, upper: bool },
    /// Lower case in data, upper case in messages.
    HexInt,
    /// Date, separator, time, digits of the second.
    DateTime { separator: u8, digits: u8, zulu: bool },
    /// Whole units since the epoch.
    Epoch { unit_ns: u32 },
    /// Seconds with six digits.
    UnixFloat,
    /// 100 ns since 1601.
    Filetime,
    /// Machine part, second, key.
    SysmonGuid,
    /// A GUID.
    Guid { upper: bool, braces: bool },
    /// `::ffff:` before IPv4.
    IpMapped,
    /// IPv6 in eight groups.
    IpLong,
    /// `true` for IPv6.
    IsIpv6,
    /// One of two spellings.
    Bool { title: bool },
    /// Text in base64.
    Base64,
    /// Through a table.
    Table(u16),
    /// `%%` codes, resolved in messages.
    Codes(u16),
    /// Lines joined by a text of the source.
    Lines(u16),
    /// Each line in a template of the source.
    Each(u16),
    /// Rows of a table whose bits a mask has.
    Bits(u16),
    /// RFC 3339 with ticks of 100 ns, zeros at the end dropped.
    Ticks,
    /// Date and time as the United States write them.
    UsTime,
    /// Another spelling of a registry key's hive.
    Hive(Hive),
    /// Defender's class of an address.
    IpType,
    /// A JSON string inside a text that is JSON itself.
    JsonText,
    /// Text inside a text that is XML itself.
    XmlText,
    /// A number as Sysmon prints registry data.
    SysmonNumber { bits: u8 },
}

/// Spellings of `HKLM` and `HKU`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hive {
    /// `\REGISTRY\MACHINE`, `\REGISTRY\USER`: the object manager's.
    Kernel,
    /// `HKEY_LOCAL_MACHINE`, `HKEY_CURRENT_USER` for a user's own: Defender's.
    Long,
}

/// Part of a text, taken before it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Pick {
    /// All of it.
    #[default]
    All,
    /// What follows the last backslash or slash.
    FileName,
    /// What precedes the last backslash or slash.
    DirName,
    /// What precedes the first blank.
    FirstWord,
    /// Build and revision of a version: what stands between its second dot and the first blank.
    Build,
    /// The value behind an equals sign, without its quotes.
    Quoted,
    /// What precedes the first dot.
    BeforeDot,
}

/// Changes letter by letter, applied last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Letters {
    /// ASCII to upper (`Some(true)`) or lower case.
    pub case: Option<bool>,
    /// `%` twice.
    pub percent: bool,
}

impl Letters {
    /// Nothing changes.
    pub const fn is_plain(self) -> bool {
        self.case.is_none() && !self.percent
    }
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Json {
    /// In quotes.
    Text,
    /// Digits, `true`, `false`, `null`.
    Bare,
}

/// What a formatter does to what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Makes text of a value.
    Print(Print, Json),
    /// Takes a part of a text.
    Pick(Pick),
    /// Changes letters.
    Case(bool),
    /// `%` twice.
    Percent,
    /// `process.hash | sysmon_hashes`.
    Hashes,
}

/// What may stand behind the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A number of at most so much, and what it is without one.
    Number { max: u8, default: u8 },
    /// The name of a table.
    Table,
    /// A quoted text.
    Text,
}

/// The argument, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// None.
    Nothing,
    /// A number.
    Number(u8),
    /// Index of a table or a text of the source.
    Index(u16),
}

impl Arg {
    fn number(self) -> u8 {
        if let Arg::Number(n) = self { n } else { 0 }
    }
    fn index(self) -> u16 {
        if let Arg::Index(n) = self { n } else { 0 }
    }
}

/// A row of the table.
pub struct Formatter {
    /// As written behind the bar.
    pub name: &'static str,
    /// Types of values it prints; text means also what a formatter before it printed.
    pub accepts: &'static [Type],
    /// Its argument.
    pub takes: Takes,
    /// What it prints.
    pub doc: &'static str,
    /// An example for the documentation and the test: value, argument, what is printed; none where a table is needed.
    pub example: Option<(Value<'static>, Arg, &'static str)>,
    /// Its meaning.
    pub step: fn(Arg) -> Step,
}

const PATH: Value<'static> = Value::Text(r"C:\Windows\System32\cmd.exe");
const WHEN: Value<'static> = Value::Time(Time(1_660_830_973_608_512_300));
const ADDRESS: Value<'static> = Value::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)));
const ADDRESS6: Value<'static> = Value::Ip(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x74be, 0x9db0, 0x8522, 0xab5c)));
const NUMBER: Value<'static> = Value::Uint(0x3e7);
const GUID: Value<'static> =
    Value::Guid([0x57, 0x70, 0x38, 0x5f, 0xc2, 0x2a, 0x43, 0xe0, 0xbf, 0x4c, 6, 0xf5, 0x69, 0x8f, 0xfb, 0xd9]);
const PROCESS: Value<'static> =
    Value::Entity(Entity { machine: 0x564f_f025, second: 0x62fe_44fd, key: 0x0006_0000_0000_049f });
const NONE: Arg = Arg::Nothing;

macro_rules! formatters {
    ($($name:literal, [$($ty:ident),*], $takes:expr, $doc:literal, $example:expr, $step:expr;)*) => {
        /// Every formatter, in the order of the documentation.
        pub static FORMATTERS: &[Formatter] = &[$(Formatter {
            name: $name, accepts: &[$(Type::$ty),*], takes: $takes, doc: $doc, example: $example, step: $step,
        },)*];
    };
}

const fn text(p: Print) -> Step {
    Step::Print(p, Json::Text)
}

formatters! {
    "dec", [Uint], Takes::Nothing, "decimal digits", Some((NUMBER, NONE, "999")), |_| text(Print::Dec);
    "hex", [Uint], Takes::Number { max: 16, default: 1 }, "`0x` and lower-case digits, at least as many as given: pointers, handles, process ids of Windows audits",
        Some((NUMBER, Arg::Number(4), "0x03e7")), |a| text(Print::Hex { digits: a.number(), upper: false });
    "hex_upper", [Uint], Takes::Number { max: 16, default: 1 }, "the same in upper case", Some((NUMBER, Arg::Number(16), "0x00000000000003E7")),
        |a| text(Print::Hex { digits: a.number(), upper: true });
    "hex_int", [Uint], Takes::Nothing, "as Windows renders HexInt32 and HexInt64 (logon ids, status codes, masks): lower case in data, upper case in messages",
        Some((NUMBER, NONE, "0x3e7")), |_| text(Print::HexInt);
    "utc_ms", [Time], Takes::Nothing, "Sysmon's UtcTime", Some((WHEN, NONE, "2022-08-18 13:56:13.608")),
        |_| text(Print::DateTime { separator: b' ', digits: 3, zulu: false });
    "utc_s", [Time], Takes::Nothing, "NXLog's EventTime", Some((WHEN, NONE, "2022-08-18 13:56:13")),
        |_| text(Print::DateTime { separator: b' ', digits: 0, zulu: false });
    "iso", [Time], Takes::Number { max: 9, default: 3 }, "RFC 3339 in UTC with so many digits of the second", Some((WHEN, Arg::Number(7), "2022-08-18T13:56:13.6085123Z")),
        |a| text(Print::DateTime { separator: b'T', digits: a.number(), zulu: true });
    "iso_plain", [Time], Takes::Nothing, "date and time without a zone, as task definitions write it", Some((WHEN, NONE, "2022-08-18T13:56:13")),
        |_| text(Print::DateTime { separator: b'T', digits: 0, zulu: false });
    "ticks", [Time], Takes::Nothing, "RFC 3339 in UTC with ticks of 100 ns, zeros at the end dropped", Some((Value::Time(Time(1_660_830_973_608_510_000)), NONE, "2022-08-18T13:56:13.60851Z")),
        |_| text(Print::Ticks);
    "us_time", [Time], Takes::Nothing, "as Windows prints local times in English messages, here in UTC", Some((WHEN, NONE, "8/18/2022 1:56:13 PM")), |_| text(Print::UsTime);
    "filetime", [Time], Takes::Nothing, "100 ns since 1601 in decimal digits", Some((WHEN, NONE, "133053045736085123")), |_| text(Print::Filetime);
    "unix", [Time], Takes::Nothing, "seconds since the epoch, a JSON number", Some((WHEN, NONE, "1660830973")),
        |_| Step::Print(Print::Epoch { unit_ns: 1_000_000_000 }, Json::Bare);
    "unix_ms", [Time], Takes::Nothing, "milliseconds since the epoch, a JSON number", Some((WHEN, NONE, "1660830973608")),
        |_| Step::Print(Print::Epoch { unit_ns: 1_000_000 }, Json::Bare);
    "unix_float", [Time], Takes::Nothing, "seconds with six digits behind the point, a JSON number (Zeek's ts)", Some((WHEN, NONE, "1660830973.608512")),
        |_| Step::Print(Print::UnixFloat, Json::Bare);
    "sysmon_guid", [Entity], Takes::Nothing, "Sysmon's ProcessGuid or LogonGuid: machine part, second (low half first), key in little-endian order",
        Some((PROCESS, NONE, "{564ff025-44fd-62fe-9f04-000000000600}")), |_| text(Print::SysmonGuid);
    "guid", [Guid], Takes::Nothing, "in braces, lower case", Some((GUID, NONE, "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}")),
        |_| text(Print::Guid { upper: false, braces: true });
    "guid_upper", [Guid], Takes::Nothing, "in braces, upper case", Some((GUID, NONE, "{5770385F-C22A-43E0-BF4C-06F5698FFBD9}")),
        |_| text(Print::Guid { upper: true, braces: true });
    "uuid", [Guid], Takes::Nothing, "without braces, lower case", Some((GUID, NONE, "5770385f-c22a-43e0-bf4c-06f5698ffbd9")),
        |_| text(Print::Guid { upper: false, braces: false });
    "ipv6_mapped", [Ip], Takes::Nothing, "IPv4 as mapped IPv6", Some((ADDRESS, NONE, "::ffff:10.0.0.5")), |_| text(Print::IpMapped);
    "ipv6_long", [Ip], Takes::Nothing, "IPv6 in eight groups without `::`, as Sysmon writes connections; IPv4 plain", Some((ADDRESS6, NONE, "fe80:0:0:0:74be:9db0:8522:ab5c")),
        |_| text(Print::IpLong);
    "ip_type", [Ip], Takes::Nothing, "Defender's class of an address: `Public`, `Private`, `Loopback`, `LinkLocal`, `Multicast`, `Broadcast`, `Reserved`", Some((ADDRESS, NONE, "Private")),
        |_| text(Print::IpType);
    "is_ipv6", [Ip], Takes::Nothing, "`true` or `false`", Some((ADDRESS, NONE, "false")), |_| text(Print::IsIpv6);
    "true_false", [Bool], Takes::Nothing, "`true` or `false` as text", Some((Value::Bool(true), NONE, "true")), |_| text(Print::Bool { title: false });
    "True_False", [Bool], Takes::Nothing, "`True` or `False` as text", Some((Value::Bool(false), NONE, "False")), |_| text(Print::Bool { title: true });
    "number", [Uint], Takes::Nothing, "a JSON number", Some((NUMBER, NONE, "999")), |_| Step::Print(Print::Dec, Json::Bare);
    "boolean", [Bool], Takes::Nothing, "a JSON truth value", Some((Value::Bool(true), NONE, "true")), |_| Step::Print(Print::Bool { title: false }, Json::Bare);
    "table", [Uint, Text, Bool, Ip, Guid], Takes::Table, "through a table of the file: `| table:elevation`; addresses by the keys `ipv4` and `ipv6`, GUIDs in lower case without braces", None, |a| text(Print::Table(a.index()));
    "codes", [Text], Takes::Table, "text as it is; in messages each `%%` code in it through a table: `| codes:access`", None, |a| text(Print::Codes(a.index()));
    "bits", [Uint], Takes::Table, "rows of a table whose keys are bits of a mask: standard rights (bit 16 and up) first, each followed by CR LF and four tabs: `access.mask | bits:file_rights`", None,
        |a| text(Print::Bits(a.index()));
    "lines", [Text], Takes::Text, "the lines of a text, blanks around them taken off, joined by another: `| lines:\"\\r\\n\\t\\t\\t\"`", None, |a| text(Print::Lines(a.index()));
    "each", [Text], Takes::Text, "each line of a text in place of the star: `| each:\"\\r\\n\\t\\t%{*}\"`", None, |a| text(Print::Each(a.index()));
    "kernel_key", [Text], Takes::Nothing, "a registry key as the object manager names it", Some((Value::Text(r"HKLM\SOFTWARE\X"), NONE, r"\REGISTRY\MACHINE\SOFTWARE\X")),
        |_| text(Print::Hive(Hive::Kernel));
    "long_key", [Text], Takes::Nothing, "a registry key with its hive spelt out", Some((Value::Text(r"HKLM\SOFTWARE\X"), NONE, r"HKEY_LOCAL_MACHINE\SOFTWARE\X")),
        |_| text(Print::Hive(Hive::Long));
    "json", [Text], Takes::Nothing, "a JSON string, quotes included, inside a text that is JSON: `'{\"TaskName\":' + task.name \\| json + '}'`", None, |_| text(Print::JsonText);
    "xml", [Text], Takes::Nothing, "text inside a text that is XML: `&`, `<` and `>` as entities", Some((Value::Text("a & b > c"), NONE, "a &amp; b &gt; c")), |_| text(Print::XmlText);
    "sysmon_number", [Text], Takes::Number { max: 64, default: 32 }, "a number as Sysmon prints registry data of so many bits", Some((Value::Text("65538"), NONE, "DWORD (0x00010002)")),
        |a| text(Print::SysmonNumber { bits: a.number() });
    "base64", [Text], Takes::Nothing, "base64 of the text's UTF-8 bytes", Some((Value::Text("whoami"), NONE, "d2hvYW1p")), |_| text(Print::Base64);
    "file_name", [Text], Takes::Nothing, "what follows the last backslash or slash", Some((PATH, NONE, "cmd.exe")), |_| Step::Pick(Pick::FileName);
    "dir_name", [Text], Takes::Nothing, "what precedes it", Some((PATH, NONE, r"C:\Windows\System32")), |_| Step::Pick(Pick::DirName);
    "first_word", [Text], Takes::Nothing, "what precedes the first blank", Some((Value::Text("10.0.19041.546 (WinBuild.160101.0800)"), NONE, "10.0.19041.546")), |_| Step::Pick(Pick::FirstWord);
    "build", [Text], Takes::Nothing, "build and revision of a version", Some((Value::Text("10.0.19041.546 (WinBuild.160101.0800)"), NONE, "19041.546")), |_| Step::Pick(Pick::Build);
    "quoted", [Text], Takes::Nothing, "the value behind an equals sign, without its quotes: names in WMI references", Some((Value::Text("__EventFilter.Name=\"upd\""), NONE, "upd")), |_| Step::Pick(Pick::Quoted);
    "before_dot", [Text], Takes::Nothing, "what precedes the first dot, without a quote before it", Some((Value::Text("__EventFilter.Name=\"upd\""), NONE, "__EventFilter")), |_| Step::Pick(Pick::BeforeDot);
    "lower", [Text], Takes::Nothing, "ASCII letters in lower case", Some((PATH, NONE, r"c:\windows\system32\cmd.exe")), |_| Step::Case(false);
    "upper", [Text], Takes::Nothing, "ASCII letters in upper case", Some((PATH, NONE, r"C:\WINDOWS\SYSTEM32\CMD.EXE")), |_| Step::Case(true);
    "double_percent", [Text], Takes::Nothing, "each `%` twice, as Sysmon writes text that users control", Some((Value::Text("%TEMP%"), NONE, "%%TEMP%%")), |_| Step::Percent;
    "sysmon_hashes", [], Takes::Nothing, "`process.hash`, `dll.hash` or `file.hash`: the algorithms of the policy in its order (`SHA1=..,MD5=..,SHA256=..,IMPHASH=..`)", None, |_| Step::Hashes;
}

/// The formatter of that name.
pub fn find(name: &str) -> Option<&'static Formatter> {
    FORMATTERS.iter().find(|f| f.name == name)
}

/// The list of examples as a markdown table.
pub fn document() -> String {
    use std::fmt::Write;
    let mut s = String::from("| formatter | of | argument | prints | example |\n|---|---|---|---|---|\n");
    for f in FORMATTERS {
        let of: Vec<String> = f.accepts.iter().map(|t| format!("{t:?}").to_lowercase()).collect();
        let takes = match f.takes {
            Takes::Nothing => String::new(),
            Takes::Number { max, default } => format!("0 to {max}, else {default}"),
            Takes::Table => "a table".into(),
            Takes::Text => "a quoted text".into(),
        };
        let example = f.example.map(|(_, _, e)| format!("`{e}`")).unwrap_or_default();
        writeln!(s, "| `{}` | {} | {takes} | {} | {example} |", f.name, of.join(", "), f.doc).expect("a string");
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::escape::Esc;
    use crate::source::expr::Spec;
    use crate::source::write;

    /// A field of a type, to stand before a formatter.
    fn some_field(ty: Type) -> crate::activity::Field {
        *crate::activity::Field::ALL.iter().find(|f| f.ty() == ty).unwrap()
    }

    #[test]
    fn every_formatter_prints_its_example() {
        for f in FORMATTERS {
            let Some((value, arg, want)) = f.example else { continue };
            let ty = match value {
                Value::Text(_) => Type::Text,
                Value::Uint(_) => Type::Uint,
                Value::Bool(_) => Type::Bool,
                Value::Time(_) => Type::Time,
                Value::Guid(_) => Type::Guid,
                Value::Entity(_) => Type::Entity,
                Value::Ip(_) => Type::Ip,
                Value::None => unreachable!(),
            };
            assert!(f.accepts.contains(&ty), "{} does not accept its example", f.name);
            let mut spec =
                Spec { field: some_field(ty), pick: Pick::All, print: Print::Plain, letters: Letters::default() };
            match (f.step)(arg) {
                Step::Print(p, _) => spec.print = p,
                Step::Pick(p) => spec.pick = p,
                Step::Case(c) => spec.letters.case = Some(c),
                Step::Percent => spec.letters.percent = true,
                Step::Hashes => unreachable!(),
            }
            let mut out = vec![];
            let names = write::Names { tables: &[], texts: &[] };
            assert!(write::value(&spec, Esc::Raw, false, value, names, &mut out), "{} prints nothing", f.name);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{}", f.name);
        }
    }

    #[test]
    fn names_are_unique_and_every_type_can_be_printed() {
        for (i, f) in FORMATTERS.iter().enumerate() {
            assert!(FORMATTERS[..i].iter().all(|g| g.name != f.name), "{} twice", f.name);
        }
        for field in crate::activity::Field::ALL {
            assert!(FORMATTERS.iter().any(|f| f.accepts.contains(&field.ty())), "{field} cannot be printed");
        }
    }
}
