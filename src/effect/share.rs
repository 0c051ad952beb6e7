//! Files of other machines' shares: what their server does and checks.

use super::lower::{Frame, Unit};
use crate::activity::{Field, Kind};
use crate::time::Span;
use crate::world::program::{Dur, Op, Part as Role, ScriptId, Timed, Tpl, Who};

impl Unit<'_> {
    /// What a server does with a file of a share: it checks the access, and its System process writes.
    pub(super) fn on_share(
        &mut self,
        f: &Frame,
        kind: Kind,
        share: &str,
        file: &str,
        mask: u32,
        args: &[(Field, String)],
    ) -> ScriptId {
        let tpl = |t: &str| self.holes.tpl(t);
        let place = [
            (Field::ShareName, tpl(&format!(r"\\*\{share}"))),
            (Field::SharePath, tpl(&format!(r"\??\{}", local_path(share, "")))),
        ];
        let check = [(Field::ObjectRelative, tpl(file)), (Field::AccessMask, Tpl::lit(&mask.to_string()))];
        let mut there: Vec<(Field, Tpl)> = vec![(Field::FilePath, tpl(&local_path(share, file)))];
        for (k, v) in args.iter().filter(|(k, _)| *k != Field::FilePath) {
            there.push((*k, tpl(&if *k == Field::FileOldPath { old_path(share, file, v) } else { v.clone() })));
        }
        let part = if f.part == Role::Direct { Role::Effect } else { f.part };
        let emit = |kind, args| Timed {
            after: Dur::Range(Span::us(150), Span::us(2_100)),
            part,
            op: Op::Emit { by: Who::System, kind, args },
        };
        let mut script = vec![
            // a client asks there for the referrals of a share first
            emit(Kind::ShareAccess, vec![(Field::ShareName, Tpl::lit(r"\\*\IPC$"))]),
            emit(Kind::ShareAccess, place.to_vec()),
            emit(Kind::ShareCheck, place.into_iter().chain(check).collect()),
        ];
        if kind != Kind::FileRead {
            script.push(emit(kind, there));
        }
        self.library.script(script)
    }
}

/// Host, share and file of a path on a share.
pub fn unc(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix(r"\\").filter(|p| !p.starts_with(['.', '?']))?;
    let (host, rest) = rest.split_once('\\').unwrap_or((rest, ""));
    let (share, file) = rest.split_once('\\').unwrap_or((rest, ""));
    Some((host, share, file))
}

/// The rights that a client asks for on a share when it does something to a file (as recorded in 5145).
pub fn share_mask(kind: Kind) -> Option<u32> {
    match kind {
        Kind::FileCreate | Kind::FileModify => Some(0x13_0197),
        Kind::FileDelete | Kind::FileRename => Some(0x11_0080),
        Kind::FileRead => Some(0x12_0089),
        _ => None,
    }
}

/// Where a file that is renamed on a share lay before.
fn old_path(share: &str, file: &str, old: &str) -> String {
    match unc(old) {
        Some((_, from, old)) if from.eq_ignore_ascii_case(share) => local_path(share, old),
        _ => {
            let folder = file.rsplit_once('\\').map_or(String::new(), |(d, _)| format!("{d}\\"));
            local_path(share, &format!("{folder}{}", super::template::file_name(old)))
        }
    }
}

/// Where a share's file lies on its host.
fn local_path(share: &str, file: &str) -> String {
    let base = match &*share.to_ascii_uppercase() {
        "ADMIN$" => r"C:\Windows".to_owned(),
        s if s.len() == 2 && s.ends_with('$') => format!("{}:", &s[..1]),
        _ => format!(r"D:\Shares\{share}"),
    };
    format!("{base}\\{file}")
}
