//! What runs after boot, as written.

use crate::time::Span;
use crate::world::atlas::Text;
use crate::yaml::{Node, Problems};

use super::{Known, Only, texts};

/// Account and session a boot process runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// NT AUTHORITY\SYSTEM in session 0.
    System,
    /// NT AUTHORITY\LOCAL SERVICE.
    LocalService,
    /// NT AUTHORITY\NETWORK SERVICE.
    NetworkService,
    /// SYSTEM in the console session.
    Console,
    /// Window Manager\DWM-1.
    Dwm,
    /// Font Driver Host\UMFD-0.
    Umfd0,
    /// Font Driver Host\UMFD-1.
    Umfd1,
    /// The owner of the machine.
    Owner,
    /// A service account of the forest, or a virtual account such as `NT SERVICE\MSSQLSERVER`.
    Named(Text),
}

impl Place {
    /// Reads the name of an account.
    pub fn named(text: &str) -> Place {
        match text {
            "system" => Place::System,
            "local_service" => Place::LocalService,
            "network_service" => Place::NetworkService,
            "console" => Place::Console,
            "dwm" => Place::Dwm,
            "umfd0" => Place::Umfd0,
            "umfd1" => Place::Umfd1,
            "owner" => Place::Owner,
            name => Place::Named(name.into()),
        }
    }
}

/// A process after boot.
#[derive(Clone, Debug)]
pub struct BootRow {
    /// Name that children refer to.
    pub name: Text,
    /// File name of the program.
    pub program: Text,
    /// Name of its parent; its own for System.
    pub parent: Text,
    /// Where the parent is written.
    pub node: Node,
    /// Command line, or for service hosts the registered one.
    pub run: Text,
    /// Account and session.
    pub place: Place,
    /// Keys of its services.
    pub services: Vec<Text>,
    /// A service host with one service of its group: `-s Key` stands at the end.
    pub split: bool,
    /// After boot or logon.
    pub after: Span,
    /// Ends soon.
    pub exits: bool,
    /// Runs in an app container.
    pub container: bool,
    /// Where it runs.
    pub only: Only,
}

/// Processes that belong together.
#[derive(Clone, Debug)]
pub struct BootSet {
    /// Its id.
    pub id: Text,
    /// Lower ones first.
    pub order: u32,
    /// Where it applies.
    pub only: Only,
    /// Package it comes with.
    pub package: Option<Text>,
    /// It runs in each session of Remote Desktop instead.
    pub remote: bool,
    /// Its programs start when they are called for.
    pub called: bool,
    /// Processes, parents first.
    pub rows: Vec<BootRow>,
}

impl BootSet {
    pub(super) fn read(id: &str, doc: &Node, known: &Known, p: &mut Problems) -> Option<BootSet> {
        let f = doc.fields(p, "boot processes")?;
        f.take("boot");
        let order = f.take("order").and_then(|n| n.number(p, "`order`")).unwrap_or(50);
        let only = known.only(f.take("only"), p);
        let remote = f.take("remote").and_then(|n| n.boolean(p, "`remote`")).unwrap_or(false);
        let called = f.take("called").and_then(|n| n.boolean(p, "`called`")).unwrap_or(false);
        let rows = f.need(p, "processes").map_or(vec![], |n| rows(n, known, p));
        f.finish(p);
        Some(BootSet { id: id.into(), order, only, package: None, remote, called, rows })
    }
    pub(super) fn of_package(id: &str, node: &Node, known: &Known, p: &mut Problems) -> BootSet {
        let rows = rows(node, known, p);
        BootSet {
            id: format!("software.{id}").into(),
            order: 60,
            only: Only::default(),
            package: Some(id.into()),
            remote: false,
            called: false,
            rows,
        }
    }
}

fn rows(list: &Node, known: &Known, p: &mut Problems) -> Vec<BootRow> {
    let mut out = vec![];
    for node in list.items() {
        if node.get("svchost").is_some() {
            service_hosts(node, known, &mut out, p);
        } else {
            out.extend(process(node, known, p));
        }
    }
    out
}

fn process(node: &Node, known: &Known, p: &mut Problems) -> Option<BootRow> {
    let f = node.fields(p, "a boot process")?;
    let program = f.need(p, "program").and_then(|n| n.text(p, "`program`").map(Text::from));
    let name = f.take("as").and_then(|n| n.text(p, "`as`").map(Text::from));
    let parent_node = f.take("in");
    let run = f.take("run").and_then(|n| n.text(p, "`run`")).unwrap_or("").into();
    let place = f.take("account").and_then(|n| n.text(p, "`account`")).map_or(Place::System, Place::named);
    let services = texts(f.take("services"), p, "a service");
    let after = f.take("after").and_then(|n| n.span(p, "`after`")).unwrap_or(Span::ZERO);
    let exits = f.take("exits").and_then(|n| n.boolean(p, "`exits`")).unwrap_or(false);
    let container = f.take("container").and_then(|n| n.boolean(p, "`container`")).unwrap_or(false);
    let only = known.only(f.take("only"), p);
    f.finish(p);
    let program = program?;
    let name = name.unwrap_or_else(|| {
        let lower = program.to_ascii_lowercase();
        lower.strip_suffix(".exe").unwrap_or(&lower).into()
    });
    let parent = parent_node.and_then(|n| n.text(p, "`in`").map(Text::from)).unwrap_or_else(|| name.clone());
    let node = parent_node.unwrap_or(node).clone();
    Some(BootRow { name, program, parent, node, run, place, services, split: false, after, exits, container, only })
}

/// `{svchost: [A, B, [C, D]], from: 4s, to: 30s}`: a service host for each item, spread over that time.
fn service_hosts(node: &Node, known: &Known, out: &mut Vec<BootRow>, p: &mut Problems) {
    let Some(f) = node.fields(p, "service hosts") else { return };
    let items = f.take("svchost").map_or(&[][..], Node::items);
    let from = f.take("from").and_then(|n| n.span(p, "`from`")).unwrap_or(Span::ZERO);
    let to = f.take("to").and_then(|n| n.span(p, "`to`")).unwrap_or(from);
    let only = known.only(f.take("only"), p);
    f.finish(p);
    for (i, item) in items.iter().enumerate() {
        let services = texts(Some(item), p, "a service");
        let Some(first) = services.first() else { continue };
        let share = (i as i64, items.len().max(1) as i64);
        out.push(BootRow {
            name: format!("svchost.{first}").into(),
            program: "svchost.exe".into(),
            parent: "services".into(),
            node: item.clone(),
            run: "".into(),
            place: Place::System,
            split: item.as_str().is_some(),
            services,
            after: from + Span((to.0 - from.0) / share.1 * share.0),
            exits: false,
            container: false,
            only: only.clone(),
        });
    }
}
