//! The tables of the world: one file has one identity, software stands where it belongs, the reference's sketches load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skirmish::world::atlas::{Atlas, Base, Config, HostId, Platform, WorldData, build};
use skirmish::world::program::Library;
use skirmish::yaml::{self, Node};

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            out.push(path);
        }
    }
}

fn folder(name: &str) -> Vec<Node> {
    let mut list = vec![];
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name), &mut list);
    list.iter().flat_map(|f| yaml::read(f).unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn made(docs: &[Node], seed: u64, hosts: usize) -> (Atlas, Library) {
    let data = WorldData::load(docs).unwrap_or_else(|e| panic!("{e}"));
    let personas = skirmish::scenario::personas(&folder("personas")).unwrap_or_else(|e| panic!("{e}"));
    let data = Arc::new(data);
    let base = Base::new(&data);
    let config = Config { seed, hosts, ..Config::default() };
    build(&config, &data, &personas, &base, &Library::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn has(atlas: &Atlas, names: &Library, host: usize, program: &str) -> bool {
    let n = names.names.iter().position(|x| **x == *program);
    n.is_some_and(|n| atlas.program(HostId(host as u32), n as u16).is_some())
}

#[test]
fn every_sketch_of_the_reference_loads() {
    let text = include_str!("../docs/world.md");
    let mut all = folder("world");
    let mut count = 0;
    for (i, block) in text.split("```yaml\n").skip(1).enumerate() {
        let block = block.split("```").next().unwrap();
        all.extend(yaml::parse(&format!("docs/world.md#{i}"), block).unwrap_or_else(|e| panic!("{e}")));
        count += 1;
    }
    assert!(count >= 10, "{count} sketches");
    let (atlas, names) = made(&all, 1, 120);
    let n = names.names.iter().position(|x| **x == *"acmed.exe").unwrap() as u16;
    let with: Vec<u32> = (0..120).filter(|h| atlas.program(HostId(*h), n).is_some()).collect();
    assert!(!with.is_empty(), "nobody has the package of the first sketch");
    for h in with {
        let host = atlas.host(HostId(h));
        let os = &atlas.oses[host.os as usize];
        assert!(os.server && os.platform == Platform::Windows, "{} has a server's agent", host.name);
        let path = &atlas.image(atlas.program(HostId(h), n).unwrap()).path;
        assert!(path.starts_with(r"C:\Program Files\Acme\Agent\4."), "{path}");
    }
    assert!(atlas.hosts.iter().any(|h| h.name.starts_with("KIOSK")), "no host of the role of the sketch");
}

#[test]
fn one_file_has_one_identity() {
    let (atlas, _) = made(&folder("world"), 9, 400);
    let mut seen: BTreeMap<(String, String, bool), [String; 3]> = BTreeMap::new();
    for i in atlas.images.iter().filter(|i| &*i.file_version != "-") {
        let hashes = [i.md5.to_string(), i.sha256.to_string(), i.imphash.to_string()];
        let key = (i.name.to_ascii_lowercase(), i.file_version.to_string(), i.wow64);
        let one = seen.entry(key).or_insert_with(|| hashes.clone());
        assert_eq!(*one, hashes, "{} {}", i.name, i.file_version);
    }
    for m in &atlas.modules {
        assert!(m.path.contains('\\') || m.path.starts_with('/'), "{} has no folder", m.path);
    }
}

#[test]
fn systems_of_one_build_have_the_same_components() {
    let (atlas, names) = made(&folder("world"), 9, 700);
    let level = |family: &str, revision: u32| {
        atlas.oses.iter().position(|o| &*o.family == family && o.revision == revision).unwrap()
    };
    let mut versions = BTreeSet::new();
    for revision in [7462, 7623] {
        let (a, b) = (level("windows_11_24h2", revision), level("windows_server_2025", revision));
        let find = |os: usize, name: &str| {
            let n = names.names.iter().position(|x| **x == *name).unwrap() as u16;
            let i = atlas.bases[os].iter().find(|e| e.0 == n).unwrap().1;
            (atlas.image(i).file_version.to_string(), atlas.image(i).sha256.to_string())
        };
        for program in
            ["cmd.exe", "svchost.exe", "lsass.exe", "schtasks.exe", "net.exe", "rundll32.exe", "services.exe"]
        {
            assert_eq!(find(a, program), find(b, program), "{program}");
            versions.insert(find(a, program).0);
        }
    }
    // and components of one level differ among themselves
    assert!(versions.len() >= 3, "{versions:?}");
}

#[test]
fn agents_stand_where_they_belong() {
    let (atlas, names) = made(&folder("world"), 4, 700);
    let mut vmware = 0;
    for (i, h) in atlas.hosts.iter().enumerate() {
        let os = &atlas.oses[h.os as usize];
        let linux = os.platform == Platform::Linux;
        for agent in ["monitoringhost.exe", "zabbix_agent2.exe", "veeamagent.exe"] {
            assert!(!has(&atlas, &names, i, agent) || os.server && !linux, "{} has {agent}", h.name);
        }
        let tools = has(&atlas, &names, i, "vmtoolsd.exe");
        assert_eq!(tools, &*h.maker == "vmware" && !linux, "{}", h.name);
        vmware += u32::from(tools);
        let dell = has(&atlas, &names, i, "supportassistagent.exe");
        assert_eq!(dell, &*h.maker == "dell" && !os.server, "{}", h.name);
    }
    assert!(vmware > 5);
    // one VPN client for the whole company
    let clients = ["vpnagent.exe", "pangps.exe", "ovpnhelper_service.exe"];
    let kinds = clients.iter().filter(|c| (0..700).any(|h| has(&atlas, &names, h, c))).count();
    assert_eq!(kinds, 1);
}
