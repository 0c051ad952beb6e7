//! The hot loop: instructions and a view into bytes.

use super::escape::{self, Esc};
use super::expr::Spec;
use super::format::{Letters, Pick, Print};
use super::op::{NO_SLOT, Op, Or, Program, SLOTS_MAX};
use super::switch::{Hash, Policy};
use super::{Table, print};
use crate::activity::{Field, Value, View};

/// Tables and texts that a program's formatters name.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Tables of the source.
    pub tables: &'a [Table],
    /// Texts of the source.
    pub texts: &'a [String],
}

/// Runs a program: appends one record to `out`.
pub fn run<V: View, P: Policy>(program: &Program, names: Names<'_>, view: &V, policy: &P, out: &mut Vec<u8>) {
    let mut slots = [(0u32, 0u32); SLOTS_MAX];
    let ops = program.ops.as_slice();
    let mut pc = 0;
    out.reserve(program.size);
    while let Some(mut op) = ops.get(pc) {
        pc += 1;
        // every other one is a literal
        if let Op::Lit { at, len } = *op {
            literal(&program.literals, at, len, out);
            let Some(next) = ops.get(pc) else { break };
            (op, pc) = (next, pc + 1);
        }
        match *op {
            Op::Lit { at, len } => literal(&program.literals, at, len, out),
            Op::Put { quoted, slot, or, .. } | Op::Hashes { quoted, slot, or, .. } => {
                let start = out.len();
                if quoted {
                    out.push(b'"');
                }
                let written = match op {
                    Op::Put { spec, esc, message, .. } => value(spec, *esc, *message, view.get(spec.field), names, out),
                    Op::Hashes { fields, esc, .. } => hashes(fields, *esc, view, policy, out),
                    _ => false,
                };
                match (written, or) {
                    (true, _) if quoted => out.push(b'"'),
                    (true, _) => {}
                    (false, or) => {
                        out.truncate(start);
                        match or {
                            Or::Lit { at, len } => literal(&program.literals, at, len, out),
                            Or::To(to) => pc = to as usize,
                        }
                    }
                }
                if slot != NO_SLOT {
                    slots[slot as usize % SLOTS_MAX] = (start as u32, out.len() as u32);
                }
            }
            Op::Copy { slot } => {
                let (from, to) = slots[slot as usize % SLOTS_MAX];
                out.extend_from_within(from as usize..to as usize);
            }
            Op::CopyXml { slot } => {
                let (from, to) = slots[slot as usize % SLOTS_MAX];
                escape::copy_json_as_json_xml(from as usize..to as usize, out);
            }
            Op::Mark { slot } => slots[slot as usize % SLOTS_MAX].0 = out.len() as u32,
            Op::Save { slot } => slots[slot as usize % SLOTS_MAX].1 = out.len() as u32,
            Op::Undo { slot } => out.truncate(slots[slot as usize % SLOTS_MAX].0 as usize),
            Op::IfEmpty { slot, to } => {
                let (from, end) = slots[slot as usize % SLOTS_MAX];
                if from == end {
                    pc = to as usize;
                }
            }
            Op::IfNothing { slot, to } => {
                if slots[slot as usize % SLOTS_MAX].0 as usize == out.len() {
                    pc = to as usize;
                }
            }
            Op::Unless { cond, to } => {
                if !program.conditions[cond as usize].holds(view, policy) {
                    pc = to as usize;
                }
            }
            Op::TrimComma => {
                if out.last() == Some(&b',') {
                    out.pop();
                }
            }
            Op::Jump { to } => pc = to as usize,
        }
    }
}

/// Bytes that [`literal`] copies at once; a program's literals end with as many that nobody names.
pub(super) const CHUNK: usize = 32;

/// Copies a literal. Most are short, and a call costs more than bytes too many that are cut off again.
#[inline(always)]
fn literal(literals: &[u8], at: u32, len: u32, out: &mut Vec<u8>) {
    let (at, len) = (at as usize, len as usize);
    match literals[at..].first_chunk::<CHUNK>() {
        Some(chunk) if len <= CHUNK => {
            let end = out.len() + len;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&literals[at..at + len]),
    }
}

/// Prints a value; false when there is none, and then nothing was written.
#[inline]
pub(super) fn value(spec: &Spec, esc: Esc, message: bool, v: Value<'_>, names: Names<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    match (spec.print, v) {
        (Print::Plain, Value::Text(t)) => {
            text(pick(t, spec.pick), spec.letters, esc, out);
            return true;
        }
        (Print::Dec, Value::Uint(n)) => print::dec(n, out),
        (Print::HexInt, Value::Uint(n)) => print::hex(n, 1, message, out),
        (Print::Hex { digits, upper }, Value::Uint(n)) => print::hex(n, digits, upper, out),
        (Print::SysmonGuid, Value::Entity(e)) => print::guid(&print::entity(e), false, true, out),
        (Print::DateTime { separator, digits, zulu }, Value::Time(t)) => {
            print::date_time(t, separator, digits, out);
            if zulu {
                out.push(b'Z');
            }
        }
        (Print::Plain, Value::Ip(a)) => print::ip(a, false, out),
        (Print::IpMapped, Value::Ip(a)) => print::ip(a, true, out),
        (Print::IpLong, Value::Ip(a)) => print::ip_long(a, out),
        (Print::IsIpv6, Value::Ip(a)) => out.extend_from_slice(if a.is_ipv6() { b"true" } else { b"false" }),
        (Print::Guid { upper, braces }, Value::Guid(g)) => print::guid(&g, upper, braces, out),
        (Print::Bool { title }, Value::Bool(b)) => out.extend_from_slice(match (title, b) {
            (false, true) => b"true",
            (false, false) => b"false",
            (true, true) => b"True",
            (true, false) => b"False",
        }),
        (Print::Filetime, Value::Time(t)) => print::dec(print::filetime(t), out),
        (Print::Epoch { unit_ns }, Value::Time(t)) => print::since_epoch(t, unit_ns as i64, out),
        (Print::UnixFloat, Value::Time(t)) => print::unix_float(t, out),
        (Print::Table(i), v) => return from_table(&names.tables[i as usize], spec, esc, message, v, out),
        (Print::Codes(i), Value::Text(t)) => {
            if message {
                codes(&names.tables[i as usize], pick(t, spec.pick), esc, out);
            } else {
                text(pick(t, spec.pick), spec.letters, esc, out);
            }
            return true;
        }
        (Print::Lines(i), Value::Text(t)) => {
            for (n, line) in t.lines().map(str::trim).enumerate() {
                if n > 0 {
                    escape::text(esc, names.texts[i as usize].as_bytes(), out);
                }
                text(line, spec.letters, esc, out);
            }
            return true;
        }
        (Print::Each(i), Value::Text(t)) => {
            let (before, after) = names.texts[i as usize].split_once('*').unwrap_or((&names.texts[i as usize], ""));
            for line in t.lines().map(str::trim) {
                escape::text(esc, before.as_bytes(), out);
                text(line, spec.letters, esc, out);
                escape::text(esc, after.as_bytes(), out);
            }
            return true;
        }
        (Print::Bits(i), Value::Uint(mask)) => {
            let t = &names.tables[i as usize];
            let (specific, standard) = t.numbers.split_at(t.numbers.partition_point(|(bit, _)| *bit < 1 << 16));
            for (_, row) in standard.iter().chain(specific).filter(|(bit, _)| mask & bit != 0) {
                let (_, data, shown) = &t.rows[*row as usize];
                escape::text(esc, if message { shown } else { data }.as_bytes(), out);
                escape::text(esc, b"\r\n\t\t\t\t", out);
            }
            return out.len() > start;
        }
        (Print::Ticks, Value::Time(t)) => print::ticks(t, out),
        (Print::UsTime, Value::Time(t)) => print::us_time(t, out),
        (Print::IpType, Value::Ip(a)) => out.extend_from_slice(print::ip_type(a).as_bytes()),
        (Print::Hive(hive), Value::Text(t)) => {
            let (spelt, rest) = print::hive(hive, t);
            text(spelt, spec.letters, esc, out);
            text(rest, spec.letters, esc, out);
            return true;
        }
        (Print::JsonText, Value::Text(t)) => {
            escape::text(esc, b"\"", out);
            text(t, spec.letters, if esc == Esc::Json { Esc::JsonJson } else { esc }, out);
            escape::text(esc, b"\"", out);
            return true;
        }
        (Print::XmlText, Value::Text(t)) => {
            let mut rest = pick(t, spec.pick);
            while let Some(i) = memchr::memchr3(b'&', b'<', b'>', rest.as_bytes()) {
                text(&rest[..i], spec.letters, esc, out);
                let entity: &[u8] = match rest.as_bytes()[i] {
                    b'&' => b"&amp;",
                    b'<' => b"&lt;",
                    _ => b"&gt;",
                };
                escape::text(esc, entity, out);
                rest = &rest[i + 1..];
            }
            text(rest, spec.letters, esc, out);
            return true;
        }
        (Print::SysmonNumber { bits }, Value::Text(t)) => {
            let n = print::number(t);
            out.extend_from_slice(if bits > 32 { b"QWORD (" } else { b"DWORD (" });
            if bits > 32 {
                print::hex(n >> 32, 8, false, out);
                out.push(b'-');
            }
            print::hex(n & 0xffff_ffff, 8, false, out);
            out.push(b')');
            return true;
        }
        (Print::Base64, Value::Text(t)) => {
            print::base64(pick(t, spec.pick).as_bytes(), out);
            return true;
        }
        _ => return false,
    }
    match spec.letters.case {
        None => {}
        Some(true) => out[start..].make_ascii_uppercase(),
        Some(false) => out[start..].make_ascii_lowercase(),
    }
    true
}

#[inline]
fn pick(t: &str, pick: Pick) -> &str {
    if pick == Pick::All {
        return t;
    }
    if pick == Pick::FirstWord {
        return t.split_once(' ').map_or(t, |(word, _)| word);
    }
    if pick == Pick::Build {
        let version = t.split_once(' ').map_or(t, |(word, _)| word);
        return version.splitn(3, '.').nth(2).unwrap_or("");
    }
    if pick == Pick::BeforeDot {
        return t.trim_start_matches('"').split_once('.').map_or(t, |(before, _)| before);
    }
    if pick == Pick::Quoted {
        return t.split_once('=').map_or(t, |(_, value)| value.trim_matches(['"', '\\']));
    }
    let cut = memchr::memrchr2(b'\\', b'/', t.as_bytes());
    match (pick, cut) {
        (Pick::FileName, Some(i)) => &t[i + 1..],
        (Pick::DirName, Some(i)) => &t[..i],
        (Pick::DirName, None) => "",
        _ => t,
    }
}

#[inline]
fn text(t: &str, letters: Letters, esc: Esc, out: &mut Vec<u8>) {
    match letters {
        Letters { case: None, percent: false } => escape::text(esc, t.as_bytes(), out),
        // what escapes make is lower case itself
        Letters { case: Some(false), percent: false } => {
            let start = out.len();
            escape::text(esc, t.as_bytes(), out);
            out[start..].make_ascii_lowercase();
        }
        Letters { case: Some(true), percent: false } => upper(t.as_bytes(), esc, out),
        Letters { case, percent: true } => {
            let letters = Letters { case, percent: false };
            let mut rest = t;
            while let Some(i) = memchr::memchr(b'%', rest.as_bytes()) {
                text(&rest[..=i], letters, esc, out);
                // no encoding escapes it
                out.push(b'%');
                rest = &rest[i + 1..];
            }
            text(rest, letters, esc, out);
        }
    }
}

/// Upper case by way of a small buffer: an escape such as `\n` must stay lower case.
fn upper(mut rest: &[u8], esc: Esc, out: &mut Vec<u8>) {
    let mut buffer = [0u8; 64];
    while !rest.is_empty() {
        let mut n = rest.len().min(buffer.len());
        // a CR stays with its LF: an escape may look at both
        if n < rest.len() && rest[n - 1] == b'\r' {
            n -= 1;
        }
        let part = &mut buffer[..n];
        part.copy_from_slice(&rest[..n]);
        part.make_ascii_uppercase();
        escape::text(esc, part, out);
        rest = &rest[n..];
    }
}

fn from_table(t: &Table, spec: &Spec, esc: Esc, message: bool, v: Value<'_>, out: &mut Vec<u8>) -> bool {
    let by_text = |k: &str| t.rows.binary_search_by(|r| r.0.as_str().cmp(k)).ok();
    let row = match v {
        Value::None => return false,
        Value::Uint(n) => t.numbers.binary_search_by_key(&n, |r| r.0).ok().map(|i| t.numbers[i].1 as usize),
        Value::Bool(b) => by_text(if b { "true" } else { "false" }),
        Value::Text(k) => by_text(pick(k, spec.pick)),
        Value::Ip(a) => by_text(if a.is_ipv6() { "ipv6" } else { "ipv4" }),
        Value::Guid(g) => {
            let start = out.len();
            print::guid(&g, false, false, out);
            let row = std::str::from_utf8(&out[start..]).ok().and_then(by_text);
            out.truncate(start);
            row
        }
        _ => None,
    };
    let found = row.map(|i| (&t.rows[i].1, &t.rows[i].2)).or(t.other.as_ref().map(|(d, m)| (d, m)));
    match (found, v) {
        (Some((d, m)), _) => text(if message { m } else { d }, spec.letters, esc, out),
        (None, Value::Uint(n)) => print::dec(n, out),
        (None, Value::Bool(b)) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        (None, Value::Text(k)) => text(pick(k, spec.pick), spec.letters, esc, out),
        (None, _) => return false,
    }
    true
}

/// `%%4416` and the like through a table; what it does not know stays.
fn codes(t: &Table, s: &str, esc: Esc, out: &mut Vec<u8>) {
    let mut rest = s;
    while let Some(i) = memchr::memmem::find(rest.as_bytes(), b"%%") {
        let digits = rest[i + 2..].bytes().take_while(u8::is_ascii_digit).count();
        let code = rest[i + 2..i + 2 + digits].parse::<u64>().ok();
        let row = code.and_then(|n| t.numbers.binary_search_by_key(&n, |r| r.0).ok());
        match row {
            Some(row) => {
                escape::text(esc, &rest.as_bytes()[..i], out);
                escape::text(esc, t.rows[t.numbers[row].1 as usize].2.as_bytes(), out);
            }
            None => escape::text(esc, &rest.as_bytes()[..i + 2 + digits], out),
        }
        rest = &rest[i + 2 + digits..];
    }
    escape::text(esc, rest.as_bytes(), out);
}

/// `SHA1=..,MD5=..`. A hash the activity lacks is all zeros, as Sysmon
/// writes the import hash of what imports nothing.
fn hashes<V: View, P: Policy>(fields: &[Field; 4], esc: Esc, view: &V, policy: &P, out: &mut Vec<u8>) -> bool {
    const ZEROS: [u8; 64] = [b'0'; 64];
    const DIGITS: [usize; 4] = [40, 32, 64, 32];
    let start = out.len();
    let mut any = false;
    for (n, hash) in policy.hashes().iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(match hash {
            Hash::Sha1 => b"SHA1=",
            Hash::Md5 => b"MD5=",
            Hash::Sha256 => b"SHA256=",
            Hash::Imphash => b"IMPHASH=",
        });
        match view.get(fields[*hash as usize]) {
            Value::Text(t) => {
                any = true;
                escape::text(esc, t.as_bytes(), out);
            }
            _ => out.extend_from_slice(&ZEROS[..DIGITS[*hash as usize]]),
        }
    }
    if !any {
        out.truncate(start);
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn letters_change_before_escapes(s in any::<String>(), percent: bool, case in prop_oneof![Just(None), Just(Some(true)), Just(Some(false))]) {
            let s = format!("{s}\r\n\u{1f}%A\"z{}", s.repeat(9));
            let mut out = vec![];
            text(&s, Letters { case, percent }, Esc::Json, &mut out);
            let json = format!("\"{}\"", String::from_utf8(out).unwrap());
            let want = match case {
                None => s.clone(),
                Some(true) => s.to_ascii_uppercase(),
                Some(false) => s.to_ascii_lowercase(),
            };
            let want = if percent { want.replace('%', "%%") } else { want };
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), want);
        }
    }
}
