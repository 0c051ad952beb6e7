//! Expressions: operators by precedence, literals, members, calls.

use super::*;

impl<'a> Parser<'a> {
    /// Operators from a level on.
    pub(super) fn expression(&mut self, least: u8) -> Option<Expr> {
        let mut left = if least > 5 { return self.list() } else { self.expression(least + 1)? };
        let mut more = vec![];
        loop {
            let at = self.i;
            self.space(false);
            let Some((op, len)) = self.operator(least) else {
                self.i = at;
                break;
            };
            self.i += len;
            self.space(true);
            match self.expression(least + 1) {
                Some(e) => more.push((op, e)),
                None => break,
            }
        }
        if !more.is_empty() {
            left = Expr::Chain(Box::new(left), more);
        }
        Some(left)
    }
    /// An operator of that level, and its length.
    pub(super) fn operator(&self, at: u8) -> Option<(String, usize)> {
        let r = self.rest();
        let c = self.peek()?;
        if DASHES.contains(&c) {
            let w = &r[c.len_utf8()..];
            let w = &w[..w.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(w.len())];
            if !w.is_empty() {
                let word = w.to_ascii_lowercase();
                return (level(&word)? == at).then_some((word, c.len_utf8() + w.len()));
            }
        }
        let next = r[c.len_utf8()..].chars().next();
        if next == Some('=') || next == Some(c) && c != '.' {
            return None;
        }
        match (at, c) {
            (2, '+' | '-') | (3, '*' | '/' | '%') => Some((c.to_string(), 1)),
            (5, '.') if r.starts_with("..") => Some(("..".into(), 2)),
            _ => None,
        }
    }
    pub(super) fn list(&mut self) -> Option<Expr> {
        let mut all = vec![];
        if self.peek() != Some(',') {
            all.push(self.deeper(Parser::unary)?);
        }
        let mut comma = false;
        loop {
            let at = self.i;
            self.space(false);
            if self.peek() != Some(',') {
                self.i = at;
                break;
            }
            comma = true;
            self.i += 1;
            self.space(true);
            match self.deeper(Parser::unary) {
                Some(e) => all.push(e),
                None => break,
            }
        }
        if comma { Some(Expr::List(all)) } else { all.pop() }
    }
    pub(super) fn unary(&mut self) -> Option<Expr> {
        let c = self.peek()?;
        if c == '!' {
            self.i += 1;
            self.space(false);
            return Some(Expr::Unary("not".into(), Box::new(self.deeper(Parser::unary)?)));
        }
        if DASHES.contains(&c) || c == '+' {
            let r = &self.rest()[c.len_utf8()..];
            let w = &r[..r.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(r.len())];
            let word = w.to_ascii_lowercase();
            self.i += c.len_utf8() + w.len();
            // `++$i`
            self.eat(if c == '+' { "+" } else { "-" });
            self.space(true);
            let op = if word.is_empty() { c.to_string() } else { word };
            let inner =
                if matches!(&*op, "join" | "split") { self.deeper(Parser::list)? } else { self.deeper(Parser::unary)? };
            return Some(Expr::Unary(op, Box::new(inner)));
        }
        if c == '[' {
            let at = self.i;
            let name = self.type_name()?;
            if self.rest().starts_with("::") {
                self.i = at;
                return self.postfix();
            }
            let cast = self
                .peek()
                .is_some_and(|c| !c.is_whitespace() && !matches!(c, ')' | ',' | ';' | '|' | '}' | '.' | '=' | ']'));
            let spaced = !cast && {
                let here = self.i;
                self.space(false);
                let yes = matches!(self.peek(), Some('$' | '"' | '\'' | '(' | '@' | '[' | '{'));
                if !yes {
                    self.i = here;
                }
                yes
            };
            if cast || spaced {
                return match self.deeper(Parser::unary) {
                    Some(e) => Some(Expr::Cast(name, Box::new(e))),
                    None => Some(Expr::Type(name)),
                };
            }
            self.i = at;
        }
        self.postfix()
    }
    /// `[Name.Space.Type[]]`, in lower case, the last word of it.
    pub(super) fn type_name(&mut self) -> Option<String> {
        let r = self.rest();
        let mut open = 0usize;
        for (i, c) in r.char_indices().take(TYPE_BYTES_MAX) {
            match c {
                '[' => open += 1,
                ']' => {
                    open -= 1;
                    if open == 0 {
                        self.i += i + 1;
                        let inside = &r[1..i];
                        let plain = inside.split(['[', '(', ',']).next().unwrap_or(inside);
                        let list = inside.contains("[]");
                        let name = plain.trim().rsplit('.').next().unwrap_or(plain).to_lowercase();
                        return Some(if list { name + "[]" } else { name });
                    }
                }
                '\n' | ';' | '{' if open > 0 => return None,
                _ => {}
            }
        }
        None
    }
    pub(super) fn postfix(&mut self) -> Option<Expr> {
        let base = self.primary()?;
        let mut more = vec![];
        loop {
            let r = self.rest();
            let c = self.peek();
            if c == Some('[') {
                self.i += 1;
                self.space(true);
                let Some(e) = self.deeper(|p| p.expression(0)) else { break };
                self.space(true);
                self.eat("]");
                more.push(Suffix::Index(Box::new(e)));
                continue;
            }
            let n = match c {
                Some(':') if r.starts_with("::") => 2,
                Some('.')
                    if r[1..].starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$' | '(' | '"' | '\'')) =>
                {
                    1
                }
                Some('?') if r.starts_with("?.") => 2,
                _ => break,
            };
            let at = self.i;
            self.i += n;
            let name = match self.peek() {
                Some(c) if c.is_alphanumeric() || c == '_' => {
                    let r = self.rest();
                    let w = &r[..r.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(r.len())];
                    self.i += w.len();
                    Some(Expr::text(w))
                }
                Some(_) => self.deeper(Parser::primary),
                None => None,
            };
            let Some(name) = name else {
                self.i = at;
                break;
            };
            let mut args = None;
            if self.peek() == Some('(') {
                args = self.call_arguments();
            }
            more.push(Suffix::Member(Box::new(name), args));
        }
        // `$i++`
        if matches!(base, Expr::Var(_))
            && more.is_empty()
            && (self.rest().starts_with("++") || self.rest().starts_with("--"))
        {
            let sign = if self.eat("++") {
                "++"
            } else {
                self.i += 2;
                "--"
            };
            return Some(Expr::Unary(sign.into(), Box::new(base)));
        }
        Some(if more.is_empty() { base } else { Expr::Post(Box::new(base), more) })
    }
    pub(super) fn call_arguments(&mut self) -> Option<Vec<Expr>> {
        if self.depth >= NESTING_MAX {
            self.whole = false;
            self.skip_bracket();
            return Some(vec![]);
        }
        self.i += 1;
        let mut args = vec![];
        loop {
            self.space(true);
            match self.peek() {
                None => return Some(args),
                Some(')') => {
                    self.i += 1;
                    return Some(args);
                }
                Some(',') => {
                    self.i += 1;
                    continue;
                }
                _ => {}
            }
            let at = self.i;
            // a comma parts arguments here
            let e = self.deeper(|p| p.call_argument());
            args.extend(e);
            if self.i == at {
                self.next();
            }
        }
    }
    pub(super) fn call_argument(&mut self) -> Option<Expr> {
        let first = self.unary()?;
        let mut more = vec![];
        loop {
            let at = self.i;
            self.space(true);
            let op = (0..=5).find_map(|l| self.operator(l));
            let Some((op, len)) = op else {
                self.i = at;
                break;
            };
            self.i += len;
            self.space(true);
            match self.unary() {
                Some(e) => more.push((op, e)),
                None => break,
            }
        }
        // `New-Object X` inside a call
        Some(if more.is_empty() { first } else { Expr::Chain(Box::new(first), more) })
    }
    pub(super) fn primary(&mut self) -> Option<Expr> {
        let c = self.peek()?;
        match c {
            '$' if self.rest().starts_with("$(") => {
                self.i += 1;
                self.group()
            }
            '$' => self.variable().map(Expr::Var),
            '"' | '\'' => self.string(),
            '@' => match self.after(1)? {
                '"' | '\'' => self.string(),
                '(' => {
                    self.i += 1;
                    self.group()
                }
                '{' => {
                    self.i += 1;
                    self.table()
                }
                _ => None,
            },
            '(' => self.group(),
            '{' => {
                let start = self.i;
                let b = self.block();
                let text = &self.s[start..self.i];
                let text = text.strip_prefix('{').unwrap_or(text);
                let text = text.strip_suffix('}').unwrap_or(text).trim().to_owned();
                Some(Expr::Script(text, b.unwrap_or_default()))
            }
            '[' => self.type_name().map(Expr::Type),
            '0'..='9' => {
                let r = self.rest();
                let mut end = r.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(r.len());
                if let Some(n) = r[..end].find("..") {
                    end = n;
                }
                let n = number(&r[..end]);
                self.i += end;
                Some(n.map_or_else(|| Expr::text(&r[..end]), Expr::Number))
            }
            // a command inside a method's brackets (`New-Object X`), or a word on its own
            c if c.is_alphabetic() || c == '_' => self.command().map(|c| {
                let text = String::new();
                Expr::Group(Rc::new(vec![Stmt::Pipe(vec![Elem::Command(c)], text)]))
            }),
            _ => None,
        }
    }
    /// At `(`.
    pub(super) fn group(&mut self) -> Option<Expr> {
        if self.depth >= NESTING_MAX {
            self.whole = false;
            self.skip_bracket();
            return Some(Expr::Group(Block::default()));
        }
        self.i += 1;
        let all = self.deeper(|p| Some(p.statements())).unwrap_or_default();
        self.space(true);
        self.eat(")");
        Some(Expr::Group(Rc::new(all)))
    }
    /// At `{` of `@{`.
    pub(super) fn table(&mut self) -> Option<Expr> {
        if self.depth >= NESTING_MAX {
            self.whole = false;
            self.skip_bracket();
            return Some(Expr::Table(vec![]));
        }
        self.i += 1;
        let mut all = vec![];
        loop {
            self.space(true);
            match self.peek() {
                None => return Some(Expr::Table(all)),
                Some('}') => {
                    self.i += 1;
                    return Some(Expr::Table(all));
                }
                Some(';') => {
                    self.i += 1;
                    continue;
                }
                _ => {}
            }
            let at = self.i;
            let r = self.rest();
            let eq = r.find('=').unwrap_or(r.len());
            let name = r[..eq].trim().trim_matches(['"', '\'']).to_lowercase();
            self.i += (eq + 1).min(r.len());
            self.space(true);
            if let Some(s) = self.deeper(Parser::statement) {
                all.push((name, s));
            }
            self.skip_statement();
            if self.i == at {
                self.next();
            }
        }
    }
}
