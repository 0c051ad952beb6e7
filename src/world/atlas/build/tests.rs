use std::path::{Path, PathBuf};

use super::*;
use crate::yaml;

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn docs() -> Vec<yaml::Node> {
    let mut list = vec![];
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("world"), &mut list);
    list.iter().flat_map(|f| yaml::read(f).unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn data() -> WorldData {
    WorldData::load(&docs()).unwrap_or_else(|e| panic!("{e}"))
}

fn personas() -> Vec<Persona> {
    let one = |id: &str, share, department: &str, admin| Persona {
        id: id.into(),
        hours: (8.5, 17.5),
        presence: [0.9, 0.05, 0.02],
        night: 0.0,
        departments: vec![(department.into(), 3), ("Operations".into(), 1)],
        share,
        admin,
        local_admin: admin,
    };
    vec![
        one("office", 5.0, "Sales", false),
        one("finance", 1.5, "Finance", false),
        one("developer", 1.5, "Engineering", false),
        one("helpdesk", 0.5, "IT", true),
        one("domain_admin", 0.3, "IT", true),
        one("executive", 0.2, "Management", false),
    ]
}

fn world(seed: u64, hosts: usize) -> (Atlas, Library) {
    let mut names = Library::default();
    let config = Config { seed, hosts, ..Config::default() };
    let atlas = build(&config, &data(), &personas(), &mut names).unwrap_or_else(|e| panic!("{e}"));
    (atlas, names)
}

#[test]
fn same_seed_same_atlas() {
    let json = |(a, l): (Atlas, Library)| (serde_json::to_string(&a).unwrap(), l.names);
    assert!(json(world(7, 60)) == json(world(7, 60)));
    assert!(json(world(7, 60)) != json(world(8, 60)));
}

#[test]
fn every_boot_program_has_an_image_and_an_earlier_parent() {
    let (atlas, names) = world(3, 120);
    for (i, host) in atlas.hosts.iter().enumerate() {
        let boot = &atlas.boots[host.boot as usize].processes;
        let os = &atlas.oses[host.os as usize];
        if os.platform == Platform::Windows {
            assert!(boot.len() > 45, "{} has {} processes", host.name, boot.len());
        }
        for (k, process) in boot.iter().enumerate() {
            let program = &names.names[process.program as usize];
            assert!(atlas.program(HostId(i as u32), process.program).is_some(), "{} lacks {program}", host.name);
            assert!(process.parent < k as u16 || k == 0 && process.parent == 0, "{program} comes before its parent");
            assert!(k == 0 || !process.command_line.is_empty(), "{program} has no command line");
        }
    }
}

#[test]
fn names_addresses_and_sids_are_unique() {
    let (atlas, _) = world(11, 700);
    let mut seen = std::collections::BTreeSet::new();
    for h in &atlas.hosts {
        let facts = [
            h.name.to_string(),
            h.ip.to_string(),
            h.mac.to_string(),
            h.machine_guid.to_string(),
            h.machine_part.to_string(),
            h.device_id.to_string(),
        ];
        for fact in facts {
            assert!(seen.insert(fact.clone()), "{fact} twice");
        }
        assert!(h.name.len() <= 15);
    }
    for a in &atlas.accounts {
        assert!(seen.insert(a.sid.to_string()), "{} twice", a.sid);
        assert!(seen.insert(format!(r"{}\{}", a.domain, a.name).to_lowercase()), r"{}\{} twice", a.domain, a.name);
        assert!(a.name.is_ascii() && a.upn.is_ascii(), "{}", a.name);
    }
}

#[test]
fn a_larger_world_has_the_smaller_ones_hosts() {
    let (small, _) = world(5, 40);
    let (large, _) = world(5, 90);
    let identity = |a: &Atlas, h: &Host| {
        let owner = h.owner.map(|o| a.account(o).clone());
        (
            h.name.clone(),
            h.ip,
            h.mac.clone(),
            h.machine_guid.clone(),
            h.sid.clone(),
            h.cell,
            owner.map(|o| (o.name, o.sid)),
        )
    };
    let all: Vec<_> = large.hosts.iter().map(|h| identity(&large, h)).collect();
    for h in &small.hosts {
        let one = identity(&small, h);
        assert!(all.contains(&one), "{one:?}");
    }
}

#[test]
fn hosts_of_a_cell_stand_together_and_are_even() {
    let (atlas, _) = world(5, 101);
    let sizes: Vec<u32> = (0..atlas.cells).map(|c| atlas.hosts_of_cell(c).len() as u32).collect();
    assert_eq!(sizes.iter().sum::<u32>(), 101);
    assert!(sizes.iter().all(|n| (6..=7).contains(n)), "{sizes:?}");
    for (i, h) in atlas.hosts.iter().enumerate() {
        assert!(atlas.hosts_of_cell(h.cell).contains(&(i as u32)));
    }
    for (i, a) in atlas.accounts.iter().enumerate().filter(|(_, a)| a.kind == AccountKind::Machine) {
        let host = a.host.unwrap();
        assert_eq!(atlas.host(host).account, AccountId(i as u32));
    }
}

#[test]
fn a_small_world_has_its_servers() {
    let (two, _) = world(1, 2);
    let roles = |a: &Atlas| a.hosts.iter().map(|h| a.roles[h.role as usize].to_string()).collect::<Vec<_>>();
    let mut r = roles(&two);
    r.sort();
    assert_eq!(r, ["domain_controller", "workstation"]);
    let (some, _) = world(1, 16);
    let count = |role: &str| roles(&some).iter().filter(|r| *r == role).count();
    assert_eq!(count("domain_controller"), 2);
    for role in ["file_server", "database_server", "web_server", "mail_server", "jump_server", "laptop"] {
        assert!(count(role) >= 1, "no {role}");
    }
    for h in &some.hosts {
        assert_eq!(&*some.roles[some.host(h.dc).role as usize], "domain_controller");
        assert_eq!(&*some.roles[some.host(h.file_server).role as usize], "file_server");
        assert!(h.booted < some.start);
    }
}
