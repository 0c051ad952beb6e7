//! Command lines as cmd.exe reads them: quotes, carets, `&`, `&&`, `||`, `|`, brackets, redirection, `%VAR%`, `for`, `if`.
//!
//! Parsing never fails: what cmd would refuse becomes a command that cannot be found.

/// How a command follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// `&`, a new line, or the first.
    Always,
    /// `&&`
    Success,
    /// `||`
    Failure,
}

/// Commands joined by `|`, and how they follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// How it follows.
    pub joint: Joint,
    /// The commands of the pipe.
    pub pipe: Vec<Command>,
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A program or builtin with its arguments.
    Simple(Simple),
    /// `( … )`
    Group(Vec<Item>, Vec<Redirect>),
    /// `for`: switches, variable, list, body as text.
    For(For),
    /// `if`: condition as text, then, else.
    If(String, Vec<Item>, Vec<Item>),
}

/// A program or builtin with its arguments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simple {
    /// Text after carets are gone and without redirections.
    pub text: String,
    /// Redirections.
    pub redirects: Vec<Redirect>,
}

/// `> file`, `>> file`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `>>`
    pub append: bool,
    /// Where to; quotes are gone.
    pub target: String,
}

/// `for %v in (list) do body`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct For {
    /// `/l`, `/f "…"` or nothing.
    pub switches: String,
    /// The variable's letter.
    pub variable: String,
    /// What stands in brackets.
    pub list: String,
    /// What is done, not yet parsed.
    pub body: String,
}

/// Brackets one line may nest.
const DEPTH_MAX: usize = 40;
/// Characters of a line that cmd takes, before and after its variables are filled in.
pub const LINE_MAX: usize = 8191;

/// Reads a text.
pub fn parse(text: &str) -> Vec<Item> {
    let mut p = Parser { c: text.chars().collect(), i: 0, depth: 0 };
    let mut items = p.list(false);
    // a bracket too many ends the list early; cmd reports an error there and stops
    while p.i < p.c.len() && items.len() < 10_000 {
        p.i += 1;
        items.extend(p.list(false));
    }
    items
}

struct Parser {
    c: Vec<char>,
    i: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.c.get(self.i).copied()
    }
    fn starts(&self, s: &str) -> bool {
        s.chars().enumerate().all(|(k, ch)| self.c.get(self.i + k) == Some(&ch))
    }
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | ',' | ';' | '=' | '\r' | '@')) {
            self.i += 1;
        }
    }
    fn list(&mut self, inside: bool) -> Vec<Item> {
        let mut items = vec![];
        let mut joint = Joint::Always;
        loop {
            self.blanks();
            match self.peek() {
                None => return items,
                Some(')') if inside => return items,
                Some('\n') => {
                    self.i += 1;
                    joint = Joint::Always;
                    continue;
                }
                Some('&') => {
                    self.i += 1;
                    joint = if self.peek() == Some('&') { Joint::Success } else { Joint::Always };
                    self.i += (joint == Joint::Success) as usize;
                    continue;
                }
                Some('|') if self.starts("||") => {
                    self.i += 2;
                    joint = Joint::Failure;
                    continue;
                }
                Some('|') => {
                    self.i += 1;
                    continue;
                }
                Some(')') => return items,
                Some(_) => {}
            }
            let at = self.i;
            let pipe = self.pipe(inside);
            if !pipe.is_empty() {
                items.push(Item { joint, pipe });
            }
            if self.i == at {
                self.i += 1;
            }
            joint = Joint::Always;
        }
    }
    fn pipe(&mut self, inside: bool) -> Vec<Command> {
        let mut out = vec![];
        loop {
            self.blanks();
            out.extend(self.command(inside));
            self.blanks();
            if self.peek() == Some('|') && !self.starts("||") {
                self.i += 1;
            } else {
                return out;
            }
        }
    }
    fn word_is(&self, word: &str) -> bool {
        let n = word.chars().count();
        let same =
            word.chars().enumerate().all(|(k, ch)| self.c.get(self.i + k).is_some_and(|c| c.eq_ignore_ascii_case(&ch)));
        same && self.c.get(self.i + n).is_none_or(|c| matches!(c, ' ' | '\t' | '('))
    }
    fn command(&mut self, inside: bool) -> Option<Command> {
        if self.peek() == Some('(') && self.depth < DEPTH_MAX {
            return Some(self.group());
        }
        if self.word_is("for") {
            let start = self.i;
            if let Some(f) = self.for_loop(inside) {
                return Some(Command::For(f));
            }
            self.i = start;
        }
        if self.word_is("if") && self.depth < DEPTH_MAX {
            return Some(self.condition(inside));
        }
        let s = self.simple(inside);
        (!s.text.trim().is_empty() || !s.redirects.is_empty()).then_some(Command::Simple(s))
    }
    fn group(&mut self) -> Command {
        self.i += 1;
        self.depth += 1;
        let items = self.list(true);
        self.depth -= 1;
        if self.peek() == Some(')') {
            self.i += 1;
        }
        let mut redirects = vec![];
        loop {
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.i += 1;
            }
            let at = self.i;
            if matches!(self.peek(), Some('1' | '2')) && self.c.get(self.i + 1) == Some(&'>') {
                self.i += 1;
            }
            if !matches!(self.peek(), Some('>' | '<')) {
                self.i = at;
                return Command::Group(items, redirects);
            }
            redirects.extend(self.redirect());
        }
    }
    /// At `>` or `<`: what it names; `>&1` and `<` name nothing.
    fn redirect(&mut self) -> Option<Redirect> {
        let input = self.peek() == Some('<');
        self.i += 1;
        let append = self.peek() == Some('>');
        self.i += append as usize;
        if self.peek() == Some('&') {
            self.i += 2;
            return None;
        }
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.i += 1;
        }
        let mut target = String::new();
        let mut quoted = false;
        while let Some(c) = self.peek() {
            match c {
                '"' => quoted = !quoted,
                _ if quoted => target.push(c),
                ' ' | '\t' | '&' | '|' | '<' | '>' | '\n' | '\r' | ')' => break,
                '^' => {}
                _ => target.push(c),
            }
            self.i += 1;
        }
        (!input && !target.is_empty()).then_some(Redirect { append, target })
    }
    fn simple(&mut self, inside: bool) -> Simple {
        let mut s = Simple::default();
        let mut quoted = false;
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    quoted = !quoted;
                    s.text.push(c);
                }
                '\n' => break,
                _ if quoted => s.text.push(c),
                '^' => {
                    self.i += 1;
                    // a caret before the end of a line joins it with the next
                    while matches!(self.peek(), Some('\r')) {
                        self.i += 1;
                    }
                    match self.peek() {
                        Some('\n') => {}
                        Some(c) => s.text.push(c),
                        None => break,
                    }
                }
                '&' | '|' => break,
                ')' if inside => break,
                '>' | '<' => {
                    // `2>` : the digit belongs to the redirection
                    if s.text.ends_with(['1', '2']) && s.text.trim_end_matches(['1', '2']).ends_with([' ', '\t']) {
                        s.text.pop();
                    }
                    s.redirects.extend(self.redirect());
                    continue;
                }
                '\r' => {}
                _ => s.text.push(c),
            }
            self.i += 1;
        }
        s
    }
    /// Text up to a word that stands alone, outside brackets and quotes.
    fn until(&mut self, word: &str) -> Option<String> {
        let mut out = String::new();
        let (mut quoted, mut depth) = (false, 0usize);
        while let Some(c) = self.peek() {
            let alone = out.ends_with([' ', '\t', ')']) || out.is_empty();
            if !quoted && depth == 0 && alone && self.word_is(word) {
                self.i += word.chars().count();
                return Some(out);
            }
            match c {
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            out.push(c);
            self.i += 1;
        }
        None
    }
    fn for_loop(&mut self, inside: bool) -> Option<For> {
        self.i += 3;
        let head = self.until("do")?;
        let (before, rest) = head.split_once('(')?;
        let list = rest.rsplit_once(')')?.0.to_owned();
        let before = before.trim();
        let before = before.strip_suffix("in").or_else(|| before.strip_suffix("IN")).unwrap_or(before).trim();
        let (switches, variable) = before.rsplit_once('%').unwrap_or((before, ""));
        let start = self.i;
        self.blanks();
        self.depth += 1;
        if self.depth < DEPTH_MAX {
            self.pipe(inside);
        }
        self.depth -= 1;
        let body: String = self.c[start.min(self.i)..self.i].iter().collect();
        let switches = switches.trim().trim_end_matches('%').trim().to_owned();
        Some(For { switches, variable: variable.trim().to_owned(), list, body: body.trim().to_owned() })
    }
    fn condition(&mut self, inside: bool) -> Command {
        self.i += 2;
        self.depth += 1;
        let mut cond = String::new();
        loop {
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.i += 1;
            }
            let word = self.operand();
            if word.is_empty() {
                break;
            }
            let lower = word.to_lowercase();
            cond.push(' ');
            cond.push_str(&word);
            let more = match &*lower {
                "not" | "/i" => continue,
                "exist" | "errorlevel" | "defined" => 1,
                _ if word.contains("==") && !word.ends_with("==") => 0,
                _ => 1,
            };
            for _ in 0..more {
                while matches!(self.peek(), Some(' ' | '\t')) {
                    self.i += 1;
                }
                let w = self.operand();
                let compares = matches!(&*w.to_lowercase(), "==" | "equ" | "neq" | "lss" | "leq" | "gtr" | "geq");
                cond.push(' ');
                cond.push_str(&w);
                if compares {
                    while matches!(self.peek(), Some(' ' | '\t')) {
                        self.i += 1;
                    }
                    cond.push(' ');
                    cond.push_str(&self.operand());
                }
            }
            break;
        }
        self.blanks();
        let arm = |p: &mut Parser| -> Vec<Item> {
            p.blanks();
            let pipe = p.pipe(inside);
            if pipe.is_empty() { vec![] } else { vec![Item { joint: Joint::Always, pipe }] }
        };
        let then = arm(self);
        self.blanks();
        let other = if self.word_is("else") {
            self.i += 4;
            arm(self)
        } else {
            vec![]
        };
        self.depth -= 1;
        Command::If(cond.trim().to_owned(), then, other)
    }
    fn operand(&mut self) -> String {
        let mut out = String::new();
        let mut quoted = false;
        while let Some(c) = self.peek() {
            match c {
                '"' => quoted = !quoted,
                ' ' | '\t' | '(' | ')' | '&' | '|' | '\n' if !quoted => break,
                _ => {}
            }
            out.push(c);
            self.i += 1;
        }
        out
    }
}

/// Splits a simple command into its first word (with its quotes) and the rest with its leading blank.
pub fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t', ',', ';', '=', '@']);
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' | ',' | ';' | '=' if !quoted => return (&text[..i], &text[i..]),
            _ => {}
        }
    }
    (text, "")
}

/// Replaces `%NAME%` by what `lookup` gives, and `%NAME:~n,m%` by that part of it; unknown ones stay as typed.
pub fn expand(text: &str, lookup: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(i) = rest.find('%') {
        // cmd refuses the line anyway
        if out.len() > 4 * LINE_MAX {
            return out;
        }
        out.push_str(&rest[..i]);
        let body = &rest[i + 1..];
        let end = body.find('%');
        let name = end.map(|e| &body[..e]).filter(|n| !n.is_empty() && !n.contains([' ', '\n', '"', '&']));
        let (plain, cut) = name.map_or(("", None), |n| n.split_once(":~").map_or((n, None), |(n, c)| (n, Some(c))));
        match name.and_then(|_| lookup(plain)) {
            Some(value) => {
                out.push_str(&cut.map_or(value.clone(), |c| substring(&value, c)));
                rest = &body[end.unwrap_or(0) + 1..];
            }
            None => {
                out.push('%');
                rest = body;
            }
        }
    }
    out + rest
}

fn substring(value: &str, cut: &str) -> String {
    let (a, b) = cut.split_once(',').unwrap_or((cut, ""));
    let chars: Vec<char> = value.chars().collect();
    let n = chars.len() as i64;
    let at = |t: &str| t.trim().parse::<i64>().ok();
    let start = at(a).map_or(0, |v| if v < 0 { n + v } else { v }).clamp(0, n);
    let end = at(b).map_or(n, |v| if v < 0 { n + v } else { start + v }).clamp(start, n);
    chars[start as usize..end as usize].iter().collect()
}

/// What `for /f "…"` makes of a line: the texts of its variables, from the one it names on.
pub fn tokens(options: &str, line: &str) -> Vec<String> {
    let lower = options.to_lowercase();
    let value = |name: &str| lower.find(name).map(|i| &options[i + name.len()..]);
    let delims: Vec<char> = match value("delims=") {
        // the option stands last, or ends at a blank
        Some(d) => {
            let d = d.trim_end_matches('"');
            let end = d.char_indices().skip(1).find(|(_, c)| *c == ' ').map_or(d.len(), |(i, _)| i);
            d[..end].chars().collect()
        }
        None => vec![' ', '\t'],
    };
    let asked = value("tokens=").map_or("1", |t| t.split([' ', '"']).next().unwrap_or("1"));
    let mut wanted: Vec<usize> = vec![];
    let mut star = asked.trim_end_matches(',') == "*";
    for part in asked.split(',') {
        let (part, more) = part.strip_suffix('*').map_or((part, false), |p| (p, true));
        star |= more;
        match part.split_once('-') {
            Some((a, b)) => {
                if let (Ok(a), Ok(b)) = (a.parse(), b.parse::<usize>()) {
                    wanted.extend(a..=b.min(31));
                }
            }
            None => wanted.extend(part.parse::<usize>().ok()),
        }
    }
    let mut out = vec![];
    let mut rest = line;
    let mut at = 0;
    while out.len() < wanted.len() {
        rest = rest.trim_start_matches(&delims[..]);
        if rest.is_empty() {
            break;
        }
        let end = rest.find(&delims[..]).unwrap_or(rest.len());
        at += 1;
        if wanted.contains(&at) {
            out.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
    }
    if star {
        out.push(rest.trim_start_matches(&delims[..]).to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(items: &[Item]) -> String {
        let mut s = String::new();
        for (n, it) in items.iter().enumerate() {
            if n > 0 {
                s.push_str(match it.joint {
                    Joint::Always => " & ",
                    Joint::Success => " && ",
                    Joint::Failure => " || ",
                });
            }
            let all: Vec<String> = it.pipe.iter().map(show_one).collect();
            s.push_str(&all.join(" | "));
        }
        s
    }

    fn show_one(c: &Command) -> String {
        let to = |r: &[Redirect]| {
            r.iter().map(|r| format!("{}{}", if r.append { ">>" } else { ">" }, r.target)).collect::<String>()
        };
        match c {
            Command::Simple(s) => format!("[{}]{}", s.text, to(&s.redirects)),
            Command::Group(g, r) => format!("({}){}", show(g), to(r)),
            Command::For(f) => format!("for {}|{}|{}|{}", f.switches, f.variable, f.list, f.body),
            Command::If(c, a, b) => format!("if <{c}> {} else {}", show(a), show(b)),
        }
    }

    #[test]
    fn table() {
        let table = [
            ("a & b | c", "[a ] & [b ] | [c]"),
            ("a&&b||c", "[a] && [b] || [c]"),
            (r#"echo "a & b" & c"#, r#"[echo "a & b" ] & [c]"#),
            ("echo a ^& b", "[echo a & b]"),
            (r#"echo "a ^& b""#, r#"[echo "a ^& b"]"#),
            ("w^h^o^a^m^i /all", "[whoami /all]"),
            ("echo hi> out.txt", "[echo hi]>out.txt"),
            (r#"dir >> "C:\a b.txt" 2>&1"#, r"[dir  ]>>C:\a b.txt"),
            ("ping x 2>nul", "[ping x ]>nul"),
            ("echo 1 2>nul", "[echo 1 ]>nul"),
            ("(a & b) > f & c", "([a ] & [b])>f & [c]"),
            ("a\nb\r\nc", "[a] & [b] & [c]"),
            ("@echo off", "[echo off]"),
            ("for %i in (1 2 3) do echo %i & x", "for |i|1 2 3|echo %i & [x]"),
            ("for /f \"tokens=*\" %%a in ('net view') do (ping %%a)", "for /f \"tokens=*\"|a|'net view'|(ping %%a)"),
            ("if exist C:\\x (del C:\\x) else (echo no)", "if <exist C:\\x> ([del C:\\x]) else ([echo no])"),
            ("if not \"%a%\"==\"b\" echo c", "if <not \"%a%\"==\"b\"> [echo c] else "),
            ("if errorlevel 1 exit", "if <errorlevel 1> [exit] else "),
            ("a ) b", "[a ) b]"),
            ("a |", "[a ]"),
            ("", ""),
        ];
        for (text, want) in table {
            assert_eq!(show(&parse(text)), want, "{text}");
        }
    }

    #[test]
    fn variables_are_expanded() {
        let mut look = |n: &str| (n == "COMPUTERNAME").then(|| "WS-0412".to_owned());
        assert_eq!(expand("a %COMPUTERNAME% %nope% 100% %%i", &mut look), "a WS-0412 %nope% 100% %%i");
        assert_eq!(expand("%COMPUTERNAME:~0,2%%COMPUTERNAME:~-2%", &mut look), "WS12");
        assert_eq!(first_word(r#""C:\a b.exe" /x"#), (r#""C:\a b.exe""#, " /x"));
    }

    #[test]
    fn tokens_of_a_line() {
        for (options, line, want) in [
            ("", "a b c", "a"),
            ("\"tokens=*\"", "  a b c", "a b c"),
            ("\"tokens=2,3\"", "a b c d", "b|c"),
            ("\"tokens=2 delims=,\"", "a,b c,d", "b c"),
            ("\"tokens=1* delims=:\"", "a:b:c", "a|b:c"),
            ("\"tokens=1-3\"", "a b", "a|b"),
            ("\"tokens=9\"", "a b", ""),
        ] {
            assert_eq!(tokens(options, line).join("|"), want, "{options} {line}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_any_tokens(o in "[a-z0-9=,*\"é -]{0,30}", l in "\\PC{0,40}") {
            tokens(&o, &l);
        }
        #[test]
        fn no_panic_on_any_line(s in "\\PC{0,120}") {
            parse(&s);
            expand(&s, &mut |n| Some(n.to_owned()));
        }
        #[test]
        fn no_panic_on_lines_like_these(s in "(for|if|do|in|else|not|exist|[ab%\"^&|()<>\n ]){0,40}") {
            parse(&s);
        }
        #[test]
        fn splitting_is_stable(words in prop::collection::vec("x[a-z]{0,5}", 1..6)) {
            // what was split and is joined again splits the same; words of the shell's own grammar begin otherwise
            let line = words.join("&");
            let once = parse(&line);
            let again: Vec<String> = once.iter().map(|i| show(std::slice::from_ref(i)).trim_matches(['[', ']']).to_owned()).collect();
            prop_assert_eq!(again, words);
        }
    }
}
