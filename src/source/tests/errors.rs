//! What is refused, and how it is said; and that no text makes a loader panic.

use proptest::prelude::*;

use super::*;

#[test]
fn every_error_of_a_source_is_named_in_one_run() {
    let text = r#"source: Windows.T
platfrom: windows
platform: windos
product: {name: P, guidd: '{}'}
channel: C
encodings: [event_xml, nxlogg, event_xml]
write_after: {lognormal: {median: 3s, p99: 1s}}
execution: {process: sensor.pidd, thread: process.name | dec}
correlation: process.pid
key: [host.name, record.id]
tables:
  t: {1: [a, b, c]}
events:
  - on: [process.strat, process.start, process.start]
    id: one
    level: 3 if process.pid == 'x' else 5
    version: x
    audit: success if kerberos.status == 0
    when: policy.sysmon selects proces_create
    data:
      A: process.exe
      B: process.executable | dec
      C: process.pid
      D: process.pid | hexx
      E: process.pid | table:tt
      F: "'text"
      G: process.name or
      H: process.name process.pid
      I: {x: process.name}
      J: process.name if process.elevation_type else 'a'
      K: "process.pid | number + 'a'"
      L: process.hash
      M: process.pid | dec:3
      N: process.name | lines:7
      O: process.pid | dec | hex
      P: (process.name + 'x') | file_name
      Q: process.name ? 'a'
    message: 'a {Z} {process.pid} {B'
  - id: 2
    on: process.end
    tesk: 1
"#;
    insta::assert_snapshot!(load(text).unwrap_err(), @r#"
    test.yaml:1:9: `Windows.T` is not an id; lower-case words with dots between, such as `windows.sysmon`
    test.yaml:3:11: unknown platform `windos`; did you mean `windows`?
    test.yaml:4:20: unknown field of a product `guidd`; did you mean `guid`?
    test.yaml:6:24: unknown encoding `nxlogg`; did you mean `nxlog`?
    test.yaml:6:32: encoding `event_xml` is named twice
    test.yaml:12:10: an entry must be text or [in the data, in the message], not a sequence
    test.yaml:10:18: `record.id` is a number and needs a formatter; one of `dec`, `hex`, `hex_upper`, `hex_int`, `number`, `table`, `bits`
    test.yaml:7:26: `lognormal` needs 0 < median <= p99
    test.yaml:8:22: unknown field `sensor.pidd`; did you mean `sensor.pid`?
    test.yaml:8:43: `process.name` is text and cannot be printed by `dec`; one of `table`, `codes`, `lines`, `each`, `kernel_key`, `long_key`, `json`, `xml`, `sysmon_number`, `base64`, `file_name`, `dir_name`, `first_word`, `build`, `quoted`, `before_dot`, `lower`, `upper`, `double_percent`
    test.yaml:9:14: `correlation` must be a GUID, and `process.pid` is not
    test.yaml:14:10: unknown kind of activity `process.strat`; did you mean `process.start`?
    test.yaml:14:40: kind `process.start` is named twice
    test.yaml:19:11: unknown Sysmon rule `proces_create`; did you mean `process_create`?
    test.yaml:17:14: `x` is not a number
    test.yaml:16:12: `process.pid` is a number and cannot be compared with 'x' by `==`; texts compare by == and != with quoted text, numbers also by order
    test.yaml:18:12: `if` without `else`; write `a if condition else b`
    test.yaml:21:10: unknown field `process.exe`; did you mean `process.name`?
    test.yaml:22:10: `process.executable` is text and cannot be printed by `dec`; one of `table`, `codes`, `lines`, `each`, `kernel_key`, `long_key`, `json`, `xml`, `sysmon_number`, `base64`, `file_name`, `dir_name`, `first_word`, `build`, `quoted`, `before_dot`, `lower`, `upper`, `double_percent`
    test.yaml:23:10: `process.pid` is a number and needs a formatter; one of `dec`, `hex`, `hex_upper`, `hex_int`, `number`, `table`, `bits`
    test.yaml:24:10: unknown formatter `hexx`; did you mean `hex`?
    test.yaml:25:10: unknown table `tt`; did you mean `t`?
    test.yaml:26:10: the literal 'text does not end
    test.yaml:27:10: a value is missing at the end
    test.yaml:28:10: `process.pid` is not expected here; `|`, `+`, `or` or `if` may follow a value
    test.yaml:29:10: a field of an event log record must be an expression, not a mapping
    test.yaml:30:10: `process.elevation_type` is a number, not a condition; compare it (`process.elevation_type == ...`) or ask `has process.elevation_type`
    test.yaml:31:10: `+` joins texts only; use `dec` instead of `number`
    test.yaml:32:10: `process.hash` is a group of fields; write `process.hash | sysmon_hashes`, or one of its fields
    test.yaml:33:10: `dec` takes no argument, not `3`; write `| dec`
    test.yaml:34:10: `lines` takes a quoted text, not `7`; write `| lines:"\r\n"`
    test.yaml:35:10: what stands before is text and cannot be printed by `hex`; one of `table`, `codes`, `lines`, `each`, `kernel_key`, `long_key`, `json`, `xml`, `sysmon_number`, `base64`, `file_name`, `dir_name`, `first_word`, `build`, `quoted`, `before_dot`, `lower`, `upper`, `double_percent`
    test.yaml:36:10: `file_name` cannot print joined texts; format each part before `+`
    test.yaml:37:10: `?` has no meaning in an expression (literals are quoted)
    test.yaml:38:14: the message's `{Z}`: the data has no field `Z`; none is defined
    test.yaml:38:14: the message's `{process.pid}`: `process.pid` is a number and needs a formatter; one of `dec`, `hex`, `hex_upper`, `hex_int`, `number`, `table`, `bits`
    test.yaml:38:14: the message has a `{` without its `}`; a brace of the text is written twice
    test.yaml:41:5: unknown field of an event `tesk`; did you mean `task`?
    test.yaml:6:12: encoding `event_xml` needs numbers as event ids, not `one`
    test.yaml:2:1: unknown field of a source `platfrom`; did you mean `platform`?
    "#);
}

#[test]
fn encodings_need_what_they_print() {
    let text = "source: t.a\nplatform: windows\nencodings: [nxlog, defender_eventhub]\nkey: [host.name]\nevents:\n  - {on: process.start, id: Started}\n";
    insta::assert_snapshot!(load(text).unwrap_err(), @r#"
    test.yaml:3:12: encoding `nxlog` needs `product: {name: ...}`
    test.yaml:3:12: encoding `nxlog` needs `channel`
    test.yaml:3:12: encoding `nxlog` needs numbers as event ids, not `Started`
    test.yaml:3:12: encoding `defender_eventhub` needs `category`
    "#);
}

#[test]
fn an_event_is_defined_once_for_a_kind_and_condition() {
    let text = r#"source: t.a
platform: windows
encodings: [defender_row]
key: [host.name]
events:
  - {on: process.start, id: 1, when: has process.name}
  - {on: process.start, id: 1, when: not has process.name}
  - {on: [process.end, process.start], id: 1, when: has process.name}
---
source: t.a
platform: windows
encodings: [defender_row]
key: [host.name]
events: [{on: process.end, id: 1}]
---
source: t.b
platform: windows
encodings: [defender_row]
key: [host.name]
events: []
---
source: t.b
platform: windows
encodings: [defender_row]
key: [host.name]
events: []
"#;
    insta::assert_snapshot!(load(text).unwrap_err(), @r#"
    test.yaml:8:5: event 1 of `process.start` is defined twice; give each its own `when`
    test.yaml:22:1: source `t.b` is defined twice in this file
    "#);
}

#[test]
fn conditional_heads_make_events_of_which_one_is_selected() {
    let text = "source: t.a\nplatform: windows\nencodings: [defender_row]\nkey: [host.name]\nevents:\n  - {on: script.block, id: 1, level: 3 if script.level == 3 else 5, audit: success if kerberos.status == 0 else failure}\n";
    let c = load(text).unwrap();
    let s = c.get("t.a").unwrap();
    assert_eq!(s.events_for(Kind::ScriptBlock).len(), 4);
    for (level, status) in [(3, 0), (3, 6), (5, 0), (7, 6)] {
        let fields = [(Field::ScriptLevel, Value::Uint(level)), (Field::KerberosStatus, Value::Uint(status))].into();
        let view = MapView { kind: Kind::ScriptBlock, fields };
        let chosen: Vec<_> = s.events_for(Kind::ScriptBlock).iter().filter(|i| s.selects(**i, &view, &AllOn)).collect();
        let [one] = chosen[..] else { panic!("{} selected", chosen.len()) };
        let head = &s.event(*one).head;
        assert_eq!((head.level, head.audit), (if level == 3 { 3 } else { 5 }, Some(status == 0)));
    }
}

proptest! {
    #[test]
    fn no_text_in_place_of_a_value_panics(s in "\\PC{0,60}", at in 0usize..12) {
        let places = ["id", "version", "keywords", "audit", "when", "message", "on", "data", "category", "write_after", "user_data", "binary"];
        let quoted = format!("'{}'", s.replace('\'', "''"));
        let text = format!("source: t.a\nplatform: windows\nencodings: [defender_row]\nkey: [host.name]\nevents:\n  - on: process.start\n    id: 1\n    x: {quoted}\n")
            .replace("    x:", &format!("    {}:", places[at]));
        let _ = load(&text);
    }

    #[test]
    fn no_expression_panics(s in r#"(process\.(pid|name|hash|executable)|logon\.elevated|kind|'a'|"\\n"|7|\||dec|hex|upper|lines|table|:|t|\+|or|and|not|has|if|else|in|\(|\)|\[|\]|==|<|policy\.(sysmon|audit)|selects|logs| ){0,24}"#) {
        let text = format!("source: t.a\nplatform: windows\nencodings: [defender_row]\nkey: [host.name]\ntables: {{t: {{1: a}}}}\nevents:\n  - on: process.start\n    id: 1\n    data: {{A: '{0}'}}\n    when: '{0}'\n", s.replace('\'', "''"));
        if let Ok(c) = load(&text) {
            let source = c.get("t.a").unwrap();
            let w = source.writer(Encoding::DefenderRow, Options::default()).unwrap();
            let mut out = vec![];
            w.render(EventIndex(0), &sample::full(Kind::ProcessStart), &AllOn, &mut out);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
    }

    #[test]
    fn no_damage_to_a_shipped_source_panics(at in 0.0..1.0f64, len in 0usize..12, with in "[-{}\\[\\]:&*|'\"a-z \\n]{0,6}") {
        let text = include_str!("../../../sources/windows.sysmon.yaml");
        let mut start = (text.len() as f64 * at) as usize;
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = (start + len).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let _ = load(&format!("{}{with}{}", &text[..start], &text[end..]));
    }
}
