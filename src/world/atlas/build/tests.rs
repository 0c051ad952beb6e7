use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        lunch: (11.8, 13.6),
        home: 0.2,
        evening: 0.1,
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
    let data = data();
    let data = Arc::new(data);
    let base = Base::new(&data);
    let config = Config { seed, hosts, ..Config::default() };
    build(&config, &data, &personas(), &base, &Library::default()).unwrap_or_else(|e| panic!("{e}"))
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

#[test]
fn every_sketch_of_the_reference_loads() {
    let text = include_str!("../../../../docs/world.md");
    let blocks = text.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap());
    let mut all = docs();
    let mut count = 0;
    for (i, block) in blocks.enumerate() {
        all.extend(yaml::parse(&format!("docs/world.md#{i}"), block).unwrap_or_else(|e| panic!("{e}")));
        count += 1;
    }
    assert!(count >= 10, "{count} sketches");
    let data = WorldData::load(&all).unwrap_or_else(|e| panic!("{e}"));
    let data = Arc::new(data);
    let base = Base::new(&data);
    let (atlas, mut names) =
        build(&Config { hosts: 80, ..Config::default() }, &data, &personas(), &base, &Library::default()).unwrap();
    let acmed = names.name("acmed.exe");
    let with: Vec<usize> = (0..80).filter(|h| atlas.program(HostId(*h as u32), acmed).is_some()).collect();
    assert!(!with.is_empty(), "nobody has the package of the first sketch");
    for h in with {
        let os = &atlas.oses[atlas.hosts[h].os as usize];
        assert!(os.server && os.platform == Platform::Windows, "{} has a server's agent", atlas.hosts[h].name);
        let path = &atlas.image(atlas.program(HostId(h as u32), acmed).unwrap()).path;
        assert!(path.starts_with(r"C:\Program Files\Acme\Agent\4."), "{path}");
    }
    assert!(atlas.hosts.iter().any(|h| h.name.starts_with("KIOSK")), "no host of the role of the sketch");
}

#[test]
fn one_file_has_one_identity() {
    let (atlas, _) = world(9, 400);
    let mut seen: std::collections::BTreeMap<(String, String, bool), [&Text; 4]> = Default::default();
    let mut check = |name: &str, version: &Text, x86: bool, hashes| {
        let one = seen.entry((name.to_ascii_lowercase(), version.to_string(), x86)).or_insert(hashes);
        assert_eq!(*one, hashes, "{name} {version}");
    };
    for i in atlas.images.iter().filter(|i| &*i.file_version != "-") {
        check(&i.name, &i.file_version, i.wow64, [&i.md5, &i.sha1, &i.sha256, &i.imphash]);
    }
    for m in &atlas.modules {
        let name = m.path.rsplit('\\').next().unwrap();
        assert!(m.path.contains('\\') || m.path.starts_with('/'), "{} has no folder", m.path);
        let x86 = m.path.contains("SysWOW64") || m.path.contains(r"\Framework\") || m.path.contains(r"_32\");
        if !x86 && !m.path.contains("x86") && !name.ends_with(".exe") {
            check(name, &m.file_version, false, [&m.md5, &m.sha1, &m.sha256, &m.imphash]);
        }
    }
}

#[test]
fn systems_of_one_build_have_the_same_components() {
    let (atlas, names) = world(9, 700);
    let level = |family: &str, revision: u32| {
        atlas.oses.iter().position(|o| &*o.family == family && o.revision == revision).unwrap() as u16
    };
    for (client, server) in [(7462, 7462), (7623, 7623)] {
        let (a, b) = (level("windows_11_24h2", client), level("windows_server_2025", server));
        for m in ["ntdll.dll", "kernel32.dll", "lsasrv.dll", "combase.dll", "taskschd.dll"] {
            let (x, y) = (atlas.system_module(a, m).unwrap(), atlas.system_module(b, m).unwrap());
            let (x, y) = (atlas.module(x), atlas.module(y));
            assert_eq!((&x.file_version, &x.sha256), (&y.file_version, &y.sha256), "{m}");
        }
        let find = |os: u16, name: &str| {
            let n = names.names.iter().position(|x| **x == *name).unwrap() as u16;
            let i = atlas.bases[os as usize].iter().find(|e| e.0 == n).unwrap().1;
            (atlas.image(i).file_version.clone(), atlas.image(i).sha256.clone())
        };
        for program in ["cmd.exe", "svchost.exe", "powershell.exe"] {
            assert_eq!(find(a, program), find(b, program));
        }
    }
    // and components of one level differ among themselves
    let of =
        |m: &str| atlas.module(atlas.system_module(level("windows_11_24h2", 7623), m).unwrap()).file_version.clone();
    let versions: std::collections::BTreeSet<_> =
        ["ntdll.dll", "kernel32.dll", "lsasrv.dll", "combase.dll", "taskschd.dll", "msvcrt.dll"].map(of).into();
    assert!(versions.len() >= 3, "{versions:?}");
}

#[test]
fn agents_stand_where_they_belong() {
    let (atlas, names) = world(4, 700);
    let has = |h: u32, program: &str| {
        let n = names.names.iter().position(|x| **x == *program);
        n.is_some_and(|n| atlas.program(HostId(h), n as u16).is_some())
    };
    let mut vmware = 0;
    for (i, h) in atlas.hosts.iter().enumerate() {
        let os = &atlas.oses[h.os as usize];
        let linux = os.platform == Platform::Linux;
        for agent in ["monitoringhost.exe", "zabbix_agent2.exe", "veeamagent.exe"] {
            assert!(!has(i as u32, agent) || os.server && !linux, "{} has {agent}", h.name);
        }
        let tools = has(i as u32, "vmtoolsd.exe");
        assert_eq!(tools, &*h.maker == "vmware" && !linux, "{}", h.name);
        vmware += u32::from(tools);
        assert_eq!(has(i as u32, "supportassistagent.exe"), &*h.maker == "dell" && !os.server, "{}", h.name);
    }
    assert!(vmware > 5);
    // one VPN client for the whole company
    let clients = ["vpnagent.exe", "pangps.exe", "ovpnhelper_service.exe"];
    let kinds = clients.iter().filter(|c| (0..700).any(|h| has(h, c))).count();
    assert_eq!(kinds, 1);
}
