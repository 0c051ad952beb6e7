//! Conditions of effects: decided when a plan is made, on captured text.

use super::pattern::Pattern;

use crate::yaml::{Node, Problems};

/// A condition.
#[derive(Clone, Debug)]
pub enum Cond {
    /// Present and not empty (or one of the words `elevated`, `remote`).
    Has(String),
    /// Equals, ignoring case.
    Eq(String, String),
    /// Differs, ignoring case.
    Ne(String, String),
    /// Matches, ignoring case.
    Like(String, Pattern),
    /// Equals one of them, ignoring case.
    In(String, Vec<String>),
    /// Does not hold.
    Not(Box<Cond>),
    /// Both hold.
    And(Box<Cond>, Box<Cond>),
    /// One holds.
    Or(Box<Cond>, Box<Cond>),
}

/// Gives a condition its facts.
pub trait Facts {
    /// Text of a capture, none when it is absent.
    fn text(&self, name: &str) -> Option<&str>;
    /// `elevated`, `remote`.
    fn flag(&self, name: &str) -> Option<bool>;
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

impl Cond {
    /// Reads a condition; what is wrong with it is a problem.
    pub fn read(node: &Node, p: &mut Problems) -> Option<Cond> {
        let text = node.text(p, "a condition")?;
        match parse(text).and_then(|c| if node.file.is_built_in() { Ok(c) } else { c.check().map(|()| c) }) {
            Ok(c) => Some(c),
            Err(why) => {
                p.at(node, format!("bad condition `{text}`: {why}"))
                    .help("write for example `as == 'SYSTEM' and not remote`");
                None
            }
        }
    }
    /// Whether it holds.
    pub fn holds(&self, f: &dyn Facts) -> bool {
        let same = |name: &str, want: &str| f.text(name).is_some_and(|t| t.to_lowercase() == want.to_lowercase());
        match self {
            Cond::Has(n) => f.flag(n).unwrap_or_else(|| f.text(n).is_some_and(|t| !t.is_empty())),
            Cond::Eq(n, v) => same(n, v),
            Cond::Ne(n, v) => !same(n, v),
            Cond::Like(n, re) => f.text(n).is_some_and(|t| re.is_match(t)),
            Cond::In(n, list) => list.iter().any(|v| same(n, v)),
            Cond::Not(c) => !c.holds(f),
            Cond::And(a, b) => a.holds(f) && b.holds(f),
            Cond::Or(a, b) => a.holds(f) || b.holds(f),
        }
    }
    /// Compiles its regular expressions.
    ///
    /// # Errors
    /// Why one does not compile.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Cond::Like(_, re) => re.check(),
            Cond::Not(c) => c.check(),
            Cond::And(a, b) | Cond::Or(a, b) => a.check().and_then(|()| b.check()),
            Cond::Has(_) | Cond::Eq(..) | Cond::Ne(..) | Cond::In(..) => Ok(()),
        }
    }
    /// Names it asks for.
    pub fn names(&self, out: &mut Vec<String>) {
        match self {
            Cond::Has(n) | Cond::Eq(n, _) | Cond::Ne(n, _) | Cond::Like(n, _) | Cond::In(n, _) => out.push(n.clone()),
            Cond::Not(c) => c.names(out),
            Cond::And(a, b) | Cond::Or(a, b) => {
                a.names(out);
                b.names(out);
            }
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let sign = ["==", "!=", "~", "(", ")", "[", "]", ","].into_iter().find(|s| rest.starts_with(s));
        if let Some(s) = sign {
            out.push(Token::Sign(s));
            rest = &rest[s.len()..];
        } else if let Some(q) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let end = rest[1..].find(q).ok_or("a quote is not closed")?;
            out.push(Token::Text(rest[1..1 + end].into()));
            rest = &rest[end + 2..];
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("`{}` has no meaning here", rest.chars().next().unwrap_or_default()));
            }
            out.push(Token::Word(rest[..end].into()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(out)
}

struct Parser(Vec<Token>, usize, usize);

/// Brackets and `not`s one condition may nest.
const DEPTH_MAX: usize = 32;

fn parse(text: &str) -> Result<Cond, String> {
    let mut p = Parser(tokens(text)?, 0, 0);
    let c = p.or()?;
    match p.0.get(p.1) {
        None => Ok(c),
        Some(t) => Err(format!("{} is too much", show(t))),
    }
}

fn show(t: &Token) -> String {
    match t {
        Token::Word(w) => format!("`{w}`"),
        Token::Text(w) => format!("`'{w}'`"),
        Token::Sign(w) => format!("`{w}`"),
    }
}

impl Parser {
    fn eat(&mut self, t: &Token) -> bool {
        let hit = self.0.get(self.1) == Some(t);
        self.1 += hit as usize;
        hit
    }
    fn word(&mut self, w: &str) -> bool {
        self.eat(&Token::Word(w.into()))
    }
    fn or(&mut self) -> Result<Cond, String> {
        self.2 += 1;
        if self.2 > DEPTH_MAX {
            return Err("nested too deep".into());
        }
        let mut c = self.and()?;
        while self.word("or") {
            c = Cond::Or(Box::new(c), Box::new(self.and()?));
        }
        self.2 -= 1;
        Ok(c)
    }
    fn and(&mut self) -> Result<Cond, String> {
        let mut c = self.not()?;
        while self.word("and") {
            c = Cond::And(Box::new(c), Box::new(self.not()?));
        }
        Ok(c)
    }
    fn not(&mut self) -> Result<Cond, String> {
        let mut negative = false;
        while self.word("not") {
            negative = !negative;
        }
        let c = self.atom()?;
        Ok(if negative { Cond::Not(Box::new(c)) } else { c })
    }
    fn text(&mut self) -> Result<String, String> {
        match self.0.get(self.1) {
            Some(Token::Text(t) | Token::Word(t)) => {
                self.1 += 1;
                Ok(t.clone())
            }
            Some(t) => Err(format!("a text is wanted, not {}", show(t))),
            None => Err("a text is missing at the end".into()),
        }
    }
    fn atom(&mut self) -> Result<Cond, String> {
        if self.eat(&Token::Sign("(")) {
            let c = self.or()?;
            return self.eat(&Token::Sign(")")).then_some(c).ok_or_else(|| "a bracket is not closed".into());
        }
        let name = match self.0.get(self.1) {
            Some(Token::Word(w)) => w.clone(),
            Some(t) => return Err(format!("a name is wanted, not {}", show(t))),
            None => return Err("a name is missing at the end".into()),
        };
        self.1 += 1;
        if self.eat(&Token::Sign("==")) {
            Ok(Cond::Eq(name, self.text()?))
        } else if self.eat(&Token::Sign("!=")) {
            Ok(Cond::Ne(name, self.text()?))
        } else if self.eat(&Token::Sign("~")) {
            let t = self.text()?;
            Ok(Cond::Like(name, Pattern::known(&t)))
        } else if self.word("in") {
            if !self.eat(&Token::Sign("[")) {
                return Err("`in` wants a list such as `['a', 'b']`".into());
            }
            let mut list = vec![self.text()?];
            while self.eat(&Token::Sign(",")) {
                list.push(self.text()?);
            }
            self.eat(&Token::Sign("]")).then_some(Cond::In(name, list)).ok_or_else(|| "a list is not closed".into())
        } else {
            Ok(Cond::Has(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct F;
    impl Facts for F {
        fn text(&self, name: &str) -> Option<&str> {
            match name {
                "as" => Some("System"),
                "empty" => Some(""),
                _ => None,
            }
        }
        fn flag(&self, name: &str) -> Option<bool> {
            (name == "elevated").then_some(true)
        }
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, want) in [
            ("as == 'SYSTEM'", true),
            ("as != 'SYSTEM'", false),
            ("as", true),
            ("empty", false),
            ("absent", false),
            ("not absent and (as ~ '^sys' or absent)", true),
            ("as in ['a', 'system']", true),
            ("not elevated", false),
            ("absent != 'x'", true),
            ("absent or as and empty", false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&F), want, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        let all: Vec<String> = ["as == ", "(as", "as 'x'", "as ~ '['", "as in 'x'", "as & b", "'x'", "as == 'x"]
            .iter()
            .map(|t| format!("{t}: {}", parse(t).and_then(|c| c.check()).unwrap_err()))
            .collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        as == : a text is missing at the end
        (as: a bracket is not closed
        as 'x': `'x'` is too much
        as ~ '[': the regular expression `[` does not compile: unclosed character class
        as in 'x': `in` wants a list such as `['a', 'b']`
        as & b: `&` has no meaning here
        'x': a name is wanted, not `'x'`
        as == 'x: a quote is not closed
        ");
    }
}
