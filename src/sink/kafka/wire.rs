//! The one request of Kafka's protocol that we speak ourselves: ApiVersions, which a broker answers before any login and
//! from whose features its version follows; librdkafka keeps that to itself.

use std::io::{Read, Write};

/// Longest answer.
const ANSWER_MAX: usize = 64 << 10;

/// Kafka release by the highest `metadata.version` it supports (`MetadataVersion`, Kafka 4.1: features up to 4.1-IV1 are
/// 27); later ones are "after the last".
const RELEASES: [(i16, &str); 12] = [
    (4, "3.3"),
    (8, "3.4"),
    (9, "3.5"),
    (12, "3.6"),
    (15, "3.7"),
    (20, "3.8"),
    (21, "3.9"),
    (22, "4.0"),
    (26, "4.1"),
    (28, "4.2"),
    (30, "after 4.2"),
    (i16::MAX, ""),
];

/// Asks a broker what it runs. None when it does not say.
///
/// # Errors
/// The connection fails, or what answers is no Kafka broker.
pub fn version(mut s: impl Read + Write) -> Result<Option<String>, String> {
    let failed = |e: std::io::Error| format!("no answer from a Kafka broker: {e}");
    // request header v2: ApiVersions (18) v3, correlation 1, client id, no tagged fields; body: name and version
    let mut request = vec![0, 18, 0, 3, 0, 0, 0, 1, 0, 8];
    request.extend_from_slice(b"skirmish\0");
    request.extend_from_slice(b"\x09skirmish\x020\0");
    s.write_all(&(request.len() as u32).to_be_bytes()).and_then(|()| s.write_all(&request)).map_err(failed)?;
    s.flush().map_err(failed)?;
    let mut length = [0; 4];
    s.read_exact(&mut length).map_err(failed)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(10..ANSWER_MAX).contains(&length) {
        return Err("what answers is no Kafka broker".into());
    }
    let mut answer = vec![0; length];
    s.read_exact(&mut answer).map_err(failed)?;
    if answer[..4] != [0, 0, 0, 1] {
        return Err("what answers is no Kafka broker".into());
    }
    // a broker before Kafka 2.4 answers with an error and version 0
    Ok(metadata_version(&answer[4..]).and_then(release))
}

fn release(level: i16) -> Option<String> {
    let at = RELEASES.partition_point(|(first, _)| *first <= level);
    at.checked_sub(1).map(|i| RELEASES[i].1.to_owned())
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn i16(&mut self) -> Option<i16> {
        self.take(2).map(|b| i16::from_be_bytes([b[0], b[1]]))
    }
    fn varint(&mut self) -> Option<usize> {
        let mut v = 0;
        for shift in (0..35).step_by(7) {
            let b = self.take(1)?[0];
            v |= ((b & 0x7f) as usize) << shift;
            if b < 0x80 {
                return Some(v);
            }
        }
        None
    }
    fn skip_tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let n = self.varint()?;
            self.take(n)?;
        }
        Some(())
    }
}

/// Highest supported `metadata.version` in the body of an ApiVersions answer v3.
fn metadata_version(body: &[u8]) -> Option<i16> {
    let mut c = Cursor(body);
    if c.i16()? != 0 {
        return None;
    }
    for _ in 1..c.varint()? {
        c.take(6)?;
        c.skip_tags()?;
    }
    c.take(4)?;
    for _ in 0..c.varint()? {
        let (tag, n) = (c.varint()?, c.varint()?);
        let mut field = Cursor(c.take(n)?);
        if tag != 0 {
            continue;
        }
        for _ in 1..field.varint()? {
            let n = field.varint()?.checked_sub(1)?;
            let name = field.take(n)?;
            let (_, max) = (field.i16()?, field.i16()?);
            field.skip_tags()?;
            if name == b"metadata.version" {
                return Some(max);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn releases_follow_from_levels() {
        let names = [3, 4, 7, 25, 27, 29, 99].map(release);
        let text = names.map(|n| n.unwrap_or("-".into())).join(" ");
        assert_eq!(text, "- 3.3 3.3 4.0 4.1 4.2 after 4.2");
        assert!(RELEASES.is_sorted());
    }

    proptest! {
        #[test]
        fn no_panic_on_any_answer(b in prop::collection::vec(any::<u8>(), 0..80)) {
            metadata_version(&b);
            let mut framed = (b.len() as u32).to_be_bytes().to_vec();
            framed.extend_from_slice(&b);
            let _ = version(std::io::Cursor::new([vec![0; 33], framed].concat()));
        }
    }
}
