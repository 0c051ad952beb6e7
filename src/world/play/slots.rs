//! Templates filled with what is known only when a step is played.

use super::*;

impl State {
    /// A template's text.
    pub fn filled(&self, t: &Task, tpl: &Tpl) -> String {
        let mut out = String::new();
        self.fill(t, tpl, &mut out);
        out
    }

    /// Fills a template.
    pub fn fill(&self, t: &Task, tpl: &Tpl, out: &mut String) {
        for piece in &tpl.0 {
            match piece {
                Piece::Lit(text) => out.push_str(text),
                Piece::Slot(slot, fmts) if fmts.is_empty() => self.slot(t, *slot, out),
                Piece::Slot(slot, fmts) if matches!(fmts[..], [Fmt::Upper | Fmt::Lower]) => {
                    let from = out.len();
                    self.slot(t, *slot, out);
                    if !out[from..].is_ascii() {
                        let other = self.formatted(&out[from..], fmts);
                        out.replace_range(from.., &other);
                    } else if fmts[0] == Fmt::Upper {
                        out[from..].make_ascii_uppercase();
                    } else {
                        out[from..].make_ascii_lowercase();
                    }
                }
                Piece::Slot(slot, fmts) => {
                    let mut inner = String::new();
                    self.slot(t, *slot, &mut inner);
                    out.push_str(&self.formatted(&inner, fmts));
                }
                Piece::Group(tpl, fmts) => {
                    let inner = self.filled(t, tpl);
                    out.push_str(&self.formatted(&inner, fmts));
                }
            }
        }
    }

    pub(super) fn formatted(&self, text: &str, fmts: &[Fmt]) -> String {
        format(text, fmts)
    }

    pub(super) fn slot(&self, t: &Task, slot: Slot, out: &mut String) {
        use std::fmt::Write;
        let atlas = self.atlas();
        let draw = |n: u16, what: &str| Rng::of(t.named, n as u64, purpose(what));
        match slot {
            Slot::Var(FILE_VAR) => out.push_str(self.texts.get(t.file)),
            Slot::Var(i) => out.push_str(t.inst.vars.get(i as usize).map_or("", |v| v)),
            Slot::Role(r, attr) => match (t.inst.roles.get(r as usize), t.each) {
                (Some(Bound::Hosts(h)), Some(e)) if h.contains(&e) => out.push_str(atlas.host_attr(e, attr)),
                (Some(Bound::Host(h)), _) if attr == Attr::Ip => {
                    write!(out, "{}", atlas.host(*h).ip).expect("a String")
                }
                (Some(Bound::Account(a)), _) if attr == Attr::Temp => {
                    out.push_str(account_attr(atlas, *a, Attr::Profile));
                    out.push_str(r"\AppData\Local\Temp");
                }
                _ => out.push_str(role_attr(atlas, &t.inst, r, attr)),
            },
            Slot::Each(Attr::Ip) => {
                if let Some(e) = t.each {
                    write!(out, "{}", atlas.host(e).ip).expect("a String");
                }
            }
            Slot::Each(attr) => out.push_str(t.each.map_or("", |e| atlas.host_attr(e, attr))),
            Slot::Host(Attr::Ip) => write!(out, "{}", atlas.host(self.host_id(t.host)).ip).expect("a String"),
            Slot::Host(attr) => out.push_str(atlas.host_attr(self.host_id(t.host), attr)),
            Slot::User(Attr::Temp) if self.token_of(t) == AccountId::SYSTEM => out.push_str(r"C:\Windows\Temp"),
            Slot::User(Attr::Temp) => {
                out.push_str(account_attr(atlas, self.token_of(t), Attr::Profile));
                out.push_str(r"\AppData\Local\Temp");
            }
            Slot::User(Attr::Home) => {
                let fs = self.select(t, crate::world::program::HostSel::FileServer);
                write!(out, r"\\{}\home$\{}", atlas.host(fs).name, atlas.account(self.token_of(t)).name)
                    .expect("a String");
            }
            Slot::User(attr) => out.push_str(account_attr(atlas, self.token_of(t), attr)),
            Slot::Pid(who) => {
                let p = self.lookup(t.host, who, t.inst.id, &t.regs);
                let pid = p.and_then(|p| self.proc(p)).map_or(0, |p| p.snap.pid);
                write!(out, "{pid}").expect("a String");
            }
            Slot::Path(program) => {
                if let Some(i) = atlas.program(self.host_id(t.host), program) {
                    out.push_str(&atlas.path_of(atlas.image(i), t.account));
                }
            }
            Slot::Guid(n) => instance::push_guid(&mut draw(n, "guid"), out),
            Slot::Hex(n, len) => instance::push_hex(&mut draw(n, "hex"), len as usize, out),
            Slot::Letters(n, len) => {
                let mut r = draw(n, "letters");
                out.extend((0..len).map(|_| (b'a' + r.below(26) as u8) as char));
            }
            Slot::Num(n, lo, hi) => write!(out, "{}", draw(n, "num").range(lo as i64, hi as i64)).expect("a String"),
            Slot::Word(n, list) => out.push_str(instance::word_of(atlas, list, t.named, n)),
            Slot::Now(f) => {
                let (y, mo, d, h, mi, s) = self.now.civil();
                match f {
                    TimeFmt::Date => write!(out, "{y:04}{mo:02}{d:02}"),
                    TimeFmt::IsoDate => write!(out, "{y:04}-{mo:02}-{d:02}"),
                    TimeFmt::Iso => write!(out, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}"),
                    TimeFmt::Clock => write!(out, "{h:02}{mi:02}{s:02}"),
                    TimeFmt::Minute => write!(out, "{h:02}:{mi:02}"),
                    TimeFmt::Unix => write!(out, "{}", self.now.second()),
                    TimeFmt::Filetime => write!(out, "{}", self.now.0 / 100 + 116_444_736_000_000_000),
                }
                .expect("a String");
            }
        }
    }

    /// Takes the next file for a repetition.
    pub(super) fn next_file(&mut self, t: &mut Task, place: FilePlace) {
        let atlas = self.atlas();
        let rng = &mut t.rng;
        let mut name = instance::word_of(atlas, self.shared().habits.documents, rng.u64(), 0).to_owned();
        if name.is_empty() {
            name = format!("{}.docx", instance::hex(rng, 8));
        }
        let path = match place {
            FilePlace::Documents => format!(r"{}\Documents\{name}", account_attr(atlas, t.account, Attr::Profile)),
            FilePlace::Data => {
                let share = ["Finance", "HR", "Projects", "Legal", "Engineering", "Common"][rng.below(6) as usize];
                format!(r"D:\Shares\{share}\{name}")
            }
        };
        self.texts.release(t.file);
        t.file = self.texts.keep(&path);
    }
}
