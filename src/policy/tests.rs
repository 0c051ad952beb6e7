use std::collections::BTreeMap;

use super::*;
use crate::activity::{Kind, Value};
use crate::yaml;

struct MapView(Kind, BTreeMap<Field, Value<'static>>);

impl View for MapView {
    fn kind(&self) -> Kind {
        self.0
    }
    fn get(&self, field: Field) -> Value<'_> {
        self.1.get(&field).copied().unwrap_or(Value::None)
    }
}

fn start(fields: &[(Field, &'static str)]) -> MapView {
    MapView(Kind::ProcessStart, fields.iter().map(|(f, t)| (*f, Value::Text(t))).collect())
}

fn built_in() -> Policies {
    let mut docs = vec![];
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap() {
        docs.extend(yaml::read(&entry.unwrap().path()).unwrap());
    }
    Policies::load(&docs).unwrap_or_else(|p| panic!("{p}"))
}

fn load(text: &str) -> Result<Policies, Problems> {
    Policies::load(&yaml::parse("p.yaml", text)?)
}

#[test]
fn built_in_policies_differ_as_they_say() {
    let all = built_in();
    assert_eq!(all.ids().collect::<Vec<_>>(), ["baseline", "default_install", "verbose_lab"]);
    let get = |id: &str| all.get(id).unwrap().clone();
    let helper = start(&[
        (Field::ProcExecutable, r"C:\Program Files\Google\Chrome\Application\chrome.exe"),
        (Field::ProcCommandLine, r#""chrome.exe" --type=renderer"#),
    ]);
    let shell = start(&[(Field::ProcExecutable, r"C:\Windows\System32\cmd.exe")]);
    let decide = |id: &str, v: &MapView| get(id).sysmon(SysmonRule::ProcessCreate, v);
    assert_eq!([decide("baseline", &helper), decide("baseline", &shell)], [false, true]);
    assert_eq!([decide("verbose_lab", &helper), decide("default_install", &shell)], [true, false]);
    assert!(
        !get("default_install").sysmon_installed() && !get("default_install").audit(Subcategory::ProcessCreation, true)
    );
    assert!(get("baseline").command_line() && !get("baseline").audit(Subcategory::ProcessCreation, false));
    assert!(get("verbose_lab").audit(Subcategory::FilteringPlatformConnection, true));
    assert!(
        get("baseline").powershell(PowerShellLog::ScriptBlock)
            && !get("default_install").powershell(PowerShellLog::Module)
    );
}

#[test]
fn a_rule_needs_an_inclusion_and_no_exclusion() {
    let p = load(
        "policy: t\nabout: x\nsysmon:\n  hashes: [MD5]\n  rules:\n    process_create:\n      include: [process.name == 'CMD.exe', process.name begins 'p']\n      exclude: [process.name ends '64.EXE']\n",
    )
    .unwrap();
    let p = p.get("t").unwrap();
    let names = ["cmd.exe", "Powershell.exe", "procdump64.exe", "net.exe"];
    let got = names.map(|n| p.sysmon(SysmonRule::ProcessCreate, &start(&[(Field::ProcName, n)])));
    assert_eq!(got, [true, true, false, false]);
    assert_eq!(p.fields(SysmonRule::ProcessCreate), [Field::ProcName]);
    assert_eq!(p.hashes(), [Hash::Md5]);
}

#[test]
fn every_error_of_a_policy_is_named() {
    let text = "policy: t\naboot: x\nsysmon:\n  hashes: [MD5, SHA512]\n  rules:\n    proces_create: all\n    image_load: some\n    dns_query: {}\n    file_create: {include: [\"file.pth ends '.exe'\", policy.sysmon installed]}\naudit: {Proces Creation: success, Logon: yes}\npowershell: [scriptblock]\n";
    let p = load(text).unwrap_err();
    insta::assert_snapshot!(p, @r"
    p.yaml:1:1: a policy lacks `about`
    p.yaml:4:17: unknown hash `SHA512`; did you mean `SHA1`?
    p.yaml:6:5: unknown Sysmon rule `proces_create`; did you mean `process_create`?
    p.yaml:7:17: unknown selection `some`; did you mean `none`?
    p.yaml:8:16: a rule needs `include`, `exclude` or both; or write `all` or `none`
    p.yaml:9:29: unknown field `file.pth`; did you mean `file.path`?
    p.yaml:9:53: a rule of a policy cannot ask a policy
    p.yaml:10:9: unknown audit subcategory `Proces Creation`; did you mean `Process Creation`?
    p.yaml:10:42: unknown outcome `yes`; expected one of `both`, `failure`, `none`, `success`
    p.yaml:11:14: unknown PowerShell log `scriptblock`; did you mean `script_block`?
    p.yaml:2:1: unknown field of a policy `aboot`; did you mean `about`?
    ");
}

#[test]
fn the_example_of_the_documentation_loads() {
    let text = include_str!("../../docs/sources.md");
    let example = text.split("```yaml\n").find(|t| t.starts_with("policy:")).unwrap().split("```").next().unwrap();
    let all = load(example).unwrap_or_else(|p| panic!("{p}"));
    let p = all.get("servers").unwrap();
    let teams = start(&[(Field::ProcName, "Teams.exe"), (Field::ProcExecutable, r"C:\Users\a\Teams.exe")]);
    assert!(!p.sysmon(SysmonRule::NetworkConnect, &teams) && p.sysmon(SysmonRule::ProcessCreate, &teams));
    assert!(p.audit(Subcategory::Logon, false) && !p.audit(Subcategory::Logoff, true));
}
