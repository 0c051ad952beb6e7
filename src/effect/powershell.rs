//! PowerShell command lines and scripts: which commands does a text call, with which arguments?
//!
//! Not an interpreter: every command that stands in the text is taken to be called once, in order, blocks included.
//! Variables that were given a literal are known afterwards.

use std::collections::BTreeMap;

use super::matching::Args;

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
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Name as written, aliases resolved; methods begin with a dot.
    pub name: String,
    /// Called with `&` or `.`, or as a path: never a cmdlet.
    pub path: bool,
    /// Arguments, values of known variables filled in.
    pub args: Vec<Arg>,
    /// Text as written, without surrounding blanks.
    pub text: String,
    /// File that `>` names.
    pub into: Option<String>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// Value: quotes are gone, variables filled in; for `{ … }` the inside.
    pub value: String,
    /// It was `{ … }`.
    pub block: bool,
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

const KEYWORDS: &[&str] = &[
    "if", "elseif", "else", "while", "foreach", "for", "do", "until", "switch", "try", "catch", "finally", "function",
    "filter", "param", "return", "begin", "process", "end", "throw", "trap", "break", "continue", "in", "exit",
];

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

/// Brackets that are looked into.
const DEPTH_MAX: usize = 24;

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

/// The commands that a text calls.
pub fn calls(text: &str, env: &mut dyn FnMut(&str) -> Option<String>) -> Vec<Call> {
    let mut s = Scan { out: vec![], vars: BTreeMap::new(), env, depth: 0 };
    s.script(text);
    s.out
}

struct Scan<'a> {
    out: Vec<Call>,
    vars: BTreeMap<String, String>,
    env: &'a mut dyn FnMut(&str) -> Option<String>,
    depth: usize,
}

/// Pieces of a text between separators outside quotes and brackets. `seps` gives the length of a separator.
fn split_outside(text: &str, seps: &dyn Fn(&str) -> usize) -> Vec<String> {
    let mut out = vec![];
    let mut piece = String::new();
    let c: Vec<(usize, char)> = text.char_indices().collect();
    let (mut i, mut depth) = (0usize, 0usize);
    while i < c.len() {
        let (at, ch) = c[i];
        let rest = &text[at..];
        if let Some(len) = quoted_len(rest) {
            piece.push_str(&rest[..len]);
            while i < c.len() && c[i].0 < at + len {
                i += 1;
            }
            continue;
        }
        match ch {
            '`' => {
                piece.push(ch);
                if let Some((_, n)) = c.get(i + 1) {
                    // a backtick at the end of a line joins it with the next
                    if matches!(n, '\n' | '\r') {
                        piece.pop();
                        piece.push(' ');
                    } else {
                        piece.push(*n);
                    }
                }
                i += 2;
                continue;
            }
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let n = if depth == 0 { seps(rest) } else { 0 };
        if n > 0 {
            out.push(std::mem::take(&mut piece));
            while i < c.len() && c[i].0 < at + n {
                i += 1;
            }
            continue;
        }
        piece.push(ch);
        i += 1;
    }
    out.push(piece);
    out
}

/// Bytes of a string, here-string or comment at the start of a text.
fn quoted_len(t: &str) -> Option<usize> {
    let all = t.len();
    if t.starts_with("<#") {
        return Some(t.find("#>").map_or(all, |i| i + 2));
    }
    for (open, close) in [("@'", "\n'@"), ("@\"", "\n\"@")] {
        if t.starts_with(open) {
            return Some(t.find(close).map_or(all, |i| i + close.len()));
        }
    }
    let mut chars = t.char_indices();
    match chars.next()?.1 {
        '\'' => {
            let mut rest = chars.peekable();
            while let Some((i, c)) = rest.next() {
                if c == '\'' {
                    if rest.peek().is_some_and(|(_, n)| *n == '\'') {
                        rest.next();
                        continue;
                    }
                    return Some(i + 1);
                }
            }
            Some(all)
        }
        '"' => {
            while let Some((i, c)) = chars.next() {
                match c {
                    '`' => {
                        chars.next();
                    }
                    '"' => return Some(i + 1),
                    _ => {}
                }
            }
            Some(all)
        }
        _ => None,
    }
}

impl Scan<'_> {
    fn script(&mut self, text: &str) {
        if self.depth >= DEPTH_MAX || self.out.len() > 2000 {
            return;
        }
        self.depth += 1;
        let text = without_comments(text);
        let sep = |r: &str| match r.as_bytes().first() {
            Some(b';' | b'\n') => 1,
            Some(b'|') if r.starts_with("||") => 2,
            Some(b'|') => 1,
            Some(b'&') if r.starts_with("&&") => 2,
            _ => 0,
        };
        for statement in split_outside(&text, &sep) {
            self.statement(statement.trim());
        }
        self.depth -= 1;
    }

    fn statement(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some((name, value)) = assignment(text) {
            let before = self.out.len();
            self.statement(value);
            if self.out.len() == before
                && let Some(v) = self.literal(value)
            {
                self.vars.insert(name.to_lowercase(), v);
            }
            return;
        }
        let mut words = split_outside(text, &|r| r.starts_with([' ', '\t', '\r']) as usize);
        words.retain(|w| !w.is_empty());
        let Some(first) = words.first().cloned() else { return };
        let lower = first.to_lowercase();
        let keyword = KEYWORDS
            .iter()
            .find(|k| **k == lower || lower.strip_prefix(**k).is_some_and(|r| r.starts_with(['(', '{'])));
        if keyword.is_some() && !(lower == "foreach" && words.len() > 1 && words[1].starts_with('{')) {
            if matches!(keyword, Some(&"return" | &"throw" | &"exit")) {
                self.statement(text[first.len().min(text.len())..].trim());
                return;
            }
            // a function's body is taken to be called once
            words.iter().for_each(|w| self.inside(w));
            return;
        }
        let call = matches!(&*lower, "&" | ".");
        if call && words.len() > 1 {
            let target = words[1].clone();
            if target.starts_with('{') {
                self.inside(&target);
                return;
            }
            let name = self.value(&target).value;
            self.command(&name, true, &words[2..], text);
        } else if first.starts_with('&') && first.len() > 1 {
            let name = self.value(&first[1..]).value;
            self.command(&name, true, &words[1..], text);
        } else if first.starts_with(['$', '(', '[', '{', '"', '\'', '@', '-', '+', '!', ','])
            || first.starts_with(|c: char| c.is_ascii_digit())
        {
            self.expression(text);
        } else {
            let path = first.contains(['\\', '/']);
            let name = self.value(&first).value;
            self.command(&name, path, &words[1..], text);
        }
    }

    fn command(&mut self, name: &str, path: bool, words: &[String], text: &str) {
        let lower = name.to_lowercase();
        let full = ALIASES.iter().find(|(a, _)| *a == lower && !path).map_or(name, |(_, n)| n);
        let mut call = Call { name: full.to_owned(), path, args: vec![], text: text.to_owned(), into: None };
        let mut blocks = vec![];
        let mut i = 0;
        while i < words.len() {
            let w = &words[i];
            i += 1;
            if let Some(to) = w.strip_prefix("2>").or_else(|| w.strip_prefix('>')).or_else(|| w.strip_prefix("*>")) {
                let to = to.trim_start_matches('>');
                let target =
                    if to.is_empty() { words.get(i).map(|t| self.value(t).value) } else { Some(self.value(to).value) };
                i += to.is_empty() as usize;
                if !w.starts_with("2>") {
                    call.into = target.filter(|t| !t.starts_with('&') && t != "$null");
                }
                continue;
            }
            if w == "`" {
                continue;
            }
            let arg = self.value(w);
            if w.contains(['(', '{']) {
                blocks.push((w.clone(), arg.block));
            }
            call.args.push(arg);
        }
        // what stands in brackets runs before the command; its blocks run in it, or elsewhere, as the command says
        for (w, _) in blocks.iter().filter(|(_, b)| !b) {
            self.inside(w);
            self.methods(w);
        }
        let runs_elsewhere = matches!(
            &*full.to_lowercase(),
            "invoke-command" | "start-job" | "register-scheduledjob" | "register-objectevent"
        );
        self.out.push(call);
        if !runs_elsewhere {
            for (w, _) in blocks.iter().filter(|(_, b)| *b) {
                self.inside(w);
            }
        }
    }

    /// Commands in every bracket of a word, and in `$( )` of its strings.
    fn inside(&mut self, word: &str) {
        let mut rest = word;
        while let Some(i) = rest.find(['(', '{', '\'', '"']) {
            let at = &rest[i..];
            if let Some(len) = quoted_len(at) {
                if at.starts_with('"') {
                    let mut s = &at[1..len.max(1)];
                    while let Some(j) = s.find("$(") {
                        let (inner, len) = bracket(&s[j + 1..]);
                        self.script(inner);
                        s = &s[j + 1 + len..];
                    }
                }
                rest = &at[len..];
                continue;
            }
            let (inner, len) = bracket(at);
            self.script(inner);
            rest = &at[len..];
        }
    }

    /// An expression: brackets first, then the methods it calls.
    fn expression(&mut self, text: &str) {
        self.inside(&text.replace("@{", "("));
        self.methods(text);
    }

    /// Calls of `.Name(…)` and `::Name(…)` outside inner brackets.
    fn methods(&mut self, text: &str) {
        let mut depth = 0usize;
        let mut i = 0;
        while i < text.len() {
            let rest = &text[i..];
            let Some(c) = rest.chars().next() else { break };
            if let Some(len) = quoted_len(rest) {
                i += len.max(1);
                continue;
            }
            match c {
                '(' | '{' => depth += 1,
                ')' | '}' => depth = depth.saturating_sub(1),
                '.' | ':' if depth == 0 => {
                    let body = &rest[1..];
                    let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
                    if end > 0 && body[end..].starts_with('(') {
                        let (inner, len) = bracket(&body[end..]);
                        let args = split_outside(inner, &|r| r.starts_with(',') as usize);
                        let args =
                            args.iter().map(|a| a.trim()).filter(|a| !a.is_empty()).map(|a| self.value(a)).collect();
                        let name = format!(".{}", &body[..end]);
                        self.out.push(Call { name, path: false, args, text: text.to_owned(), into: None });
                        i += 1 + end + len;
                        continue;
                    }
                }
                _ => {}
            }
            i += c.len_utf8();
        }
    }

    /// The value of a word as far as it is known.
    fn value(&mut self, word: &str) -> Arg {
        let w = word.trim().trim_end_matches(',');
        if let Some(body) = w.strip_prefix('{') {
            return Arg { value: body.strip_suffix('}').unwrap_or(body).trim().to_owned(), block: true };
        }
        Arg { value: self.literal(w).unwrap_or_else(|| w.to_owned()), block: false }
    }

    fn literal(&mut self, word: &str) -> Option<String> {
        let w = word.trim();
        if quoted_len(w).is_some_and(|n| n == w.len() && w.len() >= 2) {
            let here = w.starts_with('@');
            let inner = if here {
                w.get(2..w.len().saturating_sub(2)).unwrap_or_default().trim_matches(['\r', '\n'])
            } else {
                w.get(1..w.len() - 1)?
            };
            return Some(match w.trim_start_matches('@').chars().next()? {
                '\'' if here => inner.to_owned(),
                '\'' => inner.replace("''", "'"),
                _ => self.expand(inner),
            });
        }
        if w.starts_with(['(', '@', '[', '{']) {
            // `("a" + "b")`
            let (inner, len) = bracket(w);
            if !w.starts_with('(') || len != w.len() {
                return None;
            }
            let parts = split_outside(inner, &|r| r.starts_with('+') as usize);
            let text = |p: &String| p.trim_start().starts_with(['\'', '"', '$']);
            let all: Option<Vec<String>> = parts.iter().map(|p| if text(p) { self.literal(p) } else { None }).collect();
            return all.map(|a| a.concat());
        }
        Some(self.expand(w))
    }

    /// Variables and backticks of a text in double quotes or without.
    fn expand(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            match c {
                '`' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, c)) => out.push(c),
                    None => {}
                },
                '$' => {
                    let rest = &text[i + 1..];
                    let braced = rest.starts_with('{');
                    let body = if braced { &rest[1..] } else { rest };
                    let end = if braced {
                        body.find('}')
                    } else {
                        body.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                    };
                    let name = body[..end.unwrap_or(body.len())].trim_end_matches(':');
                    let known = match name.to_lowercase().strip_prefix("env:") {
                        Some(e) => (self.env)(e),
                        None => self.vars.get(&name.to_lowercase()).cloned().or_else(|| known(name)),
                    };
                    match known.filter(|_| !name.is_empty()) {
                        Some(v) => {
                            out.push_str(&v);
                            let skip = name.len() + if braced { 2 } else { 0 };
                            while chars.peek().is_some_and(|(j, _)| *j <= i + skip) {
                                chars.next();
                            }
                        }
                        None => out.push('$'),
                    }
                }
                _ => out.push(c),
            }
        }
        out
    }
}

/// Automatic variables with a value that is always the same.
fn known(name: &str) -> Option<String> {
    Some(match &*name.to_lowercase() {
        "pshome" => r"C:\Windows\System32\WindowsPowerShell\v1.0".into(),
        "true" => "True".into(),
        "false" => "False".into(),
        _ => return None,
    })
}

/// The inside of the bracket a text begins with, and the bytes it covers.
fn bracket(text: &str) -> (&str, usize) {
    let mut depth = 0usize;
    let mut i = 0;
    while i < text.len() {
        let rest = &text[i..];
        let Some(c) = rest.chars().next() else { break };
        if i > 0
            && let Some(len) = quoted_len(rest)
        {
            i += len.max(1);
            continue;
        }
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (&text[1..i], i + 1);
                }
            }
            '`' => i += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        i += c.len_utf8();
    }
    (&text[1.min(text.len())..], text.len())
}

/// `$x = value`, `[type]$x = value`: name and value.
fn assignment(text: &str) -> Option<(&str, &str)> {
    let t = match text.strip_prefix('[') {
        Some(r) => r.split_once(']')?.1.trim_start(),
        None => text,
    };
    let body = t.strip_prefix('$')?;
    let end = body.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '.')))?;
    let rest = body[end..].trim_start();
    let rest = rest.strip_prefix('+').unwrap_or(rest);
    let value = rest.strip_prefix('=')?;
    (!value.starts_with('=')).then(|| (&body[..end], value.trim()))
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < text.len() {
        let rest = &text[i..];
        let Some(c) = rest.chars().next() else { break };
        if rest.starts_with("<#") {
            i += quoted_len(rest).unwrap_or(rest.len());
            continue;
        }
        if let Some(len) = quoted_len(rest) {
            out.push_str(&rest[..len]);
            i += len;
            continue;
        }
        if c == '#' && (out.is_empty() || out.ends_with([' ', '\t', '\n', ';', '{', '('])) {
            i += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if c == '`' {
            out.push(c);
            i += 1;
            if let Some(n) = text[i..].chars().next() {
                out.push(n);
                i += n.len_utf8();
            }
            continue;
        }
        out.push(c);
        i += c.len_utf8();
    }
    out
}

impl Call {
    /// Arguments as effects match them.
    pub fn args(&self) -> Args {
        let argv: Vec<String> = self.args.iter().map(|a| a.value.clone()).collect();
        Args { line: argv.join(" "), argv }
    }
    /// The value of a parameter (given by its beginning) or of a position.
    pub fn get(&self, name: &str, position: Option<usize>) -> Option<&Arg> {
        let mut plain = 0;
        let mut i = 0;
        while i < self.args.len() {
            let a = &self.args[i];
            match a.value.strip_prefix('-').filter(|_| !a.block) {
                Some(n) if n.len() > 1 => {
                    let (n, attached) = n.split_once(':').map_or((n, false), |(n, _)| (n, true));
                    let hit = name.to_lowercase().starts_with(&n.to_lowercase());
                    let value = self.args.get(i + 1).filter(|v| v.block || !v.value.starts_with('-'));
                    if hit && !attached {
                        return value;
                    }
                    // a switch has no value; which parameters are switches is known for few
                    i += (value.is_some()
                        && !matches!(&*n.to_lowercase(), "wait" | "nonewwindow" | "passthru" | "force" | "asjob"))
                        as usize;
                }
                _ => {
                    if Some(plain) == position {
                        return Some(a);
                    }
                    plain += 1;
                }
            }
            i += 1;
        }
        None
    }
    /// True when a switch is there.
    pub fn has(&self, name: &str) -> bool {
        self.args.iter().any(|a| {
            a.value
                .strip_prefix('-')
                .is_some_and(|n| !n.is_empty() && name.to_lowercase().starts_with(&n.to_lowercase()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> String {
        let mut env = |n: &str| (n == "temp").then(|| r"C:\T".to_owned());
        let all: Vec<String> = calls(text, &mut env)
            .iter()
            .map(|c| {
                let args: Vec<String> = c
                    .args
                    .iter()
                    .map(|a| if a.block { format!("{{{}}}", a.value) } else { format!("<{}>", a.value) })
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
                "Invoke-WebRequest<http://x/a><-OutFile><C:\\T\\a.exe>",
            ),
            (
                "IEX (New-Object Net.WebClient).DownloadString('http://x')",
                "New-Object<Net.WebClient>; .DownloadString<http://x>; Invoke-Expression<(New-Object Net.WebClient).DownloadString('http://x')>",
            ),
            ("& { whoami }", "whoami"),
            ("& 'C:\\a b.exe' -x", "C:\\a b.exe<-x>"),
            ("if ($a) { net user } else { net1 user }", "net<user>; net1<user>"),
            ("1..3 | % { ping 10.0.0.$_ }", "ForEach-Object{ping 10.0.0.$_}; ping<10.0.0.$_>"),
            ("# c\nGet-Process # d\n<# e #> ls", "Get-Process; Get-ChildItem"),
            ("echo \"a $(hostname) b\"", "hostname; Write-Output<a $(hostname) b>"),
            (
                "Invoke-Command -ComputerName s1 -ScriptBlock { whoami }",
                "Invoke-Command<-ComputerName><s1><-ScriptBlock>{whoami}",
            ),
            ("net user > out.txt 2>$null", "net<user> >out.txt"),
            ("[IO.File]::WriteAllText('a.txt', \"x\")", ".WriteAllText<a.txt><x>"),
            ("Set-Content -Path a `\n -Value b", "Set-Content<-Path><a><-Value><b>"),
            ("try { a.exe } catch { }", "a.exe"),
            ("$x = Get-Process lsass", "Get-Process<lsass>"),
        ];
        for (text, want) in table {
            assert_eq!(show(text), want, "{text}");
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
