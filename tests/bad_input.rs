//! What users write wrong: all of it is reported in one run, each fault with its place.
//!
//! A new loader adds a faulty file to [`FILES`] and its messages to the snapshot.

use std::fs;
use std::path::Path;

use skirmish::config::{Config, Layers};
use skirmish::yaml::Problems;

const FILES: &[(&str, &str)] = &[
    (
        "skirmish.yaml",
        "seed: seven
world: {hosts: 300, sites: [{name: Lyon, tz: Europe/Pari}]}
sinks: {out: {stdout: {}, on_slow: wait}}
streams:
  sysmon: {source: windows.sysmon, rate: 3000, to: [{sink: out}]}
  security: {sorce: windows.security, rate: {diurnal: {mean: 3k/s, peak: noon}}, to: [{sink: oout}]}
",
    ),
    ("override.yaml", "streams:\n  sysmon: {scale: host}\n"),
    (
        "data/sources/mine.yaml",
        "source: acme.audit
product: {name: Audit, version: '1'}
channel: Acme/Audit
encodings: [event_xlm]
events:
  - on: proces.start
    id: 1
    data: {Path: process.executible}
",
    ),
    (
        "data/scenarios/mine.yaml",
        "scenario: mine
cast: {pc: {host: workstaton}, user: {user_of: laptop}}
vars: {c2: {domain: lookalik}}
steps:
  - {id: a, technique: T9999, actor: user@pc, run: 'ping {c3}'}
  - {id: a, technique: T1059, actor: user@pc, afer: 3s, run: whoami}
  - {id: b, technique: T1059, actor: user@pc, actions: [{connect: {to: any.mail_sever, port: 25}}]}
  - {id: d, technique: T1003, actor: user@pc, actions: [{process.access: {target: lsass.exe, granted: 0x1010, trace: comsvc}}]}
  - {id: e, technique: T1059, actor: user@pc, parent: outlok.exe, run: whoami}
  - {id: f, technique: T1059, actor: user@pc, parent: service.schedul, run: whoami}
",
    ),
    ("data/scenarios/broken.yaml", "scenario: broken\nsteps: [{id: a\n"),
    (
        "data/effects/mine.yaml",
        "effect: mine
match: {platform: windows, image: mine.exe, arg: {has: /x}}
does:
  - file.crate: {path: 'C:\\{nam}'}
",
    ),
    ("data/policies/mine.yaml", "policy: mine\nsysmon: {process_creat: all}\n"),
];

/// Everything that is wrong, as `check` says it.
fn problems(dir: &Path) -> Problems {
    let layers = Layers {
        files: vec![dir.join("skirmish.yaml"), dir.join("override.yaml")],
        environment: vec![("SKIRMISH__THREADS".into(), "many".into())],
        set: vec!["streams.sysmon.deliver=most".into()],
        ..Layers::default()
    };
    skirmish::plan::load(&layers, &[dir.join("data")]).err().unwrap_or_default()
}

#[test]
fn all_faults_in_all_files_are_reported_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let all = problems(dir.path());
    assert!(all.0.len() >= 12, "{}", all.0.len());
    let text = all.to_string().replace(&format!("{}/", dir.path().display()), "");
    insta::assert_snapshot!(text, @"
    skirmish.yaml:1:7: seed must be a number, not `seven`
    skirmish.yaml:2:46: unknown time zone `Europe/Pari`; did you mean `Europe/Paris`?
    skirmish.yaml:3:36: unknown value of `on_slow` `wait`; expected one of `block`, `catch_up`, `drop`
    skirmish.yaml:5:42: rate must say per what, such as `3k/s`, `90/min`, `40MB/s` or `200GB/d`, not `3000`; did you mean `3000/s`?
    override.yaml:2:19: unknown value of `scale` `host`; did you mean `hosts`?
    --set streams.sysmon.deliver:1:24: unknown value of `deliver` `most`; expected one of `all`, `attack`
    skirmish.yaml:6:13: a stream lacks `source`
    skirmish.yaml:6:74: a time of day must be like `10:30`, not `noon`
    skirmish.yaml:6:94: unknown sink `oout`; did you mean `out`?
    skirmish.yaml:6:14: unknown field of a stream `sorce`; did you mean `source`?
    environment SKIRMISH__THREADS:1:1: threads must be a number, not `many`
    data/scenarios/broken.yaml:3:1: broken YAML: while parsing a flow mapping, did not find expected ',' or '}'
    data/sources/mine.yaml:1:1: a source lacks `platform`
    data/sources/mine.yaml:4:13: unknown encoding `event_xlm`; did you mean `event_xml`?
    data/sources/mine.yaml:1:1: a source lacks `key`
    data/sources/mine.yaml:6:9: unknown kind of activity `proces.start`; did you mean `process.start`?
    data/sources/mine.yaml:8:18: unknown field `process.executible`; did you mean `process.executable`?
    data/policies/mine.yaml:1:1: a policy lacks `about`
    data/policies/mine.yaml:2:9: `sysmon` lacks `hashes`
    data/policies/mine.yaml:2:9: `sysmon` lacks `rules`
    data/policies/mine.yaml:2:10: unknown field of `sysmon` `process_creat`; expected one of `hashes`, `rules`
    data/effects/mine.yaml:2:45: unknown field of `match` `arg`; did you mean `args`?
    data/effects/mine.yaml:4:5: unknown action `file.crate`; did you mean `file.create`?
    data/scenarios/mine.yaml:6:47: unknown field of a step `afer`; did you mean `after`?
    data/scenarios/mine.yaml:6:5: step `a` is defined twice
    data/scenarios/mine.yaml:2:19: unknown host role `workstaton`; did you mean `workstation`?
    data/scenarios/mine.yaml:2:48: unknown role of a host bound before `laptop`; expected one of `pc`
    data/scenarios/mine.yaml:3:21: unknown kind of domain `lookalik`; did you mean `lookalike`?
    data/scenarios/mine.yaml:5:24: unknown technique `T9999`; did you mean `T1199`?
    data/scenarios/mine.yaml:5:52: unknown role, variable or reference `c3`; did you mean `c2`?
    data/scenarios/mine.yaml:7:72: unknown host `any.mail_sever`; expected one of `any.ROLE`, `dc`, `file_server`, `here`, `pc`, `user`
    data/scenarios/mine.yaml:8:118: unknown kind of call trace `comsvc`; expected one of `audio`, `chromium`, `cimwin32`, `clr`, `coadmin`, `combase`, `create_process`, `create_process.cmd.exe`, `create_process.explorer.exe`, `create_process.powershell.exe`, `create_process.services.exe`, `create_process.svchost.exe` and 31 more
    data/scenarios/mine.yaml:9:55: unknown program `outlok.exe`; did you mean `outlook.exe`?
    data/scenarios/mine.yaml:10:55: unknown service `schedul`; did you mean `schedule`?
    ");
}

fn of_file(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("skirmish.yaml");
    fs::write(&path, bytes).unwrap();
    let layers = Layers { files: vec![path], ..Layers::default() };
    let problems = Config::load(&layers).expect_err("is wrong");
    problems.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn files_that_are_no_configuration() {
    insta::assert_snapshot!(of_file(b"seed: [1"), @"skirmish.yaml:1:9: broken YAML: while parsing a flow sequence, expected ',' or ']'");
    insta::assert_snapshot!(of_file(b"seed: 1\n\tworld: {}\n"), @"skirmish.yaml:1:7: broken YAML: while scanning a plain scalar, found a tab");
    insta::assert_snapshot!(of_file(b"seed: \xff\n"), @"skirmish.yaml: not UTF-8: byte 6 is 0xff");
    insta::assert_snapshot!(of_file(b"\x00\x01\x02"), @"skirmish.yaml:1:1: broken YAML: found unprintable character");
    insta::assert_snapshot!(of_file(b"just text"), @"skirmish.yaml:1:1: a configuration must be a mapping, not `just text`");
    insta::assert_snapshot!(of_file(b"seed: 1\n---\nseed: 2\n"), @"skirmish.yaml:3:1: a configuration is one document; give further ones by a `-c` of their own");
    insta::assert_snapshot!(of_file(b"seed: 1\nseed: 2\n"), @"skirmish.yaml:2:1: `seed` is given twice");
    insta::assert_snapshot!(of_file(b"seed: !!python/object:os.system 1\n"), @"skirmish.yaml:1:7: tags are not supported");
    insta::assert_snapshot!(of_file(b"seed: *nothing\n"), @"skirmish.yaml:1:7: broken YAML: while parsing node, found unknown anchor");
    let deep = format!("world: {}{}", "[".repeat(70), "]".repeat(70));
    insta::assert_snapshot!(of_file(deep.as_bytes()), @"skirmish.yaml:1:71: nested deeper than 64");
}

#[test]
fn an_alias_bomb_is_an_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", ")));
    }
    insta::assert_snapshot!(of_file(bomb.as_bytes()), @"skirmish.yaml:6:45: aliases expand to more than 1000000 nodes");
}

#[test]
fn a_file_that_is_not_there() {
    let layers = Layers { files: vec!["/nowhere/skirmish.yaml".into()], ..Layers::default() };
    insta::assert_snapshot!(Config::load(&layers).unwrap_err(), @"/nowhere/skirmish.yaml: cannot read: No such file or directory (os error 2)");
}
