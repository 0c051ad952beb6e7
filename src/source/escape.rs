//! Text into JSON strings and XML, eight bytes at a time.
//!
//! Windows paths have a backslash every ten bytes or so: finding the next special byte and copying up to it costs a
//! call per run. Here each step copies eight bytes whether or not they are all good and then moves on by as many as
//! were; room for the worst case is made before.

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Esc {
    /// As it is.
    Raw,
    /// Inside a JSON string.
    Json,
    /// Inside a JSON string, CR LF as LF (Winlogbeat).
    JsonLf,
    /// Inside a JSON string that holds XML text: NXLog takes event data from the rendered XML and leaves its entities.
    JsonXml,
    /// Inside a JSON string that stands in a JSON string (Defender's AdditionalFields).
    JsonJson,
    /// XML text.
    Xml,
    /// An XML attribute in apostrophes.
    XmlAttribute,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[inline(always)]
const fn zeros(x: u64) -> u64 {
    // exact for the lowest zero byte; bytes above it may be false, and only the lowest is used
    x.wrapping_sub(ONES) & !x & HIGHS
}

#[inline(always)]
const fn equals(x: u64, b: u8) -> u64 {
    zeros(x ^ (ONES * b as u64))
}

#[inline(always)]
const fn below(x: u64, b: u8) -> u64 {
    x.wrapping_sub(ONES * b as u64) & !x & HIGHS
}

/// What one set of special bytes is, and what stands for them.
trait Set {
    /// High bits of special bytes; exact for the lowest.
    fn mask(x: u64) -> u64;
    /// Bytes for a special byte; `next` is the byte after it.
    fn replace(b: u8, next: Option<u8>, buffer: &mut [u8; 8]) -> usize;
}

fn put<const N: usize>(s: &[u8; N], buffer: &mut [u8; 8]) -> usize {
    buffer[..N].copy_from_slice(s);
    N
}

#[inline]
fn json_replace(b: u8, buffer: &mut [u8; 8]) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match b {
        b'\\' => put(br"\\", buffer),
        b'"' => put(b"\\\"", buffer),
        b'\n' => put(br"\n", buffer),
        b'\r' => put(br"\r", buffer),
        b'\t' => put(br"\t", buffer),
        8 => put(br"\b", buffer),
        12 => put(br"\f", buffer),
        _ => {
            put(br"\u00", buffer);
            buffer[4] = DIGITS[(b >> 4) as usize];
            buffer[5] = DIGITS[(b & 15) as usize];
            6
        }
    }
}

#[inline]
fn xml_replace(b: u8, buffer: &mut [u8; 8]) -> usize {
    match b {
        b'&' => put(b"&amp;", buffer),
        b'<' => put(b"&lt;", buffer),
        b'>' => put(b"&gt;", buffer),
        // a record stays on one line, and a parser gives back what was written
        b'\n' => put(b"&#10;", buffer),
        b'\r' => put(b"&#13;", buffer),
        b'\t' => put(b"\t", buffer),
        // XML 1.0 has no other control characters, not even escaped
        _ => put("\u{fffd}".as_bytes().first_chunk::<3>().expect("three bytes"), buffer),
    }
}

struct Json;
impl Set for Json {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        below(x, 0x20) | equals(x, b'"') | equals(x, b'\\')
    }
    #[inline(always)]
    fn replace(b: u8, _: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        json_replace(b, buffer)
    }
}

struct JsonLf;
impl Set for JsonLf {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        Json::mask(x)
    }
    #[inline(always)]
    fn replace(b: u8, next: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        if b == b'\r' && next == Some(b'\n') { 0 } else { json_replace(b, buffer) }
    }
}

struct JsonXml;
impl Set for JsonXml {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        Json::mask(x) | Xml::mask(x)
    }
    #[inline(always)]
    fn replace(b: u8, _: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        if b < 0x20 || matches!(b, b'"' | b'\\') { json_replace(b, buffer) } else { xml_replace(b, buffer) }
    }
}

struct Xml;
impl Set for Xml {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        below(x, 0x20) | equals(x, b'&') | equals(x, b'<') | equals(x, b'>')
    }
    #[inline(always)]
    fn replace(b: u8, _: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        xml_replace(b, buffer)
    }
}

struct XmlAttribute;
impl Set for XmlAttribute {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        Xml::mask(x) | equals(x, b'\'')
    }
    #[inline(always)]
    fn replace(b: u8, _: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        if b == b'\'' { put(b"&apos;", buffer) } else { xml_replace(b, buffer) }
    }
}

struct JsonJson;
impl Set for JsonJson {
    #[inline(always)]
    fn mask(x: u64) -> u64 {
        Json::mask(x)
    }
    #[inline(always)]
    fn replace(b: u8, _: Option<u8>, buffer: &mut [u8; 8]) -> usize {
        match b {
            b'\\' => put(br"\\\\", buffer),
            b'"' => put(br#"\\\""#, buffer),
            _ => {
                let mut inner = [0; 8];
                let n = json_replace(b, &mut inner);
                buffer[0] = b'\\';
                buffer[1..n + 1].copy_from_slice(&inner[..n]);
                n + 1
            }
        }
    }
}

/// Writes text.
#[inline]
pub fn text(esc: Esc, s: &[u8], out: &mut Vec<u8>) {
    match esc {
        Esc::Raw => out.extend_from_slice(s),
        Esc::Json => run::<Json>(s, out),
        Esc::JsonLf => run::<JsonLf>(s, out),
        Esc::JsonXml => run::<JsonXml>(s, out),
        Esc::JsonJson => run::<JsonJson>(s, out),
        Esc::Xml => run::<Xml>(s, out),
        Esc::XmlAttribute => run::<XmlAttribute>(s, out),
    }
}

/// Room kept beyond what is written: a whole step (eight bytes) and a replacement (eight bytes).
const SLACK: usize = 16;

fn run<S: Set>(s: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut at = start; // next byte to write
    let mut i = 0; // next byte to read
    out.resize(start + s.len() + s.len() / 4 + SLACK, 0);
    while let Some(chunk) = s[i..].first_chunk::<8>() {
        if at + SLACK > out.len() {
            let more = (s.len() - i) * 2 + SLACK;
            out.resize(at + more, 0);
        }
        let dst = &mut out[at..at + SLACK];
        dst[..8].copy_from_slice(chunk);
        let mask = S::mask(u64::from_le_bytes(*chunk));
        if mask == 0 {
            at += 8;
            i += 8;
            continue;
        }
        let good = (mask.trailing_zeros() / 8) as usize;
        i += good;
        let mut buffer = [0; 8];
        let n = S::replace(s[i], s.get(i + 1).copied(), &mut buffer);
        dst[good..good + 8].copy_from_slice(&buffer);
        at += good + n;
        i += 1;
    }
    // fewer than eight are left: they go into the low bytes of a word, and the zeros above them count as special
    let mut left = s.len() - i;
    let mut word = match s.last_chunk::<8>() {
        _ if left == 0 => 0,
        Some(end) => u64::from_le_bytes(*end) >> (8 * (8 - left)),
        None => s[i..].iter().rev().fold(0, |word, b| word << 8 | *b as u64),
    };
    while left > 0 {
        if at + SLACK > out.len() {
            out.resize(at + 8 * SLACK, 0);
        }
        let dst = &mut out[at..at + SLACK];
        dst[..8].copy_from_slice(&word.to_le_bytes());
        let good = (S::mask(word).trailing_zeros() / 8) as usize;
        if good >= left {
            at += left;
            break;
        }
        let special = (word >> (8 * good)) as u8;
        word = word >> (8 * good) >> 8;
        left -= good + 1;
        let mut buffer = [0; 8];
        let n = S::replace(special, (left > 0).then_some(word as u8), &mut buffer);
        dst[good..good + 8].copy_from_slice(&buffer);
        at += good + n;
    }
    out.truncate(at);
}

/// Copies a part of `out` that is JSON text already to its end, with XML entities: what [`Esc::JsonXml`] would have
/// written, since neither escape touches what the other makes.
pub fn copy_json_as_json_xml(from: std::ops::Range<usize>, out: &mut Vec<u8>) {
    let mut start = from.start;
    while let Some(n) = memchr::memchr3(b'<', b'>', b'&', &out[start..from.end]) {
        out.extend_from_within(start..start + n);
        let mut buffer = [0; 8];
        let len = xml_replace(out[start + n], &mut buffer);
        out.extend_from_slice(&buffer[..len]);
        start += n + 1;
    }
    out.extend_from_within(start..from.end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(esc: Esc, s: &str) -> String {
        let mut out = b"before".to_vec();
        text(esc, s.as_bytes(), &mut out);
        String::from_utf8(out.split_off(6)).unwrap()
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,80}", r#"[\\"<>&a\r\n\t]{0,60}"#, r"C:\\([A-Za-z]{1,12}\\){0,9}"]
    }

    proptest! {
        #[test]
        fn json_parses_back(s in any_text()) {
            let json = format!("\"{}\"", escaped(Esc::Json, &s));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), s.clone());
            let lf = format!("\"{}\"", escaped(Esc::JsonLf, &s));
            prop_assert_eq!(serde_json::from_str::<String>(&lf).unwrap(), s.replace("\r\n", "\n"));
            let twice = format!("\"\\\"{}\\\"\"", escaped(Esc::JsonJson, &s));
            let once: String = serde_json::from_str(&twice).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&once).unwrap(), s);
        }
        #[test]
        fn json_of_xml_is_both(s in any_text()) {
            let legal: String = s.chars().filter(|c| *c >= ' ' || matches!(c, '\t' | '\n' | '\r')).collect();
            let json = format!("\"{}\"", escaped(Esc::JsonXml, &legal));
            let xml = escaped(Esc::Xml, &legal).replace("&#10;", "\n").replace("&#13;", "\r");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), xml);
            let mut copied = escaped(Esc::Json, &legal).into_bytes();
            let n = copied.len();
            copy_json_as_json_xml(0..n, &mut copied);
            prop_assert_eq!(String::from_utf8(copied.split_off(n)).unwrap(), escaped(Esc::JsonXml, &legal));
        }
    }
}
