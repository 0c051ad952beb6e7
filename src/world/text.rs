//! Formatters of templates.

use base64::Engine;

use crate::rng::{Rng, mix, purpose};
use crate::world::program::Fmt;

/// Applies formatters left to right. Bytes that are not text in the end become base64.
pub fn format(text: &str, fmts: &[Fmt]) -> String {
    let mut bytes: Vec<u8> = text.as_bytes().to_vec();
    for f in fmts {
        let as_text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        bytes = match f {
            Fmt::Utf16le => as_text(&bytes).encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Fmt::Base64 => base64::engine::general_purpose::STANDARD.encode(&bytes).into_bytes(),
            Fmt::Hex => bytes.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect(),
            Fmt::Upper => as_text(&bytes).to_uppercase().into_bytes(),
            Fmt::Lower => as_text(&bytes).to_lowercase().into_bytes(),
            Fmt::DoubleQuotes => as_text(&bytes).replace('"', "\"\"").into_bytes(),
            Fmt::FileName => as_text(&bytes).rsplit(['\\', '/']).next().unwrap_or("").into(),
            Fmt::DirName => as_text(&bytes).rsplit_once('\\').map_or("", |(d, _)| d).into(),
            Fmt::ByPath => as_text(&bytes).replacen(r"\System32\", r"\system32\", 1).into_bytes(),
            Fmt::Guid => guid_of(&bytes).into_bytes(),
            Fmt::Url => as_text(&bytes)
                .bytes()
                .flat_map(|b| match b {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => vec![b],
                    _ => format!("%{b:02X}").into_bytes(),
                })
                .collect(),
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|e| base64::engine::general_purpose::STANDARD.encode(e.as_bytes()))
}

/// The GUID (version 4, lower case) that a text stands for.
fn guid_of(text: &[u8]) -> String {
    let n = text.iter().fold(purpose("guid of a text"), |n, b| mix(n, u64::from(*b)));
    super::instance::guid(&mut Rng::new(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powershell_encodes_utf16() {
        assert_eq!(format("whoami", &[Fmt::Utf16le, Fmt::Base64]), "dwBoAG8AYQBtAGkA");
        assert_eq!(format(r"C:\a\b.exe", &[Fmt::FileName]), "b.exe");
        let guid = |t| format(t, &[Fmt::Lower, Fmt::Guid]);
        assert_eq!((guid("A").len(), guid("A")), (36, guid("a")));
        assert_ne!(guid("a"), guid("b"));
    }
}
