//! Nanoseconds a record and megabytes a second on one core, for single events and for a mix.
//!
//! `cargo bench --bench render [FILTER]`. The view is an array, so that the figures are the renderer's own. Beside them
//! stands the memory bandwidth of plain copies of the same size.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use skirmish::activity::{Entity, Field, Kind, Value, View};
use skirmish::source::{AllOn, Catalogue, Encoding, EventIndex, Options, Source, Writer};
use skirmish::time::Time;
use skirmish::yaml;

/// Rounds of a measurement; the fastest counts, and short ones escape a busy machine.
const ROUNDS: usize = 300;
/// Records a round.
const RECORDS: usize = 2_000;

struct ArrayView {
    kind: Kind,
    fields: Vec<Value<'static>>,
}

impl View for ArrayView {
    fn kind(&self) -> Kind {
        self.kind
    }
    #[inline]
    fn get(&self, field: Field) -> Value<'_> {
        self.fields[field as usize]
    }
}

fn text(f: Field) -> &'static str {
    let name = f.name();
    match name {
        _ if name.ends_with("command_line") => {
            r#""C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe" -NoProfile -ExecutionPolicy Bypass -File "C:\ProgramData\Inventory\Collect-Software.ps1" -Server inv01.corp.example -Days 7"#
        }
        _ if name.ends_with("executable") => r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        _ if name.ends_with("working_directory") => r"C:\Windows\system32\",
        _ if name.ends_with("sha256") => "9F914D42706FE215501044ACD85A32D58AAEF1419D404FDDFA5D3B48F66CCD9F",
        _ if name.ends_with("sha1") => "36C5D12033B2EAF251BAE61C00690FFB17FDDC87",
        _ if name.ends_with("md5") => "CDA48FC75952AD12D99E526D0B6BF70A",
        _ if name.ends_with("imphash") => "A7CEFACDDA74B13CD330390769752481",
        _ if name.ends_with("file_version") => "10.0.22621.3085 (WinBuild.160101.0800)",
        _ if name.ends_with("product") => "Microsoft® Windows® Operating System",
        _ if name.ends_with("company") => "Microsoft Corporation",
        _ if name.ends_with("description") => "Windows PowerShell",
        _ if name.ends_with("call_trace") => {
            r"C:\Windows\SYSTEM32\ntdll.dll+9d234|C:\Windows\System32\KERNELBASE.dll+2c13e|C:\Windows\System32\sechost.dll+1f1c2|C:\Windows\System32\services.exe+1a2b3|C:\Windows\System32\KERNEL32.DLL+1257d|C:\Windows\SYSTEM32\ntdll.dll+5aa58"
        }
        _ if name.ends_with("user.id") => "S-1-5-21-2511471446-1103646877-3980648787-1106",
        _ if name.contains("registry") => {
            r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
        }
        _ if name.ends_with("path") => r"C:\Windows\System32\wbem\WmiPerfInst.dll",
        "host.name" => "WS-0412.corp.example",
        "host.hostname" => "WS-0412",
        _ => "CORP-Value",
    }
}

fn view(kind: Kind) -> ArrayView {
    let fields = Field::ALL.iter().map(|f| {
        use skirmish::activity::Type;
        match f.ty() {
            Type::Text => Value::Text(text(*f)),
            Type::Uint => Value::Uint(5624),
            Type::Bool => Value::Bool(true),
            Type::Time => Value::Time(Time(1_772_438_400_123_456_700)),
            Type::Guid => Value::Guid([7; 16]),
            Type::Entity => {
                Value::Entity(Entity { machine: 0x564f_f025, second: 0x62fe_44fd, key: 0x0006_0000_0000_049f })
            }
            Type::Ip => Value::Ip(IpAddr::V4(Ipv4Addr::new(10, 20, 3, 44))),
        }
    });
    ArrayView { kind, fields: fields.collect() }
}

/// Nanoseconds and bytes a record.
fn measure(writer: &Writer, events: &[(EventIndex, ArrayView)]) -> (f64, usize) {
    let mut out = Vec::with_capacity(8 << 20);
    let mut best = f64::MAX;
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        bytes = 0;
        let start = Instant::now();
        for i in 0..RECORDS {
            if out.len() > 4 << 20 {
                bytes += out.len();
                out.clear();
            }
            let (event, view) = &events[i % events.len()];
            writer.render(*event, black_box(view), &AllOn, &mut out);
        }
        black_box(&out);
        bytes += out.len();
        out.clear();
        best = best.min(start.elapsed().as_nanos() as f64 / RECORDS as f64);
    }
    (best, bytes / RECORDS)
}

/// Megabytes a second of copying blocks of that size into an arena.
fn memcpy(size: usize) -> f64 {
    let block = vec![b'x'; size];
    let mut out: Vec<u8> = Vec::with_capacity(8 << 20);
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..RECORDS {
            if out.len() > 4 << 20 {
                out.clear();
            }
            out.extend_from_slice(black_box(&block));
        }
        black_box(&out);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (size * RECORDS) as f64 / best / 1e6
}

fn events(source: &Source, ids: &[&str]) -> Vec<(EventIndex, ArrayView)> {
    let mut out = vec![];
    for id in ids {
        let i = source.events.iter().position(|e| e.id() == *id);
        let Some(i) = i else { continue };
        out.push((EventIndex(i as u16), view(source.events[i].on[0])));
    }
    out
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let mut docs = vec![];
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sources")).expect("sources") {
        docs.extend(yaml::read(&entry.expect("an entry").path()).unwrap_or_else(|p| panic!("{p}")));
    }
    let all = Catalogue::load(&docs).unwrap_or_else(|p| panic!("{p}"));
    println!("{:<52} {:>8} {:>8} {:>9} {:>12} {:>12}", "record", "bytes", "ns", "MB/s", "records/s", "memcpy MB/s");
    let sysmon: &[&str] = &["1", "3", "5", "7", "10", "11", "12", "13", "17", "18", "22", "23"];
    let cases: &[(&str, &[&str])] = &[
        ("windows.sysmon", &["1"]),
        ("windows.sysmon", &["10"]),
        ("windows.sysmon", &["13"]),
        ("windows.sysmon", sysmon),
        ("windows.security", &["4688"]),
        ("windows.security", &["4624"]),
        (
            "windows.security",
            &["4624", "4625", "4634", "4648", "4656", "4658", "4663", "4672", "4688", "4689", "5156", "5158"],
        ),
        ("defender.device_process", &["ProcessCreated"]),
    ];
    for (id, ids) in cases {
        let Some(source) = all.get(id) else { continue };
        for encoding in Encoding::ALL.iter().filter(|e| source.encodings.contains(e)) {
            let which = if ids.len() == 1 { ids[0].to_owned() } else { format!("mix of {}", ids.len()) };
            let name = format!("{id} {which} {encoding}");
            let chosen = events(source, ids);
            if chosen.is_empty() || !name.contains(&filter) {
                continue;
            }
            let writer = source.writer(*encoding, Options::default()).expect("its own encoding");
            let (ns, bytes) = measure(&writer, &chosen);
            let (mb, rate) = (bytes as f64 / ns * 1e3, 1e9 / ns);
            println!("{name:<52} {bytes:>8} {ns:>8.0} {mb:>9.0} {rate:>12.0} {:>12.0}", memcpy(bytes));
        }
    }
}
