//! Records of the built-in sources, and that any text survives any encoding.

use proptest::prelude::*;
use serde_json::Value as Js;

use super::sample::{self, shell};
use super::*;

fn sysmon() -> Arc<Source> {
    built_in().get("windows.sysmon").unwrap().clone()
}

fn record(s: &Source, encoding: Encoding, view: &MapView) -> String {
    let w = s.writer(encoding, Options::default()).unwrap();
    let mut out = vec![];
    w.render(s.events_for(view.kind)[0], view, &AllOn, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn sysmon_1_as_nxlog_writes_it() {
    insta::assert_snapshot!(record(&sysmon(), Encoding::Nxlog, &shell()), @r#"{"EventTime":"2026-03-02 09:14:27","Hostname":"WS-0412.corp.example","Keywords":-9223372036854775808,"EventType":"INFO","SeverityValue":2,"Severity":"INFO","EventID":1,"SourceName":"Microsoft-Windows-Sysmon","ProviderGuid":"{5770385F-C22A-43E0-BF4C-06F5698FFBD9}","Version":5,"Task":1,"OpcodeValue":0,"RecordNumber":1818951,"ExecutionProcessID":3172,"ThreadID":4688,"Channel":"Microsoft-Windows-Sysmon/Operational","Domain":"NT AUTHORITY","AccountName":"SYSTEM","UserID":"S-1-5-18","AccountType":"User","Message":"Process Create:\r\nRuleName: -\r\nUtcTime: 2026-03-02 09:14:27.123\r\nProcessGuid: {2d351099-5633-69a5-2010-000000000400}\r\nProcessId: 3776\r\nImage: C:\\Windows\\System32\\cmd.exe\r\nFileVersion: 10.0.22621.2506 (WinBuild.160101.0800)\r\nDescription: Windows Command Processor\r\nProduct: Microsoft® Windows® Operating System\r\nCompany: Microsoft Corporation\r\nOriginalFileName: Cmd.Exe\r\nCommandLine: cmd.exe /c dir \"%%TEMP%%\" > C:\\out.txt\r\nCurrentDirectory: C:\\Users\\jdoe\\\r\nUser: CORP\\jdoe\r\nLogonGuid: {2d351099-1000-69a5-cd78-2b0000000000}\r\nLogonId: 0x2B78CD\r\nTerminalSessionId: 2\r\nIntegrityLevel: Medium\r\nHashes: SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18\r\nParentProcessGuid: {2d351099-55f0-69a5-540c-000000000400}\r\nParentProcessId: 5520\r\nParentImage: C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE\r\nParentCommandLine: \"WINWORD.EXE\" /n \"C:\\Users\\jdoe\\plan.docm\"\r\nParentUser: CORP\\jdoe","Category":"Process Create (rule: ProcessCreate)","Opcode":"Info","RuleName":"-","UtcTime":"2026-03-02 09:14:27.123","ProcessGuid":"{2d351099-5633-69a5-2010-000000000400}","ProcessId":"3776","Image":"C:\\Windows\\System32\\cmd.exe","FileVersion":"10.0.22621.2506 (WinBuild.160101.0800)","Description":"Windows Command Processor","Product":"Microsoft® Windows® Operating System","Company":"Microsoft Corporation","OriginalFileName":"Cmd.Exe","CommandLine":"cmd.exe /c dir \"%%TEMP%%\" &gt; C:\\out.txt","CurrentDirectory":"C:\\Users\\jdoe\\","User":"CORP\\jdoe","LogonGuid":"{2d351099-1000-69a5-cd78-2b0000000000}","LogonId":"0x2b78cd","TerminalSessionId":"2","IntegrityLevel":"Medium","Hashes":"SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18","ParentProcessGuid":"{2d351099-55f0-69a5-540c-000000000400}","ParentProcessId":"5520","ParentImage":"C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE","ParentCommandLine":"\"WINWORD.EXE\" /n \"C:\\Users\\jdoe\\plan.docm\"","ParentUser":"CORP\\jdoe","EventReceivedTime":"2026-03-02 09:14:29","SourceModuleName":"eventlog","SourceModuleType":"im_msvistalog"}"#);
}

#[test]
fn sysmon_1_as_winlogbeat_writes_it() {
    insta::assert_snapshot!(record(&sysmon(), Encoding::Winlogbeat, &shell()), @r#"{"@timestamp":"2026-03-02T09:14:27.127Z","@metadata":{"beat":"winlogbeat","type":"_doc","version":"8.17.0"},"agent":{"type":"winlogbeat","version":"8.17.0","name":"WS-0412"},"ecs":{"version":"8.0.0"},"event":{"code":"1","action":"Process Create (rule: ProcessCreate)","created":"2026-03-02T09:14:29.123Z","kind":"event","provider":"Microsoft-Windows-Sysmon"},"host":{"architecture":"x86_64","hostname":"WS-0412","name":"WS-0412.corp.example","os":{"family":"windows","platform":"windows","type":"windows"}},"log":{"level":"information"},"message":"Process Create:\nRuleName: -\nUtcTime: 2026-03-02 09:14:27.123\nProcessGuid: {2d351099-5633-69a5-2010-000000000400}\nProcessId: 3776\nImage: C:\\Windows\\System32\\cmd.exe\nFileVersion: 10.0.22621.2506 (WinBuild.160101.0800)\nDescription: Windows Command Processor\nProduct: Microsoft® Windows® Operating System\nCompany: Microsoft Corporation\nOriginalFileName: Cmd.Exe\nCommandLine: cmd.exe /c dir \"%%TEMP%%\" > C:\\out.txt\nCurrentDirectory: C:\\Users\\jdoe\\\nUser: CORP\\jdoe\nLogonGuid: {2d351099-1000-69a5-cd78-2b0000000000}\nLogonId: 0x2B78CD\nTerminalSessionId: 2\nIntegrityLevel: Medium\nHashes: SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18\nParentProcessGuid: {2d351099-55f0-69a5-540c-000000000400}\nParentProcessId: 5520\nParentImage: C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE\nParentCommandLine: \"WINWORD.EXE\" /n \"C:\\Users\\jdoe\\plan.docm\"\nParentUser: CORP\\jdoe","winlog":{"api":"wineventlog","channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"WS-0412.corp.example","event_data":{"RuleName":"-","UtcTime":"2026-03-02 09:14:27.123","ProcessGuid":"{2d351099-5633-69a5-2010-000000000400}","ProcessId":"3776","Image":"C:\\Windows\\System32\\cmd.exe","FileVersion":"10.0.22621.2506 (WinBuild.160101.0800)","Description":"Windows Command Processor","Product":"Microsoft® Windows® Operating System","Company":"Microsoft Corporation","OriginalFileName":"Cmd.Exe","CommandLine":"cmd.exe /c dir \"%%TEMP%%\" > C:\\out.txt","CurrentDirectory":"C:\\Users\\jdoe\\","User":"CORP\\jdoe","LogonGuid":"{2d351099-1000-69a5-cd78-2b0000000000}","LogonId":"0x2b78cd","TerminalSessionId":"2","IntegrityLevel":"Medium","Hashes":"SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18","ParentProcessGuid":"{2d351099-55f0-69a5-540c-000000000400}","ParentProcessId":"5520","ParentImage":"C:\\Program Files\\Microsoft Office\\root\\Office16\\WINWORD.EXE","ParentCommandLine":"\"WINWORD.EXE\" /n \"C:\\Users\\jdoe\\plan.docm\"","ParentUser":"CORP\\jdoe"},"event_id":"1","opcode":"Info","process":{"pid":3172,"thread":{"id":4688}},"provider_guid":"{5770385f-c22a-43e0-bf4c-06f5698ffbd9}","provider_name":"Microsoft-Windows-Sysmon","record_id":1818951,"task":"Process Create (rule: ProcessCreate)","user":{"identifier":"S-1-5-18","name":"SYSTEM","domain":"NT AUTHORITY","type":"User"},"version":5}}"#);
}

#[test]
fn sysmon_1_as_event_xml() {
    insta::assert_snapshot!(record(&sysmon(), Encoding::EventXml, &shell()), @r#"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon' Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>1</EventID><Version>5</Version><Level>4</Level><Task>1</Task><Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='2026-03-02T09:14:27.1274567Z'/><EventRecordID>1818951</EventRecordID><Correlation/><Execution ProcessID='3172' ThreadID='4688'/><Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>WS-0412.corp.example</Computer><Security UserID='S-1-5-18'/></System><EventData><Data Name='RuleName'>-</Data><Data Name='UtcTime'>2026-03-02 09:14:27.123</Data><Data Name='ProcessGuid'>{2d351099-5633-69a5-2010-000000000400}</Data><Data Name='ProcessId'>3776</Data><Data Name='Image'>C:\Windows\System32\cmd.exe</Data><Data Name='FileVersion'>10.0.22621.2506 (WinBuild.160101.0800)</Data><Data Name='Description'>Windows Command Processor</Data><Data Name='Product'>Microsoft® Windows® Operating System</Data><Data Name='Company'>Microsoft Corporation</Data><Data Name='OriginalFileName'>Cmd.Exe</Data><Data Name='CommandLine'>cmd.exe /c dir "%%TEMP%%" &gt; C:\out.txt</Data><Data Name='CurrentDirectory'>C:\Users\jdoe\</Data><Data Name='User'>CORP\jdoe</Data><Data Name='LogonGuid'>{2d351099-1000-69a5-cd78-2b0000000000}</Data><Data Name='LogonId'>0x2b78cd</Data><Data Name='TerminalSessionId'>2</Data><Data Name='IntegrityLevel'>Medium</Data><Data Name='Hashes'>SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18</Data><Data Name='ParentProcessGuid'>{2d351099-55f0-69a5-540c-000000000400}</Data><Data Name='ParentProcessId'>5520</Data><Data Name='ParentImage'>C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE</Data><Data Name='ParentCommandLine'>"WINWORD.EXE" /n "C:\Users\jdoe\plan.docm"</Data><Data Name='ParentUser'>CORP\jdoe</Data></EventData><RenderingInfo Culture='en-US'><Message>Process Create:&#13;&#10;RuleName: -&#13;&#10;UtcTime: 2026-03-02 09:14:27.123&#13;&#10;ProcessGuid: {2d351099-5633-69a5-2010-000000000400}&#13;&#10;ProcessId: 3776&#13;&#10;Image: C:\Windows\System32\cmd.exe&#13;&#10;FileVersion: 10.0.22621.2506 (WinBuild.160101.0800)&#13;&#10;Description: Windows Command Processor&#13;&#10;Product: Microsoft® Windows® Operating System&#13;&#10;Company: Microsoft Corporation&#13;&#10;OriginalFileName: Cmd.Exe&#13;&#10;CommandLine: cmd.exe /c dir "%%TEMP%%" &gt; C:\out.txt&#13;&#10;CurrentDirectory: C:\Users\jdoe\&#13;&#10;User: CORP\jdoe&#13;&#10;LogonGuid: {2d351099-1000-69a5-cd78-2b0000000000}&#13;&#10;LogonId: 0x2B78CD&#13;&#10;TerminalSessionId: 2&#13;&#10;IntegrityLevel: Medium&#13;&#10;Hashes: SHA1=DF79C86FDD11B9CCB89148458E509F879C72566C,MD5=D7AB69FAD18D4A643D84A271DFC0DBDF,SHA256=FF79D3C4A0B7EB191783C323AB8363EBD1FD10BE58D8BCC96B07067743CA81D5,IMPHASH=272245E2988E1E430500B852C4FB5E18&#13;&#10;ParentProcessGuid: {2d351099-55f0-69a5-540c-000000000400}&#13;&#10;ParentProcessId: 5520&#13;&#10;ParentImage: C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE&#13;&#10;ParentCommandLine: "WINWORD.EXE" /n "C:\Users\jdoe\plan.docm"&#13;&#10;ParentUser: CORP\jdoe</Message><Level>Information</Level><Task>Process Create (rule: ProcessCreate)</Task><Opcode>Info</Opcode><Channel>Microsoft-Windows-Sysmon/Operational</Channel><Provider></Provider><Keywords></Keywords></RenderingInfo></Event>"#);
}

#[test]
fn natural_keys_and_frames() {
    let w = sysmon().writer(Encoding::Nxlog, Options::default()).unwrap();
    let mut out = vec![];
    w.natural_key(&shell(), &AllOn, &mut out);
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"WS-0412.corp.example|Microsoft-Windows-Sysmon/Operational|1818951"#);
    let rows = load(ROWS).unwrap();
    let s = rows.get("t.rows").unwrap();
    let w = s.writer(Encoding::DefenderEventhub, Options::default()).unwrap();
    let mut out = vec![];
    w.open(&mut out);
    for (i, kind) in [Kind::ProcessStart, Kind::ProcessEnd].into_iter().enumerate() {
        if i > 0 {
            w.between(&mut out);
        }
        w.render(s.events_for(kind)[0], &MapView { kind, ..shell() }, &AllOn, &mut out);
    }
    w.close(&mut out);
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<Js>(&text).unwrap();
    insta::assert_snapshot!(text, @r#"{"records":[{"time":"2026-03-02T09:14:29.1234567Z","tenantId":"","operationName":"Publish","category":"AdvancedHunting-T","_TimeReceivedBySvc":"2026-03-02T09:14:27.1274567Z","properties":{"Timestamp":"2026-03-02T09:14:27.1234567Z","ProcessId":3776,"SessionId":null,"Elevated":null,"Level":"M","Who":{"name":"jdoe","parent":"jdoe"},"List":[null,3776,"x"],"Note":"jdoe","Maybe":5520,"Kind":"start"},"Tenant":"DefaultTenant"},{"time":"2026-03-02T09:14:29.1234567Z","tenantId":"","operationName":"Publish","category":"AdvancedHunting-T","_TimeReceivedBySvc":"2026-03-02T09:14:27.1274567Z","properties":{"Timestamp":"2026-03-02T09:14:27.1234567Z","ProcessId":3776,"SessionId":null,"Elevated":null,"Level":"M","Who":{"name":"jdoe","parent":"jdoe"},"List":[null,3776,"x"],"Note":"jdoe","Maybe":5520,"Kind":17},"Tenant":"DefaultTenant"}]}"#);
}

const ROWS: &str = r#"
source: t.rows
platform: windows
category: AdvancedHunting-T
encodings: [defender_row, defender_eventhub]
key: [host.device_id, record.id | dec]
tables:
  level: {Medium: M, else: other}
events:
  - on: [process.start, process.end]
    id: Row
    data:
      Timestamp: time.event | iso:7
      ProcessId: process.pid | number
      SessionId: process.parent.session.id | number
      Elevated: logon.elevated | boolean or null
      Level: process.integrity_level | table:level
      Who: {name: process.user.name, sid?: process.user.id, parent?: process.parent.user.name}
      List: [process.name or null, process.pid | number, "'x'"]
      Note: "'a' + process.name + 'b' or process.user.name"
      Maybe?: process.parent.pid | number or null
      Kind: "'start' if kind == process.start else 17"
"#;

#[test]
fn a_row_has_types_nesting_and_options() {
    let c = load(ROWS).unwrap();
    insta::assert_snapshot!(record(c.get("t.rows").unwrap(), Encoding::DefenderRow, &shell()), @r#"{"Timestamp":"2026-03-02T09:14:27.1234567Z","ProcessId":3776,"SessionId":null,"Elevated":null,"Level":"M","Who":{"name":"jdoe","parent":"jdoe"},"List":[null,3776,"x"],"Note":"jdoe","Maybe":5520,"Kind":"start"}"#);
    let other = MapView { kind: Kind::ProcessEnd, fields: [(Field::ProcName, Value::Text("n"))].into() };
    insta::assert_snapshot!(record(c.get("t.rows").unwrap(), Encoding::DefenderRow, &other), @r#"{"Timestamp":"","ProcessId":null,"SessionId":null,"Elevated":null,"Level":"","Who":{"name":""},"List":["n",null,"x"],"Note":"anb","Maybe":null,"Kind":17}"#);
}

#[test]
fn static_fields_and_labels_are_appended() {
    let s = sysmon();
    let fields = [("index".to_owned(), serde_json::json!("main")), ("tags".to_owned(), serde_json::json!(["a", "b"]))];
    let w = s.writer(Encoding::Nxlog, Options { fields: &fields, labels: true }).unwrap();
    let mut view = shell();
    view.fields.insert(Field::TruthAttack, Value::Bool(true));
    view.fields.insert(Field::TruthScenario, Value::Text("ransomware.x"));
    let mut out = vec![];
    w.render(EventIndex(0), &view, &AllOn, &mut out);
    let v: Js = serde_json::from_slice(&out).unwrap();
    assert_eq!((&v["index"], &v["tags"][1]), (&Js::from("main"), &Js::from("b")));
    assert_eq!((&v["truth.attack"], &v["truth.scenario"]), (&Js::from(true), &Js::from("ransomware.x")));
    assert!(v.get("truth.technique").is_none());
    let no = s.writer(Encoding::EventXml, Options { fields: &fields, labels: false }).unwrap_err();
    insta::assert_snapshot!(no, @r#"encoding `event_xml` has no place for static fields or labels"#);
    insta::assert_snapshot!(s.writer(Encoding::DefenderRow, Options::default()).unwrap_err(), @r#"source `windows.sysmon` has no encoding `defender_row`; it has `event_xml`, `event_xml_plain`, `winlogbeat`, `nxlog`"#);
}

#[test]
fn a_message_has_its_own_spelling() {
    let text = r#"
source: t.own
platform: windows
product: {name: P}
channel: C
encodings: [winlogbeat]
key: [record.id | dec]
tables:
  yes_no: {true: ['%%1842', 'Yes'], false: ['%%1843', 'No']}
  access: {4416: ReadData, 4417: 'WriteData {x}'}
events:
  - on: logon.start
    id: 1
    data:
      LogonId: logon.id | hex_int
      Elevated: logon.elevated | table:yes_no
      Access: access.list | codes:access
      Groups: 'logon.groups | each:"\r\n\t\t%{*}"'
      Privileges: 'logon.privileges | lines:"\r\n\t\t\t"'
      Process: process.executable | file_name | upper
      Empty: process.name
    message: |
      Id {LogonId} {{braces}} {logon.id | hex} {Elevated}
      {Access}{Process | lower}|{LogonId}
"#;
    let view = MapView {
        kind: Kind::LogonStart,
        fields: [
            (Field::LogonId, Value::Uint(0xabc)),
            (Field::LogonElevated, Value::Bool(true)),
            (Field::AccessList, Value::Text("%%4416\r\n\t\t\t\t%%4499\r\n\t\t\t\t%%4417")),
            (Field::LogonGroups, Value::Text("S-1-1-0\nS-1-5-11")),
            (Field::LogonPrivileges, Value::Text("SeA\nSeB")),
            (Field::ProcExecutable, Value::Text(r"C:\a\Lsass.exe")),
        ]
        .into(),
    };
    let c = load(text).unwrap();
    let v: Js = serde_json::from_str(&record(c.get("t.own").unwrap(), Encoding::Winlogbeat, &view)).unwrap();
    insta::assert_json_snapshot!(v["winlog"]["event_data"], @r#"
    {
      "LogonId": "0xabc",
      "Elevated": "%%1842",
      "Access": "%%4416\n\t\t\t\t%%4499\n\t\t\t\t%%4417",
      "Groups": "\n\t\t%{S-1-1-0}\n\t\t%{S-1-5-11}",
      "Privileges": "SeA\n\t\t\tSeB",
      "Process": "LSASS.EXE"
    }
    "#);
    insta::assert_json_snapshot!(v["message"], @r#""Id 0xABC {braces} 0xabc Yes\nReadData\n\t\t\t\t%%4499\n\t\t\t\tWriteData {x}lsass.exe|0xABC""#);
}

/// Texts as users and attackers write them.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,60}", r#"[\\"'<>&%a\r\n\t é𝄞]{0,40}"#]
}

fn xml_legal(s: &str) -> String {
    let legal =
        |c: &char| matches!(*c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    s.chars().filter(legal).collect()
}

proptest! {
    #[test]
    fn any_text_survives_json(command in any_text(), user in any_text()) {
        let s = sysmon();
        let mut view = shell();
        let doubled = command.replace('%', "%%");
        let leak = |s: &str| -> &'static str { Box::leak(s.to_owned().into_boxed_str()) };
        view.fields.insert(Field::ProcCommandLine, Value::Text(leak(&command)));
        view.fields.insert(Field::ProcUser, Value::Text(leak(&user)));
        let beat: Js = serde_json::from_str(&record(&s, Encoding::Winlogbeat, &view)).unwrap();
        let data = &beat["winlog"]["event_data"];
        if !command.is_empty() {
            prop_assert_eq!(data["CommandLine"].as_str().unwrap(), doubled.replace("\r\n", "\n"));
        }
        prop_assert_eq!(data["User"].as_str().unwrap(), format!("CORP\\{}", user.replace("\r\n", "\n")));
        let flat: Js = serde_json::from_str(&record(&s, Encoding::Nxlog, &view)).unwrap();
        let line = format!("CommandLine: {doubled}\r\n");
        prop_assert!(flat["Message"].as_str().unwrap().contains(&line));
        if !command.is_empty() {
            let entities: String = doubled.chars().map(|c| match c {
                '<' => "&lt;".into(),
                '>' => "&gt;".into(),
                '&' => "&amp;".into(),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(flat["CommandLine"].as_str().unwrap(), entities);
        }
    }

    #[test]
    fn any_legal_text_survives_xml(command in any_text()) {
        let command = xml_legal(&command);
        let s = sysmon();
        let mut view = shell();
        view.fields.insert(Field::ProcCommandLine, Value::Text(Box::leak(command.clone().into_boxed_str())));
        let text = record(&s, Encoding::EventXml, &view);
        let doc = roxmltree::Document::parse(&text).unwrap();
        prop_assert!(!text.contains(['\r', '\n']));
        let want = command.replace('%', "%%");
        let value = |name: &str| {
            let node = doc.descendants().find(|n| n.attribute("Name") == Some(name)).unwrap();
            node.text().unwrap_or("").to_owned()
        };
        prop_assert_eq!(value("CommandLine"), want.clone());
        prop_assert_eq!(value("ProcessGuid"), "{2d351099-5633-69a5-2010-000000000400}");
        let message = doc.descendants().find(|n| n.has_tag_name(("http://schemas.microsoft.com/win/2004/08/events/event", "Message"))).unwrap();
        let line = format!("\r\nCommandLine: {want}\r\nCurrentDirectory: ");
        prop_assert!(message.text().unwrap().contains(&line));
    }
}

#[test]
fn every_record_of_every_source_parses_full_and_empty() {
    for s in built_in().iter() {
        for encoding in &s.encodings {
            let w = s.writer(*encoding, Options::default()).unwrap();
            for (i, e) in s.events.iter().enumerate() {
                for view in e.on.iter().flat_map(|k| [sample::full(*k), sample::empty(*k)]) {
                    let mut out = vec![];
                    w.render(EventIndex(i as u16), &view, &AllOn, &mut out);
                    let text = String::from_utf8(out).unwrap();
                    let what = format!("{} {} {encoding}: {text}", s.id, e.id());
                    if matches!(*encoding, Encoding::EventXml | Encoding::EventXmlPlain) {
                        roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}: {what}"));
                    } else {
                        serde_json::from_str::<Js>(&text).unwrap_or_else(|e| panic!("{e}: {what}"));
                    }
                }
            }
        }
    }
}
