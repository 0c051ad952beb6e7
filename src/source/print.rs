//! Values as digits: numbers, times, GUIDs, addresses. What is printed here needs no escaping in any encoding.

use std::net::IpAddr;

use super::format::Hive;
use crate::activity::Entity;
use crate::time::{Time, civil_from_days};

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Decimal.
#[inline]
pub fn dec(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// A number from its decimal or `0x` hexadecimal digits; 0 for anything else.
pub fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}

/// `0x` and hexadecimal digits, at least `min` of them.
#[inline]
pub fn hex(n: u64, min: u8, upper: bool, out: &mut Vec<u8>) {
    let table = if upper { UPPER } else { LOWER };
    let digits = (67 - (n | 1).leading_zeros() as usize) / 4;
    let digits = digits.max(min as usize).min(16);
    let mut buffer = *b"0x0000000000000000";
    let mut rest = n;
    for slot in buffer[2..2 + digits].iter_mut().rev() {
        *slot = table[(rest & 15) as usize];
        rest >>= 4;
    }
    out.extend_from_slice(&buffer[..2 + digits]);
}

#[inline]
fn two(n: u8) -> [u8; 2] {
    [b'0' + n / 10, b'0' + n % 10]
}

/// `2022-08-18 13:56:13.608`: date, a separator, time, `digits` (0 to 9) of the second.
#[inline]
pub fn date_time(t: Time, separator: u8, digits: u8, out: &mut Vec<u8>) {
    let second = t.second();
    let (days, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400) as u32);
    let (year, month, day) = civil_from_days(days);
    let year = year.clamp(0, 9999) as u32;
    let mut b = *b"0000-00-00 00:00:00.000000000   ";
    b[..2].copy_from_slice(&two((year / 100) as u8));
    b[2..4].copy_from_slice(&two((year % 100) as u8));
    b[5..7].copy_from_slice(&two(month));
    b[8..10].copy_from_slice(&two(day));
    b[10] = separator;
    b[11..13].copy_from_slice(&two((of_day / 3600) as u8));
    b[14..16].copy_from_slice(&two((of_day / 60 % 60) as u8));
    b[17..19].copy_from_slice(&two((of_day % 60) as u8));
    if digits == 0 {
        return out.extend_from_slice(&b[..19]);
    }
    let part = t.subsec();
    b[20] = b'0' + (part / 100_000_000) as u8;
    b[21..23].copy_from_slice(&two((part / 1_000_000 % 100) as u8));
    b[23..25].copy_from_slice(&two((part / 10_000 % 100) as u8));
    b[25..27].copy_from_slice(&two((part / 100 % 100) as u8));
    b[27..29].copy_from_slice(&two((part % 100) as u8));
    // a copy of a length that is known costs less than one of the bytes that are asked for
    let end = out.len() + 20 + digits.min(9) as usize;
    out.extend_from_slice(&b);
    out.truncate(end);
}

/// RFC 3339 in UTC, `Z` at the end.
#[inline]
pub fn iso(t: Time, digits: u8, out: &mut Vec<u8>) {
    date_time(t, b'T', digits, out);
    out.push(b'Z');
}

/// Whole units since the epoch, signed.
pub fn since_epoch(t: Time, unit_ns: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(t.0.div_euclid(unit_ns)).as_bytes());
}

/// Seconds since the epoch with six digits, as Zeek writes `ts`.
pub fn unix_float(t: Time, out: &mut Vec<u8>) {
    since_epoch(t, 1_000_000_000, out);
    let mut b = *b".000000";
    let mut rest = t.subsec() / 1000;
    for slot in b[1..].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&b);
}

/// RFC 3339 in UTC with ticks of 100 ns, zeros at the end dropped, as .NET writes a `DateTime` by the letter F.
pub fn ticks(t: Time, out: &mut Vec<u8>) {
    date_time(t, b'T', 7, out);
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    out.push(b'Z');
}

/// `8/18/2022 1:56:13 PM`.
pub fn us_time(t: Time, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = t.civil();
    dec(month as u64, out);
    out.push(b'/');
    dec(day as u64, out);
    out.push(b'/');
    dec(year.max(0) as u64, out);
    out.push(b' ');
    dec(if hour % 12 == 0 { 12 } else { hour % 12 } as u64, out);
    out.push(b':');
    out.extend_from_slice(&two(minute));
    out.push(b':');
    out.extend_from_slice(&two(second));
    out.extend_from_slice(if hour < 12 { b" AM" } else { b" PM" });
}

/// Defender's class of an address.
pub fn ip_type(a: IpAddr) -> &'static str {
    match a {
        IpAddr::V4(v) if v.is_loopback() => "Loopback",
        IpAddr::V4(v) if v.is_private() => "Private",
        IpAddr::V4(v) if v.is_link_local() => "LinkLocal",
        IpAddr::V4(v) if v.is_multicast() => "Multicast",
        IpAddr::V4(v) if v.is_broadcast() => "Broadcast",
        IpAddr::V4(v) if v.is_unspecified() || v.octets()[0] >= 240 => "Reserved",
        IpAddr::V6(v) if v.is_loopback() => "Loopback",
        IpAddr::V6(v) if v.to_ipv4_mapped().is_some() => "FourToSixMapping",
        IpAddr::V6(v) if v.segments()[0] & 0xffc0 == 0xfe80 => "LinkLocal",
        IpAddr::V6(v) if v.segments()[0] & 0xfe00 == 0xfc00 => "Private",
        IpAddr::V6(v) if v.is_multicast() => "Multicast",
        IpAddr::V6(v) if v.is_unspecified() => "Reserved",
        _ => "Public",
    }
}

/// A key's hive in another spelling, and the rest of the key.
pub fn hive(hive: Hive, key: &str) -> (&'static str, &str) {
    let short = |h: &str| key.strip_prefix(h).filter(|rest| rest.is_empty() || rest.starts_with('\\'));
    // what all users have in common of the classes
    if let Some(rest) = short("HKCR") {
        return match hive {
            Hive::Kernel => (r"\REGISTRY\MACHINE\SOFTWARE\Classes", rest),
            Hive::Long => (r"HKEY_LOCAL_MACHINE\SOFTWARE\Classes", rest),
        };
    }
    match (hive, short("HKLM"), short("HKU")) {
        (Hive::Kernel, Some(rest), _) => (r"\REGISTRY\MACHINE", rest),
        (Hive::Kernel, _, Some(rest)) => (r"\REGISTRY\USER", rest),
        (Hive::Long, Some(rest), _) => ("HKEY_LOCAL_MACHINE", rest),
        (Hive::Long, _, Some(rest)) if rest.starts_with(r"\S-1-5-21-") => ("HKEY_CURRENT_USER", rest),
        (Hive::Long, _, Some(rest)) => ("HKEY_USERS", rest),
        _ => ("", key),
    }
}

/// 100 ns since 1601-01-01.
pub fn filetime(t: Time) -> u64 {
    (t.0.div_euclid(100) + 116_444_736_000_000_000).max(0) as u64
}

/// A GUID from its sixteen bytes in printed order.
#[inline]
pub fn guid(bytes: &[u8; 16], upper: bool, braces: bool, out: &mut Vec<u8>) {
    let table = if upper { UPPER } else { LOWER };
    const PLACES: [usize; 16] = [1, 3, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29, 31, 33, 35];
    let mut b = *b"{00000000-0000-0000-0000-000000000000}";
    for (byte, at) in bytes.iter().zip(PLACES) {
        b[at] = table[(byte >> 4) as usize];
        b[at + 1] = table[(byte & 15) as usize];
    }
    out.extend_from_slice(if braces { &b } else { &b[1..37] });
}

/// Sixteen bytes of Sysmon's ProcessGuid or LogonGuid in printed order. Recorded layout
/// (`{564ff025-44fd-62fe-9f04-000000000600}`): the machine part; the second, low half first; the key, little-endian
/// (boot 6, sequence 0x49f).
#[inline]
pub fn entity(e: Entity) -> [u8; 16] {
    let mut b = [0; 16];
    b[..4].copy_from_slice(&e.machine.to_be_bytes());
    b[4..6].copy_from_slice(&(e.second as u16).to_be_bytes());
    b[6..8].copy_from_slice(&((e.second >> 16) as u16).to_be_bytes());
    b[8..].copy_from_slice(&e.key.to_le_bytes());
    b
}

/// An address; `mapped` writes IPv4 as `::ffff:10.0.0.5`.
#[inline]
pub fn ip(ip: IpAddr, mapped: bool, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            if mapped {
                out.extend_from_slice(b"::ffff:");
            }
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // the standard library's text is the canonical one (RFC 5952); it formats into a stack buffer
        IpAddr::V6(v6) => {
            use std::io::Write;
            let _ = write!(out, "{v6}");
        }
    }
}

/// An address, IPv6 in eight groups without `::`.
pub fn ip_long(address: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V6(v6) = address else { return ip(address, false, out) };
    for (i, group) in v6.segments().into_iter().enumerate() {
        if i > 0 {
            out.push(b':');
        }
        let start = out.len();
        hex(group as u64, 1, false, out);
        out.drain(start..start + 2);
    }
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const TABLE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let n =
            (chunk[0] as u32) << 16 | (*chunk.get(1).unwrap_or(&0) as u32) << 8 | *chunk.get(2).unwrap_or(&0) as u32;
        let mut b = [b'='; 4];
        for (i, slot) in b.iter_mut().take(chunk.len() + 1).enumerate() {
            *slot = TABLE[(n >> (18 - 6 * i) & 63) as usize];
        }
        out.extend_from_slice(&b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use proptest::prelude::*;

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn numbers_agree_with_the_standard_library(n: u64, min in 0u8..17) {
            prop_assert_eq!(text(|o| dec(n, o)), n.to_string());
            prop_assert_eq!(text(|o| hex(n, min, false, o)), format!("0x{n:0w$x}", w = min as usize));
            prop_assert_eq!(text(|o| hex(n, min, true, o)), format!("0x{n:0w$X}", w = min as usize));
        }
        #[test]
        fn times_agree_with_jiff(ns in 0i64..4_000_000_000_000_000_000) {
            let t = jiff::Timestamp::from_nanosecond(ns as i128).unwrap();
            prop_assert_eq!(text(|o| iso(Time(ns), 9, o)), format!("{t:.9}"));
            prop_assert_eq!(text(|o| date_time(Time(ns), b' ', 3, o)), t.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string());
        }
        #[test]
        fn base64_agrees_with_the_crate(bytes: Vec<u8>) {
            prop_assert_eq!(text(|o| base64(&bytes, o)), base64::engine::general_purpose::STANDARD.encode(&bytes));
        }
        #[test]
        fn addresses_parse_back(a: IpAddr) {
            prop_assert_eq!(text(|o| ip(a, false, o)).parse::<IpAddr>().unwrap(), a);
        }
    }
}
