//! What cmd.exe does with what it was told: builtins, children, files that redirection makes.

use std::rc::Rc;

use super::action::Shell;
use super::argv;
use super::cmd::{self, Command, For, Item, Joint, Redirect, Simple};
use super::lower::{Frame, Split, Unit, push, strip_prefix_ignore_case};
use super::run::{End, Exec, Started};
use super::scope;
use super::template::{file_name, has_hole};
use super::value::{self, ms};
use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::program::{Attr, Dur, Op, Piece, Script, Slot};
use crate::yaml::Node;

/// Rounds of a `for` that are played.
const ROUNDS_MAX: usize = 256;

/// Builtins that leave nothing a sensor sees.
const QUIET: &[&str] = &[
    "assoc", "break", "chdir", "cls", "color", "date", "dir", "dpath", "echo", "echo.", "endlocal", "ftype", "goto",
    "keys", "path", "pause", "popd", "prompt", "rd", "rem", "rmdir", "setlocal", "shift", "time", "title", "type",
    "ver", "verify", "vol", "mklink", "::",
];

/// Programs of other makers that a search along PATH finds.
const ON_PATH: &[&str] = &["az.exe", "gpg.exe", "npm.exe", "npx.exe", "openssl.exe", "winget.exe"];

/// True when a shell started with these arguments reads what is typed.
pub fn interactive(shell: Shell, rest: &str) -> bool {
    match shell {
        Shell::Cmd => switch(rest).is_none_or(|(s, _)| s == 'k'),
        Shell::PowerShell => {
            let p = super::powershell::params(&argv::split(rest));
            p.no_exit || p.command.is_none() && p.encoded.is_none() && p.file.is_none()
        }
    }
}

/// The switch that begins cmd's command (`c`, `k`, `r`) and the text after it.
fn switch(rest: &str) -> Option<(char, &str)> {
    let mut at = rest;
    loop {
        at = at.trim_start();
        let body = at.strip_prefix('/')?;
        let c = body.chars().next()?.to_ascii_lowercase();
        if matches!(c, 'c' | 'k' | 'r') {
            return Some((if c == 'k' { 'k' } else { 'c' }, &body[1..]));
        }
        at = body.find([' ', '/']).map(|i| &body[i..])?;
    }
}

/// The command after `/c`: the first and the last quote go, unless they surround nothing but a program's path.
fn unquoted(text: &str) -> String {
    let t = text.trim_start();
    let Some(body) = t.strip_prefix('"') else { return t.to_owned() };
    let Some(end) = body.rfind('"') else { return body.to_owned() };
    let lone = t.matches('"').count() == 2 && !t.contains(['&', '<', '>', '(', ')', '@', '^', '|']);
    // the quoted text is the name of a program, not a command with switches or several paths
    let name = &body[..end];
    let file = !name.contains(" /") && name.matches(":\\").count() < 2;
    if lone && file && name.contains(' ') && name.to_lowercase().ends_with(".exe") {
        return t.to_owned();
    }
    format!("{}{}", &body[..end], &body[end + 1..])
}

impl Unit<'_> {
    /// cmd.exe started with arguments.
    pub(super) fn cmd_program(&mut self, s: &Started, node: &Node, out: &mut Script) -> Result<End, Split> {
        let Some((kind, text)) = switch(&s.exec.rest) else { return Ok(End::Stays) };
        let mut f = Frame { lead: ms(6, 34), pace: ms(1, 9), ..s.frame.clone() };
        let text = unquoted(text);
        let end = self.cmd_run(&mut f, &text, None, node, out)?;
        Ok(match end {
            _ if kind == 'k' => End::Stays,
            End::Stays => End::Stays,
            End::Exits(code, _) => End::Exits(code, ms(1, 7)),
        })
    }

    /// Text typed in cmd.exe.
    pub(super) fn cmd_text(
        &mut self,
        f: &mut Frame,
        text: &str,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        f.lead = ms(3, 22);
        self.cmd_run(f, text, name, node, out).map(|_| ())
    }

    fn cmd_run(
        &mut self,
        f: &mut Frame,
        text: &str,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut last = End::Exits(0, value::NONE);
        // a batch file is expanded line by line, so that `set` counts for the lines after it
        for line in logical_lines(text) {
            if self.over(node) {
                break;
            }
            let line = self.cmd_expand(f, &line);
            last = match self.fits(&line, node) {
                true => self.items(f, &cmd::parse(&line), name, node, out)?,
                false => End::Exits(1, value::NONE),
            };
        }
        Ok(last)
    }

    /// Whether cmd takes a line of that length.
    fn fits(&mut self, line: &str, node: &Node) -> bool {
        let fits = line.len() <= cmd::LINE_MAX || line.chars().count() <= cmd::LINE_MAX;
        if !fits {
            let what =
                format!("a line is longer than the {} characters that cmd.exe takes: it does not run", cmd::LINE_MAX);
            self.notes.at(node, what);
        }
        fits
    }

    fn items(
        &mut self,
        f: &mut Frame,
        items: &[Item],
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut last = End::Exits(0, value::NONE);
        let mut code = 0;
        for item in items {
            let goes = match item.joint {
                Joint::Always => true,
                Joint::Success => code == 0,
                Joint::Failure => code != 0,
            };
            if !goes {
                continue;
            }
            if self.over(node) {
                break;
            }
            last = match &item.pipe[..] {
                [one] => self.cmd_command(f, one, name, node, code, out)?,
                many => self.cmd_pipe(f, many, name, node, out)?,
            };
            code = if let End::Exits(c, _) = last { c } else { 0 };
            if f.env.contains_key("\0EXIT") {
                break;
            }
        }
        Ok(last)
    }

    /// All programs of a pipe start at once; a builtin in it runs in a cmd.exe of its own.
    fn cmd_pipe(
        &mut self,
        f: &mut Frame,
        pipe: &[Command],
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut running: Vec<Started> = vec![];
        for c in pipe {
            let exec = match c {
                Command::Simple(s) if !self.is_builtin(&s.text) => self.found(f, external(&s.text)),
                Command::Simple(s) => {
                    let rest = format!(r#"  /S /D /c" {}""#, s.text.trim_start());
                    Exec {
                        line: format!(r"C:\Windows\system32\cmd.exe{rest}"),
                        token: r"C:\Windows\system32\cmd.exe".into(),
                        rest,
                    }
                }
                _ => continue,
            };
            let name = name.filter(|_| running.is_empty());
            running.push(self.start(f, exec, name, node, out)?);
        }
        let mut last = End::Exits(0, value::NONE);
        for (i, s) in running.iter().enumerate() {
            let mut end = self.play(s, node, out)?;
            if i > 0
                && let End::Exits(code, _) = end
            {
                end = End::Exits(code, ms(1, 12));
            }
            last = self.close(s, end, out);
        }
        for c in pipe {
            if let Command::Simple(s) = c {
                self.redirects(f, &s.redirects, out)?;
            }
        }
        Ok(last)
    }

    fn cmd_command(
        &mut self,
        f: &mut Frame,
        c: &Command,
        name: Option<u16>,
        node: &Node,
        code: u32,
        out: &mut Script,
    ) -> Result<End, Split> {
        match c {
            Command::Group(items, redirects) => {
                self.redirects(f, redirects, out)?;
                self.items(f, items, name, node, out)
            }
            Command::For(l) => self.cmd_for(f, l, node, out),
            Command::If(cond, then, other) => {
                let holds = self.cmd_if(f, cond, code) && !(absent(cond) && gives_up(then));
                let arm = if holds { then } else { other };
                self.items(f, arm, name, node, out)
            }
            Command::Simple(s) => self.cmd_simple(f, s, name, node, out),
        }
    }

    fn cmd_simple(
        &mut self,
        f: &mut Frame,
        s: &Simple,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        self.redirects(f, &s.redirects, out)?;
        let (word, rest) = cmd::first_word(&s.text);
        let (lower, rest) = builtin_word(word, rest);
        match &*lower {
            "" => return Ok(End::Exits(0, value::NONE)),
            "exit" => {
                Rc::make_mut(&mut f.env).insert("\0EXIT".into(), String::new());
                return Ok(End::Exits(
                    argv::split(&rest).last().and_then(|n| n.parse().ok()).unwrap_or(0),
                    value::NONE,
                ));
            }
            "cd" | "chdir" | "pushd" => {
                let to = strip_prefix_ignore_case(rest.trim(), "/d ")
                    .unwrap_or(rest.trim())
                    .trim()
                    .trim_matches('"')
                    .to_owned();
                // a variable alone is a folder with its whole path
                let folder = matches!(self.holes.only(&to), Some(Piece::Slot(Slot::Var(_), _)));
                if folder {
                    f.cwd = to;
                } else if !to.is_empty() {
                    f.cwd = self.full_path(f, &to).trim_end_matches('\\').to_owned();
                }
            }
            "set" => {
                let (plain, sum) = match strip_prefix_ignore_case(rest.trim_start(), "/a") {
                    Some(t) => (t, true),
                    None => (strip_prefix_ignore_case(rest.trim_start(), "/p").map_or(&*rest, |_| ""), false),
                };
                if let Some((k, v)) = plain.trim().trim_matches('"').split_once('=') {
                    let v = v.trim_end_matches('"').trim_start_matches(|c| sum && c == ' ');
                    f.set(&k.trim().to_uppercase(), v);
                }
            }
            "call" => {
                let inner = self.cmd_expand(f, rest.trim_start());
                let items = cmd::parse(&inner);
                return if rest.trim_start().starts_with(':') || self.depth > 8 || !self.fits(&inner, node) {
                    Ok(End::Exits(0, value::NONE))
                } else {
                    self.depth += 1;
                    let end = self.items(f, &items, name, node, out);
                    self.depth -= 1;
                    end
                };
            }
            "start" => return self.cmd_start(f, &rest, name, node, out),
            "copy" | "move" | "del" | "erase" | "ren" | "rename" | "md" | "mkdir" => {
                self.cmd_files(f, &lower, &rest, out)?
            }
            "echo" => self.printed = vec![rest.trim().to_owned()],
            q if QUIET.contains(&q) || q.starts_with(':') => {}
            _ => {
                let exec = self.found(f, external(&s.text));
                let image = file_name(&exec.token).to_lowercase();
                // a batch file runs in the shell that is told to run it; what this one says is known
                if scope::exe(&image) == "winrm.cmd" {
                    let rest = format!(r#" //nologo "C:\Windows\System32\winrm.vbs"{}"#, exec.rest.trim_end());
                    let exec = Exec { token: "cscript".into(), line: format!("cscript {rest}"), rest };
                    return self.create_process(f, exec, name, true, node, out);
                }
                if image.ends_with(".bat") || image.ends_with(".cmd") {
                    // the scenario that drew its name plays what it holds
                    if !has_hole(&image) {
                        let shown = self.shown(&exec.token);
                        self.notes.at(node, format!("what is in `{shown}` is not known: it is not played"));
                    }
                    return Ok(End::Exits(0, value::NONE));
                }
                let wait = !self.detached(&scope::exe(&image));
                return self.create_process(f, exec, name, wait, node, out);
            }
        }
        Ok(End::Exits(0, value::NONE))
    }

    /// A program that is not installed lies where the shell stands, once it was told to go somewhere.
    fn found(&self, f: &Frame, exec: Exec) -> Exec {
        let image = scope::exe(&exec.token);
        let known = self.names.programs.contains(&*image) && !self.names.brought.contains(&*image)
            || ON_PATH.contains(&&*image)
            || matches!(&*image, "cmd.exe" | "powershell.exe" | "pwsh.exe" | "winrm.cmd");
        let away = !f.cwd.is_empty() && strip_prefix_ignore_case(&f.cwd, r"C:\Windows").is_none();
        if known || !away || exec.token.trim().is_empty() || exec.token.contains(['\\', '/', ':']) || has_hole(&image) {
            return exec;
        }
        Exec { token: format!("{}\\{}", f.cwd, exec.token), ..exec }
    }

    /// True for what the shell does itself, batch files included.
    fn is_builtin(&self, text: &str) -> bool {
        let (word, rest) = cmd::first_word(text);
        let (lower, _) = builtin_word(word, rest);
        let batch = scope::exe(file_name(&lower));
        QUIET.contains(&&*lower)
            || batch.ends_with(".cmd")
            || batch.ends_with(".bat")
            || matches!(
                &*lower,
                "cd" | "pushd"
                    | "set"
                    | "call"
                    | "start"
                    | "copy"
                    | "md"
                    | "mkdir"
                    | "move"
                    | "del"
                    | "erase"
                    | "ren"
                    | "rename"
                    | "exit"
            )
    }

    fn cmd_start(
        &mut self,
        f: &mut Frame,
        rest: &str,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut text = rest.trim_start();
        let mut wait = false;
        if text.starts_with('"') {
            text = text[1..].split_once('"').map_or("", |(_, r)| r).trim_start();
        }
        let mut cwd = f.cwd.clone();
        while text.starts_with('/') {
            let (option, r) = cmd::first_word(text);
            let lower = option.to_lowercase();
            wait |= lower == "/wait" || lower == "/w";
            text = r.trim_start();
            if lower == "/d" {
                let (dir, r) = cmd::first_word(text);
                cwd = dir.trim_matches('"').to_owned();
                text = r.trim_start();
            }
        }
        if text.is_empty() {
            text = "cmd.exe";
        }
        if text.contains("://") && !text.contains(' ') {
            let url = text.trim_matches('"').to_owned();
            let path = self.library.name("msedge.exe");
            let path = self.holes.put(Piece::Slot(Slot::Path(path), vec![]));
            let rest = format!(" --single-argument {url}");
            let exec = Exec { line: format!("\"{path}\"{rest}"), token: path, rest };
            return self.create_process(f, exec, name, false, node, out);
        }
        let inner = Frame { cwd, ..f.clone() };
        let exec = self.found(&inner, external(text));
        self.create_process(&inner, exec, name, wait, node, out)?;
        Ok(End::Exits(0, value::NONE))
    }

    fn cmd_files(&mut self, f: &mut Frame, verb: &str, rest: &str, out: &mut Script) -> Result<(), Split> {
        let mut args: Vec<String> =
            argv::split(&rest.replace('\\', "\u{1}")).iter().map(|a| a.replace('\u{1}', "\\")).collect();
        args.retain(|a| !(a.starts_with('/') && a.len() <= 4));
        match (verb, &args[..]) {
            ("del" | "erase", list) => {
                for a in list.iter().filter(|a| !a.contains('*')).take(20) {
                    let path = self.full_path(f, a);
                    self.file(f, Kind::FileDelete, &[(Field::FilePath, path)], out)?;
                }
            }
            // recorded: a folder that is made is a file record of its own
            ("md" | "mkdir", list) => {
                for a in list.iter().take(20) {
                    let path = self.full_path(f, a).trim_end_matches('\\').to_owned();
                    if !path.is_empty() && !path.ends_with(':') {
                        let args = [(Field::FilePath, path), (Field::FileSize, "0".to_owned())];
                        self.file(f, Kind::FileCreate, &args, out)?;
                    }
                }
            }
            ("copy" | "move", [from, .., to]) => {
                let source = self.full_path(f, from);
                let mut path = self.full_path(f, to);
                let folder = to.ends_with('\\') || to == "." || !has_hole(to) && !file_name(to).contains('.');
                if folder {
                    let base = path.trim_end_matches('\\').trim_end_matches("\\.").to_owned();
                    path = format!("{base}\\{}", file_name(&source));
                }
                if verb == "copy" {
                    self.read_share(f, &source, out);
                    self.file(f, Kind::FileCreate, &[(Field::FilePath, path)], out)?;
                } else {
                    self.file(f, Kind::FileRename, &[(Field::FileOldPath, source), (Field::FilePath, path)], out)?;
                }
            }
            ("copy", [from]) => {
                let source = self.full_path(f, from);
                let path = self.full_path(f, file_name(&source));
                self.read_share(f, &source, out);
                self.file(f, Kind::FileCreate, &[(Field::FilePath, path)], out)?;
            }
            ("ren" | "rename", [from, to]) => {
                let source = self.full_path(f, from);
                let path = format!("{}\\{to}", source.rsplit_once('\\').map_or("", |(d, _)| d));
                self.file(f, Kind::FileRename, &[(Field::FileOldPath, source), (Field::FilePath, path)], out)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A file on a share is read, which its server sees; what is read here nobody records.
    fn read_share(&mut self, f: &Frame, path: &str, out: &mut Script) {
        if path.starts_with(r"\\") {
            self.emit(f, f.me, Kind::FileRead, vec![(Field::FilePath, path.to_owned())], ms(1, 6), out);
        }
    }

    fn redirects(&mut self, f: &mut Frame, redirects: &[Redirect], out: &mut Script) -> Result<(), Split> {
        for r in redirects {
            let lower = r.target.to_lowercase();
            if matches!(&*lower, "nul" | "con" | "nul:") {
                continue;
            }
            if let Some(pipe) = lower.strip_prefix(r"\\.\pipe\") {
                let name = self.holes.tpl(&format!("\\{}", &r.target[r.target.len() - pipe.len()..]));
                push(
                    out,
                    ms(1, 5),
                    f.part,
                    Op::Emit { by: f.me, kind: Kind::PipeConnect, args: vec![(Field::PipeName, name)] },
                );
                continue;
            }
            let path = self.full_path(f, &r.target);
            let kind = if r.append { Kind::FileModify } else { Kind::FileCreate };
            self.file(f, kind, &[(Field::FilePath, path)], out)?;
        }
        Ok(())
    }

    /// A thing done to a file by the process of a frame.
    pub(super) fn file(
        &mut self,
        f: &Frame,
        kind: Kind,
        args: &[(Field, String)],
        out: &mut Script,
    ) -> Result<(), Split> {
        let args = args.iter().map(|(k, v)| (*k, v.clone())).collect();
        self.emit(f, f.me, kind, args, Dur::Range(Span::us(400), Span::ms(6)), out);
        Ok(())
    }

    fn cmd_for(&mut self, f: &mut Frame, l: &For, node: &Node, out: &mut Script) -> Result<End, Split> {
        let lower = l.switches.to_lowercase();
        let mut values: Vec<String> = vec![];
        if lower.starts_with("/l") {
            let n: Vec<i64> = l.list.split([',', ' ']).filter_map(|t| t.trim().parse().ok()).collect();
            if let [start, step, end] = n[..]
                && step != 0
            {
                let mut i = start;
                while (step > 0 && i <= end || step < 0 && i >= end) && values.len() <= ROUNDS_MAX {
                    values.push(i.to_string());
                    let Some(next) = i.checked_add(step) else { break };
                    i = next;
                }
            }
        } else if lower.starts_with("/f") {
            let quote = if lower.contains("usebackq") { '`' } else { '\'' };
            let Some(command) = l.list.trim().strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) else {
                self.notes.at(node, "`for /f` reads a file: what is in it is not known, its body is not played");
                return Ok(End::Exits(0, value::NONE));
            };
            let rest = format!(" /c {command}");
            let line = format!(r"C:\Windows\system32\cmd.exe{rest}");
            let exec = Exec { line, token: r"C:\Windows\system32\cmd.exe".into(), rest };
            self.printed.clear();
            self.create_process(f, exec, None, true, node, out)?;
            let lines = std::mem::take(&mut self.printed);
            if lines.is_empty() {
                self.notes.at(
                    node,
                    format!("`for /f`: what `{}` prints is not known, its body is not played", self.shown(command)),
                );
            }
            return self.cmd_rounds(f, l, lines.iter().map(|t| cmd::tokens(&l.switches[2..], t)), node, out);
        } else {
            values = l
                .list
                .split([' ', ',', ';', '\n', '\t'])
                .filter(|t| !t.is_empty() && !t.contains(['*', '?']))
                .map(str::to_owned)
                .collect();
        }
        if values.len() > ROUNDS_MAX {
            self.notes.at(node, format!("a `for` goes round more than {ROUNDS_MAX} times: the rest is not played"));
        }
        self.cmd_rounds(f, l, values.into_iter().map(|v| vec![v]), node, out)
    }

    /// The body of a `for`, once for each set of its variables.
    fn cmd_rounds(
        &mut self,
        f: &mut Frame,
        l: &For,
        rounds: impl Iterator<Item = Vec<String>>,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut last = End::Exits(0, value::NONE);
        let Some(first) = l.variable.chars().next().filter(|_| self.depth <= 8) else { return Ok(last) };
        for values in rounds.take(ROUNDS_MAX).filter(|v| !v.is_empty()) {
            if self.over(node) {
                break;
            }
            let mut body = l.body.clone();
            // `%i`, then `%j` for the second token
            for (i, v) in values.iter().enumerate() {
                let Some(name) = char::from_u32(first as u32 + i as u32) else { break };
                for form in [format!("%%~{name}"), format!("%~{name}"), format!("%%{name}"), format!("%{name}")] {
                    if body.len() + v.len() * body.matches(&*form).count() <= 4 * cmd::LINE_MAX {
                        body = body.replace(&form, if form.contains('~') { v.trim_matches('"') } else { v });
                    }
                }
            }
            if !self.fits(&body, node) {
                break;
            }
            self.depth += 1;
            let done = self.items(f, &cmd::parse(&body), None, node, out);
            self.depth -= 1;
            last = done?;
        }
        Ok(last)
    }

    /// Conditions of `if`: a file is there when it is asked whether it is, and is not when it is asked whether it is not,
    /// unless Windows has it; comparisons compare texts, `errorlevel` knows the last code.
    fn cmd_if(&mut self, f: &Frame, cond: &str, code: u32) -> bool {
        let words: Vec<&str> = cond.split_whitespace().collect();
        let mut words = &words[..];
        let mut negative = false;
        while let Some(w) = words.first() {
            match &*w.to_lowercase() {
                "not" => negative = !negative,
                "/i" => {}
                _ => break,
            }
            words = &words[1..];
        }
        let Some(first) = words.first() else { return true };
        let second = words.get(1).copied().unwrap_or_default();
        let holds = match &*first.to_lowercase() {
            "exist" => !negative || self.stands(f, &words[1..].join(" ")),
            "errorlevel" => second.parse().is_ok_and(|n: u32| code >= n),
            "defined" => f.env.contains_key(&second.to_uppercase()),
            _ => {
                let joined = words.join(" ");
                match joined.split_once("==") {
                    Some((a, b)) => a.trim().trim_matches('"').eq_ignore_ascii_case(b.trim().trim_matches('"')),
                    None => match (&*second.to_lowercase(), words.get(2)) {
                        ("neq", Some(b)) => !first.eq_ignore_ascii_case(b),
                        ("equ", Some(b)) => first.eq_ignore_ascii_case(b),
                        _ => true,
                    },
                }
            }
        };
        holds != negative
    }

    /// True for files and folders that every Windows has.
    fn stands(&mut self, f: &Frame, path: &str) -> bool {
        let path = self.full_path(f, path).trim_end_matches('\\').to_lowercase();
        let folders =
            [r"c:", r"c:\windows", r"c:\windows\system32", r"c:\windows\temp", r"c:\users", r"c:\users\public"];
        let more = [r"c:\program files", r"c:\program files (x86)", r"c:\programdata"];
        folders.contains(&&*path)
            || more.contains(&&*path)
            || self.holes.only(&path).is_some()
            || path.starts_with(r"c:\windows\") && self.names.programs.contains(file_name(&path))
    }

    /// `%VAR%` from what was set, and from facts about host and user.
    pub(super) fn cmd_expand(&mut self, f: &Frame, text: &str) -> String {
        if !text.contains('%') {
            return text.to_owned();
        }
        cmd::expand(text, &mut |name| self.environment(f, name))
    }

    /// An environment variable.
    pub(super) fn environment(&mut self, f: &Frame, name: &str) -> Option<String> {
        let upper = name.to_uppercase();
        if let Some(v) = f.env.get(&upper) {
            return Some(v.clone());
        }
        let mut slot = |s: Slot| self.holes.put(Piece::Slot(s, vec![]));
        let user = Slot::User;
        Some(match &*upper {
            "COMPUTERNAME" => slot(Slot::Host(Attr::Name)),
            "USERNAME" => slot(user(Attr::Name)),
            "USERPROFILE" => slot(user(Attr::Profile)),
            "HOMEPATH" => format!(r"\Users\{}", slot(user(Attr::Name))),
            "TEMP" | "TMP" => slot(user(Attr::Temp)),
            "APPDATA" => format!(r"{}\AppData\Roaming", slot(user(Attr::Profile))),
            "LOCALAPPDATA" => format!(r"{}\AppData\Local", slot(user(Attr::Profile))),
            "USERDOMAIN" => slot(user(Attr::Netbios)),
            "USERDNSDOMAIN" => slot(user(Attr::Domain)),
            "LOGONSERVER" => format!(r"\\{}", slot(Slot::Host(Attr::Dc))),
            "CD" => {
                if f.cwd.is_empty() {
                    slot(user(Attr::Profile))
                } else {
                    f.cwd.clone()
                }
            }
            "RANDOM" => {
                self.randoms = self.randoms.saturating_add(1);
                self.holes.fresh(Piece::Slot(Slot::Num(self.randoms, 100, 32_767), vec![]))
            }
            "SYSTEMROOT" | "WINDIR" => r"C:\Windows".into(),
            "SYSTEMDRIVE" | "HOMEDRIVE" => "C:".into(),
            "PROGRAMDATA" | "ALLUSERSPROFILE" => r"C:\ProgramData".into(),
            "PUBLIC" => r"C:\Users\Public".into(),
            "PROGRAMFILES" | "PROGRAMW6432" => r"C:\Program Files".into(),
            "PROGRAMFILES(X86)" => r"C:\Program Files (x86)".into(),
            "COMSPEC" => r"C:\Windows\system32\cmd.exe".into(),
            "OS" => "Windows_NT".into(),
            "PROCESSOR_ARCHITECTURE" => "AMD64".into(),
            "NUMBER_OF_PROCESSORS" => "4".into(),
            _ => return None,
        })
    }
}

/// True for `if not exist ...`.
fn absent(cond: &str) -> bool {
    let mut words = cond.split_whitespace().filter(|w| !w.eq_ignore_ascii_case("/i"));
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("not"))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case("exist"))
}

/// True for commands that only say something and leave.
fn gives_up(items: &[Item]) -> bool {
    let says = |c: &Command| match c {
        Command::Simple(s) => {
            let (word, rest) = cmd::first_word(&s.text);
            matches!(&*builtin_word(word, rest).0, "echo" | "exit" | "goto" | "pause" | "rem") && s.redirects.is_empty()
        }
        Command::Group(items, _) => gives_up(items),
        _ => false,
    };
    !items.is_empty() && items.iter().all(|i| i.pipe.iter().all(says))
}

/// A program as cmd starts it: what was typed, a blank, and the rest with the blank it was typed with.
fn external(text: &str) -> Exec {
    let (word, rest) = cmd::first_word(text);
    let line = if rest.is_empty() { word.to_owned() } else { format!("{word} {rest}") };
    Exec { token: word.replace('"', ""), rest: rest.to_owned(), line }
}

/// A builtin's name in lower case, cut from what is typed right behind it (`cd\`, `echo.`, `dir/s`).
fn builtin_word(word: &str, rest: &str) -> (String, String) {
    let lower = word.to_lowercase();
    for name in ["cd", "chdir", "echo", "dir", "md", "rd", "del", "type", "copy", "set", "rem"] {
        if let Some(tail) = lower.strip_prefix(name)
            && tail.starts_with(['\\', '/', '.', ':', '('])
        {
            return (name.to_owned(), format!("{}{rest}", &word[name.len()..]));
        }
    }
    (lower.trim_matches('"').to_owned(), rest.to_owned())
}

/// Lines of a batch text; brackets that stay open and carets at the end join lines.
fn logical_lines(text: &str) -> Vec<String> {
    let mut out: Vec<String> = vec![];
    let mut open = 0i32;
    let mut joined = false;
    for line in text.lines() {
        match out.last_mut().filter(|_| open > 0 || joined) {
            Some(last) => {
                last.push('\n');
                last.push_str(line);
            }
            None => out.push(line.to_owned()),
        }
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                '(' if !quoted => open += 1,
                ')' if !quoted => open -= 1,
                _ => {}
            }
        }
        open = open.max(0);
        joined = line.trim_end().ends_with('^');
    }
    out
}
