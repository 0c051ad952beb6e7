//! Truth lines of a side file: where in the output the record stands.

use std::io::Write;

use crate::batch::MessageRef;

/// Adds `line`, and `row` where the message holds several records, and `file` where there is more than one file, to
/// each of a message's truth lines.
pub(super) fn place(m: &MessageRef<'_>, line: u64, file: Option<&str>, out: &mut Vec<u8>) {
    for object in m.truth.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let Some(body) = object.strip_suffix(b"}") else {
            // not an object: kept as it is, a reader will complain at the right place
            out.extend_from_slice(object);
            out.push(b'\n');
            continue;
        };
        out.extend_from_slice(body);
        let comma = if body == b"{" { "" } else { "," };
        write!(out, "{comma}\"line\":{line}").expect("writing to memory");
        if m.meta.records > 1
            && let Some(n) = number(body)
        {
            write!(out, ",\"row\":{}", n.wrapping_sub(m.meta.id.n)).expect("writing to memory");
        }
        if let Some(file) = file {
            write!(out, ",\"file\":{}", serde_json::Value::from(file)).expect("writing to memory");
        }
        out.extend_from_slice(b"}\n");
    }
}

/// The record's number: the last part of its id.
fn number(object: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"id\":\"";
    let start = memchr::memmem::find(object, FIELD)? + FIELD.len();
    let end = start + memchr::memchr(b'"', &object[start..])?;
    let id = std::str::from_utf8(&object[start..end]).ok()?;
    id.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Message, RecordId};

    #[test]
    fn lines_rows_and_files_are_added() {
        let meta = Message { records: 3, id: RecordId { stream: 1, cell: 2, n: 40 }, ..Message::default() };
        let truth = b"{\"run\":\"r\",\"id\":\"r.1.2.41\",\"attack\":true}\n{}\n";
        let m = MessageRef { meta: &meta, payload: b"", key: b"", truth };
        let mut out = vec![];
        place(&m, 7, Some("a\"b"), &mut out);
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"run":"r","id":"r.1.2.41","attack":true,"line":7,"row":1,"file":"a\"b"}
        {"line":7,"file":"a\"b"}
        "#);
    }
}
