//! Paths as commands write them, made whole.

use super::lower::{Frame, Unit};
use crate::world::program::{Attr, FILE_VAR, Piece, Slot};

impl Unit<'_> {
    /// A path made absolute with the current directory, as the disk spells it: no detours, the drive in upper case.
    pub fn full_path(&mut self, f: &Frame, path: &str) -> String {
        straight(self.absolute(f, path))
    }

    fn absolute(&mut self, f: &Frame, path: &str) -> String {
        let path = path.trim().trim_matches('"').replace('/', "\\");
        if path.is_empty() || self.is_whole(&path) {
            return path;
        }
        if path.starts_with('\\') {
            return format!("C:{path}");
        }
        let cwd = if f.cwd.is_empty() {
            self.holes.put(Piece::Slot(Slot::User(Attr::Profile), vec![]))
        } else {
            f.cwd.clone()
        };
        let mut rest = path.as_str();
        let mut base = cwd.as_str();
        loop {
            if let Some(r) = rest.strip_prefix(".\\") {
                rest = r;
            } else if let Some(r) = rest.strip_prefix("..\\") {
                rest = r;
                base = base.rsplit_once('\\').map_or(base, |(b, _)| b);
            } else {
                break;
            }
        }
        // a shell's directory is spelt as it was given, a file's path as the disk has it
        let base = if base.eq_ignore_ascii_case(r"C:\Windows\System32") { r"C:\Windows\System32" } else { base };
        format!("{base}\\{rest}")
    }

    /// True for a text that begins where paths begin.
    fn is_whole(&self, path: &str) -> bool {
        let mut chars = path.chars();
        let (a, b) = (chars.next(), chars.next());
        let drive = matches!((a, b), (Some(a), Some(':')) if a.is_ascii_alphabetic());
        // a variable before a separator is a folder with its whole path
        let folder = |p: &Piece| b == Some('\\') && matches!(p, Piece::Slot(Slot::Var(_), _));
        drive
            || path.starts_with(r"\\")
            || a.and_then(|c| self.holes.get(c)).is_some_and(|p| self.is_path(p) || folder(p))
    }

    /// True for values that are whole paths.
    pub(super) fn is_path(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Slot(Slot::User(a) | Slot::Role(_, a) | Slot::Host(a), _) => {
                matches!(a, Attr::Profile | Attr::Temp | Attr::Home)
            }
            Piece::Slot(Slot::Path(_), _) => true,
            Piece::Slot(Slot::Var(v), _) => {
                let arms = self.scope.vars.get(*v as usize).map_or(&[][..], |v| &v.arms);
                *v == FILE_VAR || (!arms.is_empty() && arms.iter().all(|a| self.is_whole(a)))
            }
            _ => false,
        }
    }
}

/// A full path without `.`, `..` and doubled separators. Shares and devices keep their beginning.
fn straight(path: String) -> String {
    let head = match path.as_bytes() {
        [b'\\', b'\\', ..] => 2,
        [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic() => 3,
        _ => return path,
    };
    let mut parts: Vec<&str> = vec![];
    for part in path[head..].split('\\') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    let end = if path.len() > head && path.ends_with('\\') && !parts.is_empty() { "\\" } else { "" };
    format!("{}{}{end}", path[..head].to_ascii_uppercase(), parts.join("\\"))
}
