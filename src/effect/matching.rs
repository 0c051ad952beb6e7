//! Does an effect match these arguments, and what does it take from them?

use std::collections::BTreeMap;

use super::argv;
use super::powershell::UNKNOWN;
use super::yaml::{Effect, Key, Style, Want};

/// Arguments of a command: as typed, and split.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// Everything after the program, without surrounding blanks.
    pub line: String,
    /// Split.
    pub argv: Vec<String>,
    /// For cmdlets: which of them are names of parameters.
    pub options: Option<Vec<bool>>,
}

impl Args {
    /// Of a native program.
    pub fn native(line: &str) -> Args {
        Args { line: line.trim().to_owned(), argv: argv::split(line), options: None }
    }
}

/// True when all of a text matches a pattern in which `*` stands for anything; upper and lower case alike.
pub fn glob(pattern: &str, text: &str) -> bool {
    if pattern.is_ascii() && text.is_ascii() {
        return whole(pattern.as_bytes(), text.as_bytes(), &b'*', |p, t| p.eq_ignore_ascii_case(t));
    }
    let lower = |s: &str| s.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    whole(&lower(pattern), &lower(text), &'*', |p, t| p == t)
}

fn whole<T: PartialEq>(p: &[T], t: &[T], any: &T, same: impl Fn(&T, &T) -> bool) -> bool {
    let (mut i, mut j, mut star, mut mark) = (0, 0, None, 0);
    while j < t.len() {
        if i < p.len() && p[i] == *any {
            star = Some(i);
            mark = j;
            i += 1;
        } else if i < p.len() && same(&p[i], &t[j]) {
            i += 1;
            j += 1;
        } else if let Some(s) = star {
            i = s + 1;
            mark += 1;
            j = mark;
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| c == any)
}

/// One argument as its style reads it.
enum Seen<'a> {
    /// An option and the value attached to it.
    Option(String, Option<&'a str>),
    /// Anything else.
    Plain(&'a str),
}

fn see(style: Style, arg: &str) -> Seen<'_> {
    let long = arg.len() > 1;
    match style {
        Style::Slash if long && arg.starts_with(['/', '-']) => {
            let (name, value) = cut(arg, &[':', '=']);
            Seen::Option(norm(style, name), value)
        }
        Style::Dash if long && arg.starts_with('-') => {
            let (name, value) = cut(arg, &['=', ':']);
            Seen::Option(norm(style, name), value)
        }
        Style::Equals if arg.find('=').is_some_and(|i| i > 0) => {
            let (name, value) = cut(arg, &['=']);
            Seen::Option(norm(style, name), value.filter(|v| !v.is_empty()))
        }
        Style::Equals | Style::Words if long && arg.starts_with('/') => {
            let (name, value) = cut(arg, &[':', '=']);
            Seen::Option(norm(style, name), value)
        }
        _ => Seen::Plain(arg),
    }
}

fn cut<'a>(arg: &'a str, at: &[char]) -> (&'a str, Option<&'a str>) {
    match arg[1.min(arg.len())..].find(at) {
        _ if !arg.is_char_boundary(1) => (arg, None),
        Some(i) => (&arg[..i + 1], Some(&arg[i + 2..])),
        None => (arg, None),
    }
}

/// Option names in one spelling: lower case; where `/x` and `-x` are the same, `/x`; without final `:` or `=`.
fn norm(style: Style, name: &str) -> String {
    let name = name.trim_end_matches([':', '=']).to_lowercase();
    match name.strip_prefix('-') {
        Some(rest) if style == Style::Slash => format!("/{rest}"),
        _ => name,
    }
}

impl Args {
    /// An argument as an effect's style reads it.
    fn see(&self, style: Style, i: usize) -> Seen<'_> {
        match &self.options {
            Some(o) if o[i] => Seen::Option(norm(style, &self.argv[i]), None),
            Some(_) => Seen::Plain(&self.argv[i]),
            None => see(style, &self.argv[i]),
        }
    }
    /// True when an option as typed is the one an effect asks for; PowerShell takes any beginning of a parameter's name.
    fn is(&self, style: Style, want: &str, typed: &str) -> bool {
        let want = norm(style, want);
        glob(&want, typed) || self.options.is_some() && typed.len() > 1 && want.starts_with(typed)
    }
}

/// The values an effect takes, by capture, and the arguments that are no options.
fn read<'a>(e: &Effect, args: &'a Args) -> (BTreeMap<String, String>, Vec<&'a str>) {
    let mut got = BTreeMap::new();
    let mut plain: Vec<&str> = vec![];
    let mut i = 0;
    let rest_from = e.take.iter().find_map(|(k, n)| match k {
        Key::From(at) => Some((*at, n)),
        _ => None,
    });
    while i < args.argv.len() {
        let arg = &args.argv[i];
        i += 1;
        match args.see(e.style, i - 1) {
            Seen::Plain(_) => {
                let text = &**arg;
                if let Some((at, name)) = rest_from
                    && plain.len() + 1 == at
                {
                    got.insert(name.clone(), argv_join(&args.argv[i - 1..]));
                    plain.push(text);
                    break;
                }
                plain.push(text);
            }
            Seen::Option(name, value) => {
                for (flag, capture) in &e.flags {
                    if args.is(e.style, flag, &name) {
                        got.insert(capture.clone(), "true".into());
                    }
                }
                // a whole name before one that only begins so
                let mut hit: Option<&String> = None;
                for (k, n) in &e.take {
                    let Key::Option(o) = k else { continue };
                    if glob(&norm(e.style, o), &name) {
                        hit = Some(n);
                        break;
                    }
                    if hit.is_none() && args.is(e.style, o, &name) {
                        hit = Some(n);
                    }
                }
                let Some(capture) = hit else { continue };
                let value = match value {
                    Some(v) => Some(v.to_owned()),
                    None => match args.argv.get(i) {
                        Some(next) if e.style == Style::Equals || matches!(args.see(e.style, i), Seen::Plain(_)) => {
                            i += 1;
                            Some(next.clone())
                        }
                        _ => None,
                    },
                };
                if let Some(v) = value {
                    got.entry(capture.clone()).or_insert(v.trim_matches('"').to_owned());
                }
            }
        }
    }
    for (k, n) in &e.take {
        let Key::Position(at) = k else { continue };
        let at =
            if *at > 0 { (*at as usize).checked_sub(1) } else { plain.len().checked_sub(at.unsigned_abs() as usize) };
        if let Some(v) = at.and_then(|i| plain.get(i)) {
            got.entry(n.clone()).or_insert((*v).to_owned());
        }
    }
    (got, plain)
}

fn argv_join(args: &[String]) -> String {
    args.iter().map(|a| argv::quote(a)).collect::<Vec<_>>().join(" ")
}

/// What an effect takes from arguments, when it matches them.
pub fn captures(e: &Effect, args: &Args) -> Option<BTreeMap<String, String>> {
    let there = |pattern: &String| {
        let want = norm(e.style, pattern);
        args.argv.iter().enumerate().any(|(i, a)| {
            glob(pattern, a)
                || match args.see(e.style, i) {
                    Seen::Option(name, _) => args.is(e.style, pattern, &name),
                    Seen::Plain(t) => glob(&want, t),
                }
        })
    };
    // most effects are refused by what stands there, before anything is taken
    let may = e.wants.iter().all(|w| match w {
        Want::Has(list) => list.iter().all(there),
        Want::Any(list) => list.iter().any(there),
        Want::None(list) => !list.iter().any(there),
        Want::Empty => args.argv.is_empty(),
        Want::Position(..) | Want::Regex(_) => true,
    });
    if !may {
        return None;
    }
    let (mut got, plain) = read(e, args);
    for w in &e.wants {
        match w {
            Want::Position(at, list) => {
                let here = plain.get(at - 1)?;
                list.iter().find(|w| glob(w, here))?;
            }
            Want::Regex(re) => {
                let found = re.captures(&args.line)?;
                got.extend(found.into_iter().map(|(n, t)| (n.to_owned(), t.trim_matches('"').to_owned())));
            }
            Want::Has(_) | Want::Any(_) | Want::None(_) | Want::Empty => {}
        }
    }
    // what only a running PowerShell would know is not there
    got.retain(|_, v| !v.contains(UNKNOWN));
    Some(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Problems, parse};

    fn effect(yaml: &str) -> Effect {
        let mut p = Problems::new();
        let e = Effect::read(&parse("e.yaml", yaml).unwrap()[0], &mut p);
        e.unwrap_or_else(|| panic!("{p}"))
    }

    fn take(e: &Effect, line: &str) -> Option<String> {
        captures(e, &Args::native(line))
            .map(|c| c.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_in_every_style() {
        let e = effect(
            "{effect: a, match: {image: x, args: {has: /create}}, args: {style: slash, take: {/tn: n, /tr: r}, flags: {/f: force}}}",
        );
        assert_eq!(take(&e, r#"/create /tn Up /tr "C:\a b.exe /x" /F"#).unwrap(), r"force=true n=Up r=C:\a b.exe /x");
        assert_eq!(take(&e, "-Create -tn:Up").unwrap(), "n=Up");
        assert_eq!(take(&e, "/tn Up"), None);
        let e =
            effect("{effect: a, match: {image: x}, args: {style: dash, take: {-o: o, --url: u, 1: first, -1: last}}}");
        assert_eq!(take(&e, "-o out --url=http://h:1/ a -s b").unwrap(), "first=a last=b o=out u=http://h:1/");
        let e = effect(
            "{effect: a, match: {image: sc, args: {position: {1: create}}}, args: {style: equals, take: {2: n, binpath: b, start: s}}}",
        );
        assert_eq!(take(&e, r#"create svc binPath= "C:\x y.exe" start= auto"#).unwrap(), r"b=C:\x y.exe n=svc s=auto");
        assert_eq!(take(&e, r"create svc binPath=C:\x.exe").unwrap(), r"b=C:\x.exe n=svc");
        let e = effect(
            "{effect: a, match: {image: net, args: {position: {1: [user, users]}, has: /add}}, args: {style: words, take: {2: n, 3: pw}}}",
        );
        assert_eq!(take(&e, "user bob Pa$$ /add").unwrap(), "n=bob pw=Pa$$");
        let e = effect(
            "{effect: a, match: {image: psexec}, args: {style: dash, take: {1: host, 2..: rest, -u: user}, flags: {-s: system}}}",
        );
        assert_eq!(
            take(&e, r#"\\ws1 -u adm -s cmd /c "echo hi" -x"#).unwrap(),
            r#"host=\\ws1 rest=cmd /c "echo hi" -x system=true user=adm"#
        );
        let e =
            effect(r#"{effect: a, match: {image: rundll32, args: {regex: '^"?(?<dll>[^",]+)"?,\s*(?<entry>\S+)'}}}"#);
        assert_eq!(take(&e, r#""C:\a b.dll",Run x"#).unwrap(), r"dll=C:\a b.dll entry=Run");
    }

    #[test]
    fn globs() {
        for (p, t, want) in [
            ("*", "", true),
            ("a*c", "ABC", true),
            ("a*c", "abd", false),
            ("*.lock", "x.lock", true),
            ("", "a", false),
            ("**a", "ba", true),
        ] {
            assert_eq!(glob(p, t), want, "{p} {t}");
        }
    }
}
