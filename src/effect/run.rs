//! A command line becomes a process and what follows from it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::action::Shell;
use super::argv;
use super::lower::{DEPTH_MAX, Frame, Locals, Split, Unit, push};
use super::matching::{Args, captures};
use super::scope;
use super::template::{file_name, has_hole};
use super::value;
use super::yaml::{Arm, Effect, Exit};
use crate::time::Span;
use crate::world::program::{
    AccountSel, Attr, Dur, HostSel, Integrity, LogonResult, Op, Part, Piece, Reg, Script, Slot, Spawn, Who,
};
use crate::yaml::Node;

/// What a command line says before it is known what it means.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The program as typed, without quotes.
    pub token: String,
    /// Everything after it.
    pub rest: String,
    /// Command line as the process sees it.
    pub line: String,
}

/// A process that was started.
pub struct Started {
    /// How it does things.
    pub frame: Frame,
    /// Its register.
    pub reg: Reg,
    /// Image name in lower case.
    pub image: String,
    /// What was typed.
    pub exec: Exec,
    /// It has a name: later steps use it, so it stays.
    pub named: bool,
}

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// With a code after a while.
    Exits(u32, Dur),
    /// Not before the instance ends.
    Stays,
}

/// Characters a command line may have (CreateProcess).
const LINE_MAX: usize = 32_766;

/// Programs without a console: a shell goes on at once.
const WINDOWED: &[&str] = &[
    "explorer.exe",
    "notepad.exe",
    "calc.exe",
    "mspaint.exe",
    "winword.exe",
    "excel.exe",
    "powerpnt.exe",
    "outlook.exe",
    "chrome.exe",
    "msedge.exe",
    "firefox.exe",
    "mstsc.exe",
    "mmc.exe",
    "taskmgr.exe",
    "regedit.exe",
    "control.exe",
    "mshta.exe",
    "wscript.exe",
    "rundll32.exe",
    "teams.exe",
    "acrord32.exe",
    "acrobat.exe",
];

/// Programs that open documents: extension, program.
const OPENERS: &[(&str, &str)] = &[
    ("vbs", "wscript.exe"),
    ("vbe", "wscript.exe"),
    ("js", "wscript.exe"),
    ("jse", "wscript.exe"),
    ("wsf", "wscript.exe"),
    ("hta", "mshta.exe"),
    ("msi", "msiexec.exe"),
    ("doc", "winword.exe"),
    ("docx", "winword.exe"),
    ("docm", "winword.exe"),
    ("rtf", "winword.exe"),
    ("xls", "excel.exe"),
    ("xlsx", "excel.exe"),
    ("xlsm", "excel.exe"),
    ("csv", "excel.exe"),
    ("ppt", "powerpnt.exe"),
    ("pptx", "powerpnt.exe"),
    ("pdf", "msedge.exe"),
    ("htm", "msedge.exe"),
    ("html", "msedge.exe"),
    ("txt", "notepad.exe"),
    ("log", "notepad.exe"),
    ("ini", "notepad.exe"),
    ("ps1", "notepad.exe"),
    ("reg", "regedit.exe"),
    ("msc", "mmc.exe"),
    ("cpl", "control.exe"),
    ("chm", "hh.exe"),
];

impl Exec {
    /// A command line given to CreateProcess.
    pub fn of(line: &str) -> Exec {
        let line = line.trim_start();
        let (token, rest) = argv::program(line);
        Exec { token, rest, line: line.to_owned() }
    }
    /// Extension of the program in lower case.
    fn extension(&self) -> Option<String> {
        file_name(&self.token).rsplit_once('.').map(|(_, e)| e.to_lowercase()).filter(|e| !has_hole(e))
    }
}

impl Unit<'_> {
    /// A command line of a step or an effect: given to CreateProcess, or typed in a shell.
    ///
    /// # Errors
    /// [`Split`] when a variable's alternatives compile differently.
    pub fn command(
        &mut self,
        f: &Frame,
        line: &str,
        name: Option<u16>,
        wait: bool,
        node: &Node,
        out: &mut Script,
    ) -> Result<(), Split> {
        match f.shell {
            Some(Shell::Cmd) => {
                let mut inner = Frame { shell: None, ..f.clone() };
                self.cmd_text(&mut inner, line, name, node, out)
            }
            Some(Shell::PowerShell) => {
                let mut inner = Frame { shell: None, ..f.clone() };
                self.powershell_text(&mut inner, line, None, name, node, out)
            }
            None => self.create_process(f, Exec::of(line), name, wait, node, out).map(|_| ()),
        }
    }

    /// Starts a program, plays what it does and ends it. Returns whether it is gone.
    pub fn create_process(
        &mut self,
        f: &Frame,
        exec: Exec,
        name: Option<u16>,
        wait: bool,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        if let Some(code) = self.refused(&exec, node) {
            return Ok(End::Exits(code, value::NONE));
        }
        let started = self.start(f, exec, name, node, out)?;
        if !wait && !started.named {
            self.fork(&started, node, out)?;
            return Ok(End::Stays);
        }
        let end = self.play(&started, node, out)?;
        Ok(self.close(&started, end, out))
    }

    /// The exit code of what does not start: nothing, too much, too deep, too long.
    fn refused(&mut self, exec: &Exec, node: &Node) -> Option<u32> {
        if exec.token.trim().is_empty() {
            return Some(0);
        }
        if self.depth >= DEPTH_MAX {
            self.problems.at(node, format!("commands start each other more than {DEPTH_MAX} deep"));
            return Some(0);
        }
        if self.over(node) {
            return Some(0);
        }
        if exec.line.len() > LINE_MAX && exec.line.chars().count() > LINE_MAX {
            self.notes.at(
                node,
                format!("a command line is longer than the {LINE_MAX} characters of CreateProcess: it does not start"),
            );
            return Some(206);
        }
        None
    }

    /// Starts a program that goes on by itself, and keeps its register; none when it does not start.
    pub fn beside(&mut self, f: &Frame, exec: Exec, node: &Node, out: &mut Script) -> Result<Option<Reg>, Split> {
        if self.refused(&exec, node).is_some() {
            return Ok(None);
        }
        let started = self.start(f, exec, None, node, out)?;
        self.fork(&started, node, out)?;
        // what was given back with its end is kept after all
        self.regs |= 1 << started.reg;
        Ok(Some(started.reg))
    }

    /// What a started program does, beside what follows.
    fn fork(&mut self, started: &Started, node: &Node, out: &mut Script) -> Result<(), Split> {
        let mut script = vec![];
        let end = self.play(started, node, &mut script)?;
        self.close(started, end, &mut script);
        let script = self.library.script(script);
        push(out, value::NONE, Part::Effect, Op::Fork { script });
        Ok(())
    }

    /// Starts a program; its register is taken until [`Unit::close`].
    pub fn start(
        &mut self,
        f: &Frame,
        exec: Exec,
        name: Option<u16>,
        node: &Node,
        out: &mut Script,
    ) -> Result<Started, Split> {
        if let Some(var) = self.choice(&exec.token) {
            return Err(Split(var));
        }
        let exec = self.opened(exec);
        let (image, path) = self.image(f, &exec.token, node);
        let asked = self.wanted.iter().position(|(i, _)| *i == image);
        let name = name.or_else(|| asked.map(|i| self.wanted.remove(i).1));
        let reg = self.reg(node);
        let elevated = f.elevated;
        let system = matches!(f.account, AccountSel::System | AccountSel::LocalService | AccountSel::NetworkService);
        let spawn = Spawn {
            program: self.library.name(&image),
            path,
            command_line: self.holes.tpl(&exec.line),
            directory: (!f.cwd.is_empty()).then(|| self.holes.tpl(&format!("{}\\", f.cwd.trim_end_matches('\\')))),
            parent: f.me,
            account: f.account,
            integrity: f.integrity.unwrap_or(match (system, elevated) {
                (true, _) => Integrity::System,
                (_, true) => Integrity::High,
                _ => Integrity::Inherit,
            }),
            reg,
            name,
            service: None,
        };
        push(out, f.lead, f.part, Op::Spawn(Box::new(spawn)));
        let frame = Frame {
            me: Who::Reg(reg),
            part: if f.part == Part::Direct { Part::Effect } else { f.part },
            account: f.account,
            elevated,
            integrity: None,
            own: Rc::default(),
            shell: None,
            locals: None,
            file: false,
            lead: value::NONE,
            env: f.env.clone(),
            ..f.clone()
        };
        if let Some(i) = name {
            let shell = match &*image {
                "cmd.exe" => Some(Shell::Cmd),
                "powershell.exe" | "pwsh.exe" => Some(Shell::PowerShell),
                _ => None,
            };
            let n = &mut self.scope.names[i as usize];
            n.elevated |= elevated;
            n.shell = shell.filter(|s| super::run_cmd::interactive(*s, &exec.rest));
        }
        Ok(Started { frame, reg, image, exec, named: name.is_some() })
    }

    /// A document or script that was typed as a program is given to the program that opens it.
    fn opened(&mut self, exec: Exec) -> Exec {
        let found = scope::exe(file_name(&exec.token));
        let Some(ext) = exec.extension().or(found.strip_suffix(".cmd").map(|_| "cmd".to_owned())) else { return exec };
        if matches!(&*ext, "bat" | "cmd") {
            let line = format!("C:\\Windows\\system32\\cmd.exe /c \"{}\"", exec.line.trim_end());
            return Exec {
                token: r"C:\Windows\system32\cmd.exe".into(),
                rest: format!(" /c \"{}\"", exec.line.trim_end()),
                line,
            };
        }
        let Some((_, program)) = OPENERS.iter().find(|(e, _)| *e == ext) else { return exec };
        let path = self.library.name(program);
        let path = self.holes.put(Piece::Slot(Slot::Path(path), vec![]));
        let (verb, tail) = match *program {
            "msiexec.exe" => ("/i ", exec.rest.clone()),
            "wscript.exe" => ("", format!("{} ", exec.rest)),
            _ => ("", exec.rest.clone()),
        };
        let rest = format!(" {verb}\"{}\"{tail}", exec.token);
        Exec { line: format!("\"{path}\"{rest}"), token: path, rest }
    }

    /// Image name and, when it is not where the program usually is, its path.
    fn image(&mut self, f: &Frame, token: &str, node: &Node) -> (String, Option<crate::world::program::Tpl>) {
        if let Some(Piece::Slot(Slot::Path(i), _)) = self.holes.only(token) {
            return (self.library.names[*i as usize].to_string(), None);
        }
        let token = token.replace('/', "\\");
        let name = file_name(&token).to_lowercase();
        if has_hole(&name) {
            let path = if token.contains('\\') { self.full_path(f, &token) } else { self.loose(f, &token) };
            let path = if file_name(&path).contains('.') || self.dotted(&path) { path } else { format!("{path}.exe") };
            return (String::new(), Some(self.holes.tpl(&path)));
        }
        let image = if name.contains('.') { name.trim_end_matches('.').to_owned() } else { scope::exe(&name) };
        let known = self.effects.knows(&image)
            || self.names.programs.contains(&*image)
            || matches!(&*image, "cmd.exe" | "powershell.exe" | "pwsh.exe");
        if !known {
            self.notes
                .at(node, format!("no effect and no known program `{image}`: it is started and leaves nothing else"));
        }
        let lower = token.to_lowercase();
        let usual = ["c:\\windows\\system32\\", "c:\\windows\\"];
        // a tool that an intruder brought is where the command says, though an effect knows it
        let at_home = (self.names.programs.contains(&*image) || matches!(&*image, "cmd.exe" | "powershell.exe"))
            && usual.iter().any(|d| {
                lower.strip_prefix(d).is_some_and(|r| !r.contains('\\'))
                    || lower.starts_with("c:\\windows\\system32\\w")
            });
        if !token.contains('\\') || at_home {
            return (image, None);
        }
        let mut path = self.full_path(f, &token);
        if !file_name(&path).contains('.') {
            path.push_str(image.rfind('.').map_or(".exe", |i| &image[i..]));
        }
        (image, Some(self.holes.tpl(&path)))
    }

    /// A hole that ends in an extension of its own (a variable whose every alternative has one).
    fn dotted(&self, path: &str) -> bool {
        let last = path.chars().last();
        matches!(last.and_then(|c| self.holes.get(c)), Some(Piece::Slot(Slot::Path(_), _)))
    }

    fn loose(&mut self, f: &Frame, token: &str) -> String {
        let temp = self.holes.put(Piece::Slot(Slot::User(Attr::Temp), vec![]));
        let dir =
            if f.cwd.is_empty() || f.cwd.eq_ignore_ascii_case(r"C:\Windows\System32") { temp } else { f.cwd.clone() };
        format!("{dir}\\{token}")
    }

    /// What a started program does.
    pub fn play(&mut self, s: &Started, node: &Node, out: &mut Script) -> Result<End, Split> {
        self.depth += 1;
        let end = self.play_inner(s, node, out);
        self.depth -= 1;
        end
    }

    fn play_inner(&mut self, s: &Started, node: &Node, out: &mut Script) -> Result<End, Split> {
        let args = Args::native(&s.exec.rest);
        let effects = self.effects;
        for e in effects.of_image(&s.image).filter(|e| e.also) {
            if let Some(got) = captures(e, &args) {
                self.effect(&s.frame, e, got, &s.exec, &args, node, out)?;
            }
        }
        match &*s.image {
            "cmd.exe" => return self.cmd_program(s, node, out),
            "powershell.exe" | "pwsh.exe" => return self.powershell_program(s, &args, node, out),
            _ => {}
        }
        for e in effects.of_image(&s.image).filter(|e| !e.also) {
            if let Some(got) = captures(e, &args) {
                return self.effect(&s.frame, e, got, &s.exec, &args, node, out);
            }
        }
        // somebody's program: a console tool is soon done, one with a window stays a while
        Ok(if WINDOWED.contains(&&*s.image) {
            End::Stays
        } else {
            End::Exits(0, Dur::LogNormal { median: Span::ms(160), p99: Span::s(9) })
        })
    }

    /// Ends a started program unless it has a name (then it stays); gives its register back.
    pub fn close(&mut self, s: &Started, end: End, out: &mut Script) -> End {
        let end = if s.named { End::Stays } else { end };
        if let End::Exits(code, after) = end {
            push(out, after, s.frame.part, Op::Exit { who: Who::Reg(s.reg), code });
        }
        self.free(s.reg);
        end
    }

    /// True when a shell that starts it does not wait for it.
    pub fn detached(&self, image: &str) -> bool {
        WINDOWED.contains(&image)
    }

    /// The lines of an effect.
    pub fn effect(
        &mut self,
        f: &Frame,
        e: &Effect,
        got: BTreeMap<String, String>,
        exec: &Exec,
        args: &Args,
        node: &Node,
        out: &mut Script,
    ) -> Result<End, Split> {
        let mut locals = Locals { text: got, remote: false, lost: false, elevated: f.elevated };
        for (name, text) in
            [("command_line", &exec.line), ("arguments", &args.line), ("image", &exec.token), ("directory", &f.cwd)]
        {
            locals.text.entry(name.to_owned()).or_insert_with(|| text.clone());
        }
        let mut frame = Frame {
            locals: Some(Rc::new(locals.clone())),
            draws: Rc::default(),
            own: Rc::default(),
            pace: Dur::Range(Span::us(250), Span::ms(4)),
            ..f.clone()
        };
        for (name, t) in &e.defaults {
            if !locals.text.contains_key(name)
                && let Some(text) = self.text(&frame, t)?
            {
                locals.text.insert(name.clone(), text);
                frame.locals = Some(Rc::new(locals.clone()));
            }
        }
        for (name, arms) in &e.lets {
            for Arm { when, is, of } in arms {
                if let Some(c) = when {
                    self.split_on(c, &locals)?;
                    if !c.holds(&locals) {
                        continue;
                    }
                }
                let text = self.text(&frame, is)?;
                let text = match of {
                    Some(value) => text.and_then(|key| self.written(&key, value)),
                    None => text,
                };
                if let Some(text) = text {
                    locals.text.insert(name.clone(), text);
                    frame.locals = Some(Rc::new(locals.clone()));
                    break;
                }
            }
        }
        let host = match &e.on {
            Some(t) => self.text(&frame, t)?.filter(|t| !t.is_empty()),
            None => None,
        };
        let target = host.as_ref().map(|t| self.host_of(t));
        locals.remote = target.is_some_and(|t| t != Some(HostSel::Here));
        locals.lost = target == Some(None);
        frame.locals = Some(Rc::new(locals.clone()));
        for need in &e.needs {
            let elevation = match &need.elevated {
                None => false,
                Some(None) => true,
                Some(Some(c)) => {
                    self.split_on(c, &locals)?;
                    c.holds(&locals)
                }
            };
            if let Some(c) = &need.that {
                self.split_on(c, &locals)?;
            }
            // another machine asks for rights there, which the caller's account decides, not this token
            let denied = elevation && !locals.elevated && !locals.remote;
            if denied {
                self.notes
                    .at(node, format!("`{}` fails: effect `{}` needs `elevated: true`", self.shown(&exec.line), e.id));
            }
            if denied || need.that.as_ref().is_some_and(|c| !c.holds(&locals)) {
                self.actions(&frame, &need.does, out)?;
                let after = self.wait(&frame, &need.after)?;
                return Ok(End::Exits(need.code, after));
            }
        }
        match target {
            Some(Some(host)) if host != HostSel::Here => {
                let (there, here): (Vec<_>, Vec<_>) = e.does.iter().cloned().partition(|a| {
                    matches!(a.what, super::action::What::Run(_))
                        || a.by
                            .as_ref()
                            .is_some_and(|b| !matches!(b.as_lit(), Some("self" | "parent" | "shell" | "actor")))
                });
                self.actions(&frame, &here, out)?;
                if !there.is_empty() {
                    let then = Some(self.away(&frame, AccountSel::Actor, &there)?);
                    let op = Op::Logon {
                        by: frame.me,
                        host,
                        account: AccountSel::Actor,
                        logon_type: 3,
                        result: LogonResult::Ok,
                        ntlm: false,
                        explicit: false,
                        hold: value::ms(900, 14_000),
                        then,
                    };
                    push(out, value::ms(3, 40), frame.part, op);
                }
            }
            // a host that is none of ours does not answer
            Some(None) => {
                let own: Vec<_> = e
                    .does
                    .iter()
                    .filter(|a| a.by.is_none() && !matches!(a.what, super::action::What::Run(_)))
                    .cloned()
                    .collect();
                self.actions(&frame, &own, out)?;
            }
            _ => self.actions(&frame, &e.does, out)?,
        }
        for (_, reg) in frame.own.borrow().iter() {
            self.free(*reg);
        }
        if !e.prints.is_empty() {
            self.printed.clear();
            for t in &e.prints {
                let line = self.text(&frame, t)?;
                self.printed.extend(line);
            }
        }
        match &e.exit {
            Exit::Never => Ok(End::Stays),
            Exit::Ends(code, after) => Ok(End::Exits(*code, self.wait(&frame, after)?)),
        }
    }

    /// A text for a message: holes as `…`, at most 60 characters.
    pub fn shown(&self, text: &str) -> String {
        let mut s: String = text.chars().map(|c| if super::template::is_hole(c) { '…' } else { c }).take(60).collect();
        if text.chars().count() > 60 {
            s.push('…');
        }
        s
    }
}
