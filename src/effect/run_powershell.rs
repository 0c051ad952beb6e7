//! What PowerShell does with what it was told: script blocks, cmdlets with effects, children.

use base64::Engine;

use super::argv;
use super::lower::{Frame, Split, Unit, push};
use super::matching::{Args, captures};
use super::powershell::{self, Call};
use super::run::{End, Exec, Started};
use super::scope;
use super::template::{file_name, has_hole};
use super::value::ms;
use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::program::{Dur, Fmt, Op, Piece, Script, Slot};
use crate::yaml::Node;

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
        let calls = {
            let frame = f.clone();
            powershell::calls(text, &mut |n| self.environment(&frame, n))
        };
        let mut name = name;
        for c in calls {
            self.powershell_call(f, &c, &mut name, node, out)?;
        }
        Ok(())
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
                    let inner = c.get("command", Some(0)).map(|a| a.value.clone()).unwrap_or_default();
                    if self.depth < 6 && !inner.starts_with(['(', '$']) {
                        self.depth += 1;
                        let done = self.powershell_text(f, &inner, None, name.take(), node, out);
                        self.depth -= 1;
                        done?;
                    }
                    return Ok(());
                }
                "start-process" => return self.start_process(f, c, name, node, out),
                "set-location" | "push-location" => {
                    if let Some(a) = c.get("path", Some(0)) {
                        f.cwd = self.full_path(f, &a.value.clone());
                    }
                }
                "start-sleep" => {
                    let n = c
                        .get("seconds", Some(0))
                        .and_then(|a| a.value.parse::<f64>().ok())
                        .filter(|n| (0.0..1e6).contains(n));
                    let ms = c
                        .get("milliseconds", None)
                        .and_then(|a| a.value.parse::<f64>().ok())
                        .filter(|n| (0.0..1e9).contains(n));
                    let ns = ms.map(|m| m * 1e6).or(n.map(|s| s * 1e9)).unwrap_or(0.0);
                    push(out, Dur::Fixed(Span(ns as i64)), f.part, Op::Wait);
                }
                _ => {}
            }
            let effects = self.effects;
            let args = c.args();
            let mut hit = false;
            for e in effects.of_cmdlet(&lower) {
                let Some(mut got) = captures(e, &args).filter(|_| e.also || !hit) else { continue };
                hit |= !e.also;
                if let Some(b) = c.args.iter().find(|a| a.block) {
                    got.insert("block".into(), b.value.clone());
                }
                let exec = Exec { token: c.name.clone(), rest: args.line.clone(), line: c.text.clone() };
                push(out, ms(2, 30), f.part, Op::Wait);
                self.effect(f, e, got, &exec, &args, node, out)?;
            }
            if hit || lower.starts_with('.') {
                return self.redirect(f, c, out);
            }
        }
        if self.is_program(&c.name, c.path) {
            let exec = self.powershell_exec(c);
            let image = scope::exe(file_name(&exec.token));
            let wait = !self.detached(&image);
            let inner = f.clone();
            self.create_process(&inner, exec, name.take(), wait, node, out)?;
        }
        self.redirect(f, c, out)
    }

    fn redirect(&mut self, f: &Frame, c: &Call, out: &mut Script) -> Result<(), Split> {
        match &c.into {
            Some(to) if !to.eq_ignore_ascii_case("nul") => {
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
            || matches!(&*image, "cmd.exe" | "powershell.exe" | "pwsh.exe")
    }

    /// A program as PowerShell starts it: its full path in quotes, arguments quoted again where they have blanks.
    fn powershell_exec(&mut self, c: &Call) -> Exec {
        let args: Vec<String> = c
            .args
            .iter()
            .map(|a| {
                if a.value.contains(' ') && !a.value.contains('"') {
                    format!("\"{}\"", a.value)
                } else {
                    a.value.clone()
                }
            })
            .collect();
        let mut rest = args.join(" ");
        if !rest.is_empty() {
            rest.insert(0, ' ');
        }
        let shown = self.by_path(&c.name);
        Exec {
            line: format!("\"{shown}\"{rest}"),
            token: if c.name.contains(['\\', '/']) { c.name.clone() } else { shown },
            rest,
        }
    }

    /// A program's path as a search along PATH gives it.
    fn by_path(&mut self, name: &str) -> String {
        let file = file_name(name);
        if name.contains(['\\', '/']) || has_hole(file) {
            return name.to_owned();
        }
        let image = scope::exe(file);
        let known = self.effects.knows(&image)
            || self.names.programs.contains(&*image)
            || matches!(&*image, "cmd.exe" | "powershell.exe");
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
        let args =
            c.get("argumentlist", Some(1)).map(|a| a.value.trim_matches(['"', '\'']).to_owned()).unwrap_or_default();
        let rest = if args.is_empty() { " ".to_owned() } else { format!(" {args} ") };
        let shown = self.by_path(&file);
        let token = if file.contains(['\\', '/']) { file.clone() } else { shown.clone() };
        let mut inner = Frame { shell: None, ..f.clone() };
        inner.elevated |= c.get("verb", None).is_some_and(|v| v.value.eq_ignore_ascii_case("runas"));
        let wait = c.has("wait");
        let exec = Exec { line: format!("\"{shown}\"{rest}"), token, rest };
        self.create_process(&inner, exec, name.take(), wait, node, out)?;
        Ok(())
    }
}
