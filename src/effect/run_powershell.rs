//! What PowerShell does with what it was told: script blocks, cmdlets with effects, children.

use std::collections::BTreeMap;

use base64::Engine;

use super::argv;
use super::lower::{DEPTH_MAX, Frame, Split, Unit, push};
use super::matching::{Args, captures};
use super::powershell::{self, Ask, Call, UNKNOWN};
use super::run::{End, Exec, Started};
use super::scope;
use super::template::{file_name, has_hole};
use super::value::ms;
use super::yaml::Key;
use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::program::{Dur, Fmt, Op, Piece, Script, Slot, TimeFmt, Who};
use crate::yaml::Node;

/// True for names of cmdlets and functions as people write them: `Verb-Noun`.
fn is_cmdlet(name: &str) -> bool {
    let word =
        |w: &str| w.starts_with(|c: char| c.is_ascii_alphabetic()) && w.chars().all(|c| c.is_ascii_alphanumeric());
    name.split_once('-').is_some_and(|(a, b)| word(a) && word(b)) && !name.contains('.')
}

impl Unit<'_> {
    /// powershell.exe started with arguments.
    pub(super) fn powershell_program(
        &mut self,
        s: &Started,
        args: &Args,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let p = powershell::params(&args.argv);
        let f = Frame { lead: ms(15, 70), pace: ms(3, 25), ..s.frame.clone() };
        // the engine loads its assemblies before it runs anything
        let start = Dur::LogNormal { median: Span::ms(420), p99: Span::ms(2600) };
        let code = 0;
        let mut text = p.command.clone();
        let mut path = None;
        if let Some(e) = &p.encoded {
            text = self.decoded(e)?;
            if text.is_none() {
                self.notes.at(node, "an encoded command that is no UTF-16 base64: nothing in it is played");
            }
        } else if let Some(file) = &p.file {
            let (name, _) = argv::program(file);
            path = Some(self.full_path(&f, &name));
            text = None;
        }
        if text.is_none() && path.is_none() && p.encoded.is_none() {
            return Ok(End::Stays);
        }
        push(out, start, f.part, Op::Wait);
        if let Some(path) = path {
            self.file_script(&f, &path, out);
        }
        if let Some(text) = text {
            let mut f = f;
            self.powershell_text(&mut f, &text, None, None, node, out)?;
        }
        Ok(if p.no_exit { End::Stays } else { End::Exits(code, ms(20, 160)) })
    }

    /// A script file is read; what is in it is not known here.
    fn file_script(&mut self, f: &Frame, path: &str, out: &mut Script) {
        let text = self.holes.tpl(&format!("& '{path}'"));
        push(
            out,
            ms(5, 40),
            f.part,
            Op::Emit { by: f.me, kind: Kind::ScriptBlock, args: vec![(Field::ScriptText, text)] },
        );
        push(out, ms(150, 2400), f.part, Op::Wait);
    }

    /// The text of an encoded command.
    fn decoded(&mut self, encoded: &str) -> Result<Option<String>, Split> {
        if let Some(var) = self.choice(encoded) {
            return Err(Split(var));
        }
        match self.holes.only(encoded).cloned() {
            Some(Piece::Group(t, fmts)) if fmts == [Fmt::Utf16le, Fmt::Base64] => return Ok(Some(self.holes.text(&t))),
            Some(Piece::Slot(s, fmts)) if fmts == [Fmt::Utf16le, Fmt::Base64] => {
                return Ok(Some(self.holes.put(Piece::Slot(s, vec![]))));
            }
            _ => {}
        }
        let bytes = base64::prelude::BASE64_STANDARD.decode(encoded.trim().trim_matches(['"', '\''])).ok();
        let bytes = bytes.filter(|b| b.len() >= 2 && b.len() % 2 == 0);
        Ok(bytes.map(|b| {
            let units: Vec<u16> = b.chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            super::template::clean(&String::from_utf16_lossy(&units))
        }))
    }

    /// Text run by PowerShell: one script block, then its commands.
    pub(super) fn powershell_text(
        &mut self,
        f: &mut Frame,
        text: &str,
        path: Option<&str>,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        if text.trim().is_empty() {
            return Ok(());
        }
        f.lead = ms(15, 70);
        let mut args = vec![(Field::ScriptText, self.holes.tpl(text))];
        args.extend(path.map(|p| (Field::ScriptPath, self.holes.tpl(p))));
        push(out, ms(4, 40), f.part, Op::Emit { by: f.me, kind: Kind::ScriptBlock, args });
        self.powershell_calls(f, text, name, node, out)
    }

    /// The commands of a text, without a script block of its own.
    fn powershell_calls(
        &mut self,
        f: &mut Frame,
        text: &str,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        let (calls, whole) = {
            let mut frame = f.clone();
            let done = powershell::calls(text, &mut |a| self.answer(&mut frame, a));
            f.env = frame.env;
            done
        };
        if !whole {
            self.notes.at(
                node,
                format!(
                    "a script is longer than {} KiB, nests deeper than {}, or calls too much: a part of it is not played",
                    powershell::TEXT_BYTES_MAX >> 10,
                    powershell::NESTING_MAX
                ),
            );
        }
        let mut name = name;
        // a pipeline is logged when it is done
        let last: BTreeMap<u32, usize> = calls.iter().enumerate().map(|(i, c)| (c.pipe, i)).collect();
        let mut sequence = 13;
        for (i, c) in calls.iter().enumerate() {
            // a program gets a list as arguments, one after another
            let program = self.is_program(&c.name, c.path);
            for c in if program { vec![c.clone()] } else { c.each() } {
                if self.over(node) {
                    return Ok(());
                }
                self.powershell_call(f, &c, &mut name, node, out)?;
            }
            if last[&c.pipe] == i {
                let pipe: Vec<&Call> = calls.iter().filter(|d| d.pipe == c.pipe && is_cmdlet(&d.name)).collect();
                if let Some(first) = pipe.first() {
                    sequence += 2;
                    let payload: String = pipe.iter().map(|c| self.invocation(c)).collect();
                    let args = vec![
                        (Field::ScriptPayload, self.holes.tpl(&payload)),
                        (Field::ScriptCommandName, self.holes.tpl(&self.spelt(&first.name))),
                        (Field::ScriptSequence, self.holes.tpl(&sequence.to_string())),
                    ];
                    push(out, ms(0, 4), f.part, Op::Emit { by: f.me, kind: Kind::ScriptCommand, args });
                }
            }
        }
        Ok(())
    }

    /// A cmdlet as its module spells it: commands have no upper and lower case, records do.
    fn spelt(&self, name: &str) -> String {
        powershell::spelt(name).or_else(|| self.effects.spelt(name)).unwrap_or(name).to_owned()
    }

    /// How the log of module logging tells of a cmdlet and its parameters. Positional ones have the name that the cmdlet's
    /// effect gives them.
    fn invocation(&self, c: &Call) -> String {
        let e = self.effects.of_cmdlet(&c.name.to_lowercase()).next();
        let take = e.map_or(&[][..], |e| &e.take);
        let valued = take.iter().filter_map(|(k, _)| match k {
            Key::Option(o) => Some((&**o, false)),
            _ => None,
        });
        let flags = e.map_or(&[][..], |e| &e.flags).iter().map(|(o, _)| (&**o, true));
        let known: Vec<(&str, bool)> = valued.chain(flags).collect();
        // the parameter's name, and whether it is one without a value
        let named = |typed: &str| -> (String, bool) {
            let lower = typed.trim_end_matches(':').to_lowercase();
            let whole = known.iter().find(|(o, _)| o.eq_ignore_ascii_case(&lower));
            let begun = known.iter().find(|(o, _)| o.to_lowercase().starts_with(&lower));
            let bare = lower.trim_start_matches('-');
            // a whole name of another parameter is no beginning
            let other = powershell::parameter(bare).is_some_and(|full| full.eq_ignore_ascii_case(bare));
            match whole.or(begun.filter(|_| !other)) {
                Some((o, flag)) => ((*o).to_owned(), *flag),
                None => {
                    let name = powershell::parameter(bare).unwrap_or(typed.trim_end_matches(':'));
                    (name.to_owned(), powershell::is_switch(name.trim_start_matches('-')))
                }
            }
        };
        let cmdlet = self.spelt(&c.name);
        let mut text = format!("CommandInvocation({cmdlet}): \"{cmdlet}\"\r\n");
        let mut bind = |name: &str, value: &str| {
            if !value.contains(UNKNOWN) {
                let name = name.trim_start_matches('-');
                text.push_str(&format!("ParameterBinding({cmdlet}): name=\"{name}\"; value=\"{value}\"\r\n"));
            }
        };
        let (mut i, mut position) = (0, 0);
        while i < c.args.len() {
            let a = &c.args[i];
            i += 1;
            // what an object holds is no parameter
            if a.part {
                continue;
            }
            if a.option {
                let (name, flag) = named(&a.value);
                match c.args.get(i) {
                    Some(v) if !v.option && !v.part && (!flag || a.value.ends_with(':')) => {
                        let shown = if v.items.is_empty() { v.value.clone() } else { v.items.join(", ") };
                        bind(&name, &shown);
                        i += 1;
                    }
                    Some(v) if v.part && !flag => bind(&name, "System.Collections.Hashtable"),
                    _ => bind(&name, "True"),
                }
                continue;
            }
            position += 1;
            let capture = take.iter().find(|(k, _)| *k == Key::Position(position)).map(|(_, n)| n);
            let option = capture.and_then(|n| {
                take.iter().find_map(|(k, m)| match k {
                    Key::Option(o) if m == n => Some(o),
                    _ => None,
                })
            });
            if let Some(o) = option {
                bind(o, &a.value);
            }
        }
        text
    }

    /// What a script wants to know.
    fn answer(&mut self, f: &mut Frame, ask: Ask<'_>) -> Option<String> {
        let slot = match ask {
            Ask::Env(n) => return self.environment(f, n),
            Ask::Set(n, v) => {
                f.set(&n.to_uppercase(), v);
                return None;
            }
            Ask::Pid("self") => Slot::Pid(f.me),
            Ask::Pid(n) => Slot::Pid(Who::Image(self.library.name(&scope::exe(n)))),
            Ask::Random(a, b) => Slot::Num(self.random(), a, b.max(a)),
            Ask::Guid => Slot::Guid(self.random()),
            Ask::Date(f) => Slot::Now(match f {
                f if f.contains("HH:mm") && !f.contains('y') => TimeFmt::Minute,
                f if f.contains("yyyyMMdd") => TimeFmt::Date,
                f if f.contains("yyyy-MM-dd") && !f.contains('H') => TimeFmt::IsoDate,
                f if f.contains("HHmmss") => TimeFmt::Clock,
                "%s" => TimeFmt::Unix,
                _ => TimeFmt::Iso,
            }),
        };
        Some(self.holes.put(Piece::Slot(slot, vec![])))
    }

    fn random(&mut self) -> u16 {
        self.randoms = self.randoms.saturating_add(1);
        self.randoms
    }

    fn powershell_call(
        &mut self,
        f: &mut Frame,
        c: &Call,
        name: &mut Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        if let Some(var) = self.choice(&c.name) {
            return Err(Split(var));
        }
        let lower = c.name.to_lowercase();
        if !c.path {
            match &*lower {
                "invoke-expression" => {
                    if let Some(code) = &c.code {
                        let args = vec![(Field::ScriptText, self.holes.tpl(code))];
                        push(out, ms(4, 40), f.part, Op::Emit { by: f.me, kind: Kind::ScriptBlock, args });
                    }
                    return Ok(());
                }
                "start-process" => return self.start_process(f, c, name, node, out),
                "start-job" => return self.start_job(f, c, node, out),
                "invoke-command" if c.get("computername", None).is_none() && !c.has("session") && !c.has("vmname") => {
                    if let Some(b) = c.args.iter().find(|a| a.block).filter(|_| self.depth < DEPTH_MAX) {
                        let text = b.value.clone();
                        self.depth += 1;
                        let done = self.powershell_calls(f, &text, name.take(), node, out);
                        self.depth -= 1;
                        return done;
                    }
                }
                "set-location" | "push-location" => {
                    if let Some(a) = c.get("path", Some(0)).filter(|a| !a.value.contains(UNKNOWN)) {
                        f.cwd = self.full_path(f, &a.value.clone()).trim_end_matches('\\').to_owned();
                    }
                }
                "start-sleep" => {
                    let number = |a: Option<&powershell::Arg>, most: f64| {
                        a.and_then(|a| a.value.parse::<f64>().ok()).filter(|n| (0.0..most).contains(n))
                    };
                    let n = number(c.get("seconds", Some(0)), 1e6);
                    let ms = number(c.get("milliseconds", None), 1e9);
                    let ns = ms.map(|m| m * 1e6).or(n.map(|s| s * 1e9)).unwrap_or(0.0);
                    push(out, Dur::Fixed(Span(ns as i64)), f.part, Op::Wait);
                }
                _ => {}
            }
            let effects = self.effects;
            let args = c.args();
            let mut hit = false;
            // a method is known with the kind of its object, or by its name alone
            let method = lower.rsplit_once('.').map(|(_, m)| m).or(lower.rsplit_once("::").map(|(_, m)| m));
            let method = method.map(|m| format!(".{m}")).filter(|m| *m != lower);
            for word in [Some(&lower), method.as_ref()].into_iter().flatten() {
                for e in effects.of_cmdlet(word) {
                    let Some(mut got) = captures(e, &args).filter(|_| e.also || !hit) else { continue };
                    hit |= !e.also;
                    if let Some(b) = c.args.iter().find(|a| a.block) {
                        got.insert("block".into(), b.value.clone());
                    }
                    let exec = Exec { token: c.name.clone(), rest: args.line.clone(), line: c.text.clone() };
                    push(out, ms(2, 30), f.part, Op::Wait);
                    self.effect(f, e, got, &exec, &args, node, out)?;
                }
                if hit {
                    break;
                }
            }
            if hit
                || lower.contains("::")
                || method.is_some() && !self.is_program(&c.name, false)
                || lower.starts_with('.')
            {
                return self.redirect(f, c, out);
            }
        }
        if !c.path && is_cmdlet(&c.name) && !self.is_program(&c.name, false) {
            let what =
                format!("no effect for cmdlet `{}`: it leaves its script block and its pipeline, nothing else", c.name);
            self.notes.at(node, what);
            return self.redirect(f, c, out);
        }
        let file = file_name(&c.name).to_lowercase();
        if file.ends_with(".ps1") || file.ends_with(".psm1") {
            return self.redirect(f, c, out);
        }
        if self.is_program(&c.name, c.path) {
            let exec = self.powershell_exec(f, c, node);
            let image = scope::exe(file_name(&exec.token));
            let wait = !self.detached(&image);
            let inner = f.clone();
            self.create_process(&inner, exec, name.take(), wait, node, out)?;
        }
        self.redirect(f, c, out)
    }

    fn redirect(&mut self, f: &Frame, c: &Call, out: &mut Script) -> Result<(), Split> {
        match &c.into {
            Some(to) if !to.eq_ignore_ascii_case("nul") && !to.contains(UNKNOWN) => {
                let path = self.full_path(f, to);
                self.file(f, Kind::FileCreate, &[(Field::FilePath, path)], out)
            }
            _ => Ok(()),
        }
    }

    /// Whether a name in command position is a program's: a path, an extension that runs, or a program somebody knows.
    fn is_program(&self, name: &str, path: bool) -> bool {
        let file = file_name(name).to_lowercase();
        if file.is_empty() || file.contains(['(', ')', '$', '=', '<', '>', '*', '"', '\'']) {
            return false;
        }
        let runs = [".exe", ".com", ".bat", ".cmd", ".vbs", ".js", ".hta", ".msi", ".cpl", ".scr"]
            .iter()
            .any(|e| file.ends_with(e));
        let image = scope::exe(&file);
        runs || has_hole(&file)
            || path && !file.contains('.')
            || self.effects.knows(&image)
            || self.names.programs.contains(&*image)
            || matches!(&*image, "cmd.exe" | "powershell.exe" | "pwsh.exe" | "winrm.cmd")
    }

    /// A program as PowerShell starts it: its full path in quotes, arguments quoted again where they have blanks.
    fn powershell_exec(&mut self, f: &Frame, c: &Call, node: &Node) -> Exec {
        let mut rest = String::new();
        let mut unknown = false;
        for (i, a) in c.args.iter().enumerate() {
            let joined = i > 0 && c.args[i - 1].option && c.args[i - 1].value.ends_with(':');
            let values = if a.items.is_empty() { std::slice::from_ref(&a.value) } else { &a.items[..] };
            for v in values {
                unknown |= v.contains(UNKNOWN);
                let v = v.replace(UNKNOWN, "");
                if v.is_empty() {
                    continue;
                }
                if !joined {
                    rest.push(' ');
                }
                if v.contains([' ', '\t']) && !v.contains('"') {
                    rest.push_str(&format!("\"{v}\""));
                } else {
                    rest.push_str(&v);
                }
            }
        }
        if unknown {
            self.notes.at(
                node,
                format!("a value of `{}` is known only to a running PowerShell: it is left out", self.shown(&c.text)),
            );
        }
        let mut name = c.name.clone();
        if name.contains(UNKNOWN) {
            name = file_name(&name).replace(UNKNOWN, "");
        }
        let path = name.contains(['\\', '/']);
        let shown = if path { self.full_path(f, &name) } else { self.by_path(&name) };
        let shown = if path && !file_name(&shown).contains('.') && !has_hole(file_name(&shown)) {
            shown + ".exe"
        } else {
            shown
        };
        Exec { line: format!("\"{shown}\"{rest}"), token: shown, rest }
    }

    /// A program's path as a search along PATH gives it.
    fn by_path(&mut self, name: &str) -> String {
        let file = file_name(name);
        if name.contains(['\\', '/']) || has_hole(file) {
            return name.to_owned();
        }
        let image = scope::exe(file);
        if image == "winrm.cmd" {
            return r"C:\Windows\system32\winrm.cmd".to_owned();
        }
        // where a program that is no part of the host's software lies, nobody knows
        let known = self.names.programs.contains(&*image) || matches!(&*image, "cmd.exe" | "powershell.exe");
        if !known {
            return image;
        }
        let i = self.library.name(&image);
        self.holes.put(Piece::Slot(Slot::Path(i), vec![Fmt::ByPath]))
    }

    fn start_process(
        &mut self,
        f: &Frame,
        c: &Call,
        name: &mut Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        let Some(file) = c.get("filepath", Some(0)).map(|a| a.value.clone()) else { return Ok(()) };
        if let Some(var) = self.choice(&file) {
            return Err(Split(var));
        }
        let file = if file.contains(UNKNOWN) { file_name(&file).replace(UNKNOWN, "") } else { file };
        let args = c.get("argumentlist", Some(1)).map(|a| {
            let all = if a.items.is_empty() { a.value.clone() } else { a.items.join(" ") };
            all.replace(UNKNOWN, "")
        });
        let args = args.unwrap_or_default();
        let shell = !c.has("nonewwindow") && !c.has("redirectstandardoutput") && !c.has("credential");
        // what the shell starts has a blank at its end
        let tail = if shell { " " } else { "" };
        let rest = if args.is_empty() { tail.to_owned() } else { format!(" {args}{tail}") };
        if file.contains("://") {
            let path = self.library.name("msedge.exe");
            let path = self.holes.put(Piece::Slot(Slot::Path(path), vec![]));
            let rest = format!(" --single-argument {file}");
            let exec = Exec { line: format!("\"{path}\"{rest}"), token: path, rest };
            self.create_process(f, exec, name.take(), false, node, out)?;
            return Ok(());
        }
        let path = file.contains(['\\', '/']);
        let shown = if path { self.full_path(f, &file) } else { self.by_path(&file) };
        let mut inner = Frame { shell: None, ..f.clone() };
        if let Some(d) = c.get("workingdirectory", None).filter(|d| !d.value.contains(UNKNOWN)) {
            inner.cwd = self.full_path(f, &d.value.clone()).trim_end_matches('\\').to_owned();
        }
        inner.elevated |= c.get("verb", None).is_some_and(|v| v.value.eq_ignore_ascii_case("runas"));
        let wait = c.has("wait");
        let exec = Exec { line: format!("\"{shown}\"{rest}"), token: shown, rest };
        self.create_process(&inner, exec, name.take(), wait, node, out)?;
        Ok(())
    }

    /// A job's block runs in a PowerShell of its own, which is told over its standard input.
    fn start_job(&mut self, f: &Frame, c: &Call, node: &Node, out: &mut Script) -> Result<(), Split> {
        let Some(b) = c.args.iter().find(|a| a.block) else { return Ok(()) };
        if self.depth >= DEPTH_MAX {
            return Ok(());
        }
        let program = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
        let rest = " -Version 5.1 -s -NoLogo -NoProfile".to_owned();
        let exec = Exec { line: format!("\"{program}\"{rest}"), token: program.into(), rest };
        let s = self.start(f, exec, None, node, out)?;
        self.depth += 1;
        let mut inner = s.frame.clone();
        let done = self.powershell_text(&mut inner, &b.value.clone(), None, None, node, out);
        self.depth -= 1;
        self.close(&s, End::Exits(0, ms(60, 900)), out);
        done
    }
}
