//! PowerShell text becomes a tree. Parsing never fails: what PowerShell would refuse is left out, up to the end of its statement.

mod expression;

use std::rc::Rc;

use super::tree::{Block, Command, Elem, Expr, Leave, Piece, Stmt, Suffix, Word};

/// Brackets, operators and statements inside each other that are followed; what lies deeper is left out.
pub const NESTING_MAX: usize = 120;
/// Bytes of a script that are read.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Steps of reading one text: what looks like two things is read twice, which nested text could multiply.
const STEPS_MAX: usize = 200_000;
/// Bytes that a type's name may have.
const TYPE_BYTES_MAX: usize = 400;

/// Reads a text. The second is false when something nests too deep or the text is too long.
pub fn parse(text: &str) -> (Block, bool) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut p = Parser { s: &text[..end], i: 0, depth: 0, steps: 0, whole: end == text.len() };
    let mut all = vec![];
    loop {
        all.extend(p.statements());
        if p.i >= p.s.len() {
            return (Rc::new(all), p.whole);
        }
        // a bracket that closes nothing
        p.next();
    }
}

struct Parser<'a> {
    s: &'a str,
    i: usize,
    depth: usize,
    steps: usize,
    whole: bool,
}

const DASHES: [char; 3] = ['-', '–', '—'];

/// Operators with a level: the higher binds the tighter. Case-sensitive and -insensitive forms begin with c and i.
fn level(op: &str) -> Option<u8> {
    Some(match op {
        "and" | "or" | "xor" => 0,
        "eq" | "ne" | "gt" | "ge" | "lt" | "le" | "like" | "notlike" | "match" | "notmatch" | "contains"
        | "notcontains" | "in" | "notin" | "is" | "isnot" | "as" | "band" | "bor" | "bxor" | "shl" | "shr"
        | "replace" | "split" | "join" => 1,
        "f" => 4,
        _ => match op.strip_prefix(['c', 'i'])? {
            "eq" | "ne" | "gt" | "ge" | "lt" | "le" | "like" | "notlike" | "match" | "notmatch" | "contains"
            | "notcontains" | "in" | "notin" | "replace" | "split" => 1,
            _ => return None,
        },
    })
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.s[self.i..]
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn after(&self, n: usize) -> Option<char> {
        self.rest().chars().nth(n)
    }
    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.i += c.len_utf8();
        Some(c)
    }
    fn eat(&mut self, t: &str) -> bool {
        let hit = self.rest().starts_with(t);
        self.i += if hit { t.len() } else { 0 };
        hit
    }
    /// Blanks, comments and joined lines; new lines too when asked.
    fn space(&mut self, lines: bool) {
        loop {
            match self.peek() {
                Some('\n') if !lines => return,
                Some(c) if c.is_whitespace() || c == '\u{feff}' => self.i += c.len_utf8(),
                Some('`') if self.rest()[1..].trim_start_matches('\r').starts_with('\n') => {
                    self.i += self.rest().find('\n').unwrap_or(0) + 1;
                }
                Some('#') => self.i += self.rest().find('\n').unwrap_or(self.rest().len()),
                Some('<') if self.rest().starts_with("<#") => {
                    self.i += self.rest().find("#>").map_or(self.rest().len(), |n| n + 2);
                }
                _ => return,
            }
        }
    }
    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.steps += 1;
        if self.depth >= NESTING_MAX || self.steps > STEPS_MAX {
            self.whole = false;
            return None;
        }
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        out
    }

    /// Statements up to a closing bracket or the end.
    fn statements(&mut self) -> Vec<Stmt> {
        let mut out = vec![];
        loop {
            self.space(true);
            match self.peek() {
                None | Some('}' | ')') => return out,
                Some(';') => {
                    self.i += 1;
                    continue;
                }
                _ => {}
            }
            let at = self.i;
            let s = self.deeper(Parser::statement);
            out.extend(s);
            self.skip_statement();
            if self.i == at {
                self.next();
            }
        }
    }
    /// What is left of a statement that was not understood.
    fn skip_statement(&mut self) {
        loop {
            self.space(false);
            match self.peek() {
                None | Some('\n' | ';' | '}' | ')') => return,
                Some('&') if self.rest().starts_with("&&") => {
                    self.i += 2;
                    return;
                }
                Some('|') if self.rest().starts_with("||") => {
                    self.i += 2;
                    return;
                }
                Some('"' | '\'') => drop(self.string()),
                Some('(' | '{') => self.skip_bracket(),
                Some(_) => drop(self.next()),
            }
        }
    }
    /// A whole bracket without looking into it.
    fn skip_bracket(&mut self) {
        let mut open = 0usize;
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' => {
                    self.skip_string();
                    continue;
                }
                '(' | '{' => open += 1,
                ')' | '}' => open = open.saturating_sub(1),
                '`' => drop(self.next()),
                _ => {}
            }
            self.next();
            if open == 0 {
                return;
            }
        }
    }
    fn skip_string(&mut self) {
        let quote = self.next().unwrap_or('"');
        while let Some(c) = self.next() {
            if c == quote {
                return;
            }
            if c == '`' && quote == '"' {
                self.next();
            }
        }
    }
    fn block(&mut self) -> Option<Block> {
        self.space(true);
        if self.peek() != Some('{') {
            return None;
        }
        if self.depth >= NESTING_MAX {
            self.whole = false;
            self.skip_bracket();
            return None;
        }
        self.i += 1;
        let all = self.statements();
        self.eat("}");
        Some(Rc::new(all))
    }
    fn word(&self) -> &'a str {
        let r = self.rest();
        &r[..r.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(r.len())]
    }

    fn statement(&mut self) -> Option<Stmt> {
        let word = self.word().to_ascii_lowercase();
        let start = self.i;
        let len = self.word().len();
        let done = self.keyword(&word, len);
        match done {
            Some(s) => s,
            None => {
                self.i = start;
                self.pipeline()
            }
        }
    }
    /// A statement that begins with a word of the language; none when it is an ordinary command.
    fn keyword(&mut self, word: &str, len: usize) -> Option<Option<Stmt>> {
        let follows = self.rest()[len..].trim_start().chars().next();
        match word {
            "if" if follows == Some('(') => {
                let mut arms = vec![];
                let mut other = None;
                self.i += len;
                loop {
                    let c = self.condition();
                    let b = self.block().unwrap_or_default();
                    arms.push((c, b));
                    let at = self.i;
                    self.space(true);
                    let w = self.word().to_ascii_lowercase();
                    if w == "elseif" {
                        self.i += 6;
                        continue;
                    }
                    if w == "else" {
                        self.i += 4;
                        self.space(true);
                        other = self.block();
                    } else {
                        self.i = at;
                    }
                    return Some(Some(Stmt::If(arms, other)));
                }
            }
            "while" if follows == Some('(') => {
                self.i += len;
                let c = self.condition();
                let b = self.block().unwrap_or_default();
                Some(Some(Stmt::For(None, Some(Box::new(c)), None, b)))
            }
            "do" if follows == Some('{') => {
                self.i += len;
                let b = self.block().unwrap_or_default();
                let at = self.i;
                self.space(true);
                if matches!(&*self.word().to_ascii_lowercase(), "while" | "until") {
                    self.i += 5;
                    self.condition();
                } else {
                    self.i = at;
                }
                Some(Some(Stmt::Nested(b)))
            }
            "for" if follows == Some('(') => {
                self.i += len;
                self.space(true);
                self.i += 1;
                let mut parts: [Option<Box<Stmt>>; 3] = [None, None, None];
                for part in &mut parts {
                    self.space(true);
                    if !matches!(self.peek(), Some(';' | ')')) {
                        *part = self.deeper(Parser::statement).map(Box::new);
                        self.skip_statement();
                    }
                    if !self.eat(";") {
                        break;
                    }
                }
                self.space(true);
                self.eat(")");
                let [a, b, c] = parts;
                let body = self.block().unwrap_or_default();
                Some(Some(Stmt::For(a, b, c, body)))
            }
            "foreach" if follows == Some('(') => {
                self.i += len;
                self.space(true);
                self.i += 1;
                self.space(true);
                let Some(Expr::Var(name)) = self.primary() else { return Some(None) };
                self.space(true);
                if !self.word().eq_ignore_ascii_case("in") {
                    return Some(None);
                }
                self.i += 2;
                self.space(true);
                let list = self.deeper(Parser::statement).unwrap_or(Stmt::Nested(Block::default()));
                self.skip_statement();
                self.eat(")");
                let body = self.block().unwrap_or_default();
                Some(Some(Stmt::Each(name, Box::new(list), body)))
            }
            "switch" if matches!(follows, Some('(' | '-')) => {
                self.i += len;
                self.space(true);
                while self.peek() == Some('-') {
                    self.i += 1 + self.rest()[1..].find(char::is_whitespace).unwrap_or(self.rest().len() - 1);
                    self.space(true);
                }
                let subject = self.condition();
                self.space(true);
                let mut cases = vec![];
                if !self.eat("{") {
                    return Some(None);
                }
                loop {
                    self.space(true);
                    if matches!(self.peek(), None | Some('}')) {
                        self.eat("}");
                        return Some(Some(Stmt::Switch(Box::new(subject), cases)));
                    }
                    let at = self.i;
                    let value = self.argument().unwrap_or_else(|| Expr::text(""));
                    let body = self.block();
                    if let Some(b) = body {
                        cases.push((value, b));
                    } else if self.i == at {
                        self.next();
                    }
                }
            }
            "try" if follows == Some('{') => {
                self.i += len;
                let body = self.block().unwrap_or_default();
                let mut last = None;
                loop {
                    let at = self.i;
                    self.space(true);
                    match &*self.word().to_ascii_lowercase() {
                        "catch" => {
                            self.i += 5;
                            self.space(true);
                            while self.peek() == Some('[') {
                                self.i += self.rest().find(']').map_or(self.rest().len(), |n| n + 1);
                                self.space(true);
                                self.eat(",");
                                self.space(true);
                            }
                            self.block();
                        }
                        "finally" => {
                            self.i += 7;
                            last = self.block();
                        }
                        _ => {
                            self.i = at;
                            return Some(Some(Stmt::Try(body, last)));
                        }
                    }
                }
            }
            "function" | "filter" | "workflow" if follows.is_some_and(|c| c.is_alphanumeric() || c == '_') => {
                self.i += len;
                self.space(true);
                let r = self.rest();
                let name = &r[..r.find(|c: char| c.is_whitespace() || matches!(c, '(' | '{')).unwrap_or(r.len())];
                self.i += name.len();
                self.space(true);
                let mut params = vec![];
                if self.peek() == Some('(') {
                    params = self.parameters();
                }
                self.space(true);
                if self.peek() != Some('{') {
                    return Some(None);
                }
                let body = self.body(&mut params);
                let name = name.rsplit(':').next().unwrap_or(name).to_lowercase();
                Some(Some(Stmt::Function(name, params, body)))
            }
            "param" if follows == Some('(') => {
                self.i += len;
                self.space(true);
                self.parameters();
                Some(None)
            }
            "begin" | "process" | "end" | "dynamicparam" if follows == Some('{') => {
                self.i += len;
                Some(self.block().map(Stmt::Nested))
            }
            "class" | "enum" | "trap" | "data" | "configuration" if follows.is_some() => {
                let r = self.rest();
                let head = &r[..r.find(['{', '\n', ';']).unwrap_or(r.len())];
                if !r[head.len()..].starts_with('{') || head.contains('$') {
                    return None;
                }
                self.i += head.len();
                self.skip_bracket();
                Some(None)
            }
            "using" if self.rest().get(5..).is_some_and(|r| r.trim_start().starts_with("namespace")) => {
                self.i += self.rest().find(['\n', ';']).unwrap_or(self.rest().len());
                Some(None)
            }
            "return" | "throw" | "exit" | "break" | "continue" => {
                self.i += len;
                let how = match word {
                    "return" => Leave::Return,
                    "break" => Leave::Break,
                    "continue" => Leave::Continue,
                    _ => Leave::Exit,
                };
                self.space(false);
                let value = match self.peek() {
                    None | Some('\n' | ';' | '}' | ')') => None,
                    _ => self.deeper(Parser::statement).map(Box::new),
                };
                Some(Some(Stmt::Leave(how, value)))
            }
            _ => None,
        }
    }
    /// `{ param(…) … }`
    fn body(&mut self, params: &mut Vec<(String, Option<Expr>)>) -> Block {
        if self.depth >= NESTING_MAX {
            self.whole = false;
            self.skip_bracket();
            return Block::default();
        }
        self.i += 1;
        loop {
            self.space(true);
            if self.peek() == Some('[') && self.rest().starts_with("[CmdletBinding") {
                self.i += self.rest().find(']').map_or(self.rest().len(), |n| n + 1);
                continue;
            }
            break;
        }
        if self.word().eq_ignore_ascii_case("param") {
            self.i += 5;
            self.space(true);
            if self.peek() == Some('(') {
                *params = self.parameters();
            }
        }
        let all = self.statements();
        self.eat("}");
        Rc::new(all)
    }
    /// `( [type]$a = 1, $b )`
    fn parameters(&mut self) -> Vec<(String, Option<Expr>)> {
        let mut out = vec![];
        self.eat("(");
        loop {
            self.space(true);
            match self.peek() {
                None => return out,
                Some(')') => {
                    self.i += 1;
                    return out;
                }
                Some('[') => {
                    // attributes and types
                    let mut open = 0usize;
                    while let Some(c) = self.peek() {
                        match c {
                            '"' | '\'' => {
                                self.skip_string();
                                continue;
                            }
                            '[' => open += 1,
                            ']' => open -= 1,
                            _ => {}
                        }
                        self.next();
                        if open == 0 {
                            break;
                        }
                    }
                }
                Some('$') => {
                    let Some(Expr::Var(name)) = self.primary() else { continue };
                    self.space(true);
                    let mut default = None;
                    if self.eat("=") {
                        self.space(true);
                        default = self.deeper(|p| p.unary());
                    }
                    out.push((name, default));
                }
                Some(_) => drop(self.next()),
            }
        }
    }
    /// `( … )` of `if`, `while`, `switch`.
    fn condition(&mut self) -> Stmt {
        self.space(true);
        if !self.eat("(") {
            return Stmt::Nested(Block::default());
        }
        let all = self.deeper(|p| Some(p.statements())).unwrap_or_default();
        self.space(true);
        self.eat(")");
        Stmt::Nested(Rc::new(all))
    }

    fn pipeline(&mut self) -> Option<Stmt> {
        let start = self.i;
        let mut all = vec![];
        loop {
            self.space(true);
            let at = self.i;
            let e = self.element();
            if all.is_empty()
                && let Some(Elem::Value(target)) = e
            {
                self.space(false);
                let op = match self.rest().as_bytes() {
                    [b'=', b'=', ..] => None,
                    [b'=', ..] => Some(1),
                    [b'+' | b'-' | b'*' | b'/' | b'%', b'=', ..] => Some(2),
                    _ => None,
                };
                if let Some(n) =
                    op.filter(|_| matches!(target, Expr::Var(_) | Expr::Post(..) | Expr::Cast(..) | Expr::List(_)))
                {
                    let sign = self.peek().unwrap_or('=');
                    self.i += n;
                    self.space(true);
                    let value = self.deeper(Parser::statement)?;
                    return Some(Stmt::Assign(target, sign, Box::new(value)));
                }
                all.push(Elem::Value(target));
            } else {
                all.extend(e);
            }
            self.space(false);
            if self.peek() == Some('|') && !self.rest().starts_with("||") {
                self.i += 1;
                continue;
            }
            if self.i == at {
                break;
            }
            // what follows a value and is no operator belongs to nothing
            break;
        }
        let text = self.s[start..self.i].trim().to_owned();
        (!all.is_empty()).then_some(Stmt::Pipe(all, text))
    }
    fn element(&mut self) -> Option<Elem> {
        let c = self.peek()?;
        let n = self.after(1);
        let numeric = || {
            let r = self.rest();
            let w = &r[..r.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(r.len())];
            number(w).is_some() || w.contains("..")
        };
        let value = match c {
            '$' | '"' | '\'' | '(' | '[' | '{' | '!' | ',' => true,
            '@' => matches!(n, Some('(' | '{' | '"' | '\'')),
            '0'..='9' => numeric(),
            '-' | '+' => true,
            _ => false,
        };
        if value {
            return self.deeper(|p| p.expression(0)).map(Elem::Value);
        }
        let called =
            c == '&' || c == '.' && n.is_none_or(|n| n.is_whitespace() || matches!(n, '"' | '\'' | '(' | '$' | '{'));
        if called {
            self.i += 1;
            self.space(false);
        }
        self.command().map(Elem::Command)
    }
    fn command(&mut self) -> Option<Command> {
        let mut c = Command { words: vec![], into: None };
        loop {
            self.space(false);
            let Some(ch) = self.peek() else { break };
            let at = self.i;
            match ch {
                '\n' | ';' | '|' | ')' | '}' => break,
                '&' => break,
                '>' | '<' => self.redirect(&mut c),
                '1'..='6' | '*' if self.after(1) == Some('>') => {
                    self.i += 1;
                    let errors = ch != '1' && ch != '*';
                    let keep = c.into.take();
                    self.redirect(&mut c);
                    if errors || c.into.is_none() {
                        c.into = keep;
                    }
                }
                '-' | '–' | '—'
                    if self.after(1).is_some_and(|n| n.is_alphabetic() || matches!(n, '?' | '_'))
                        && !c.words.is_empty() =>
                {
                    c.words.push(self.parameter());
                }
                '-' if self.rest().starts_with("--%") => {
                    let end = self.rest().find(['\n', '|']).unwrap_or(self.rest().len());
                    let words: Vec<String> = self.rest()[3..end].split_whitespace().map(str::to_owned).collect();
                    c.words.extend(words.into_iter().map(|w| Word::Value(Expr::text(w))));
                    self.i += end;
                }
                '@' if self.after(1).is_some_and(|n| n.is_alphabetic() || n == '_') => {
                    self.i += 1;
                    let name = self.word().to_lowercase();
                    self.i += name.len();
                    c.words.push(Word::Splat(name));
                }
                _ => {
                    if let Some(e) = self.deeper(Parser::arguments) {
                        c.words.push(Word::Value(e));
                    }
                }
            }
            if self.i == at {
                self.next();
            }
        }
        (!c.words.is_empty()).then_some(c)
    }
    fn redirect(&mut self, c: &mut Command) {
        let input = self.peek() == Some('<');
        self.i += 1;
        self.eat(">");
        if self.eat("&") {
            self.next();
            return;
        }
        self.space(false);
        let target = self.deeper(Parser::argument);
        if !input {
            c.into = target;
        }
    }
    fn parameter(&mut self) -> Word {
        self.next();
        let r = self.rest();
        let end = r
            .find(|c: char| {
                c.is_whitespace() || matches!(c, ':' | ';' | '|' | '(' | ')' | '{' | '}' | ',' | '"' | '\'' | '$')
            })
            .unwrap_or(r.len());
        let name = r[..end].to_owned();
        self.i += end;
        if self.peek() == Some(':') {
            self.i += 1;
            self.space(false);
            return Word::Param(name, self.deeper(Parser::arguments));
        }
        Word::Param(name, None)
    }
    /// `a, b, c` as a command's argument.
    fn arguments(&mut self) -> Option<Expr> {
        let first = self.argument()?;
        let mut all = vec![first];
        loop {
            let at = self.i;
            self.space(false);
            if self.peek() != Some(',') {
                self.i = at;
                break;
            }
            self.i += 1;
            self.space(true);
            match self.argument() {
                Some(e) => all.push(e),
                None => break,
            }
        }
        Some(if all.len() == 1 { all.remove(0) } else { Expr::List(all) })
    }
    fn argument(&mut self) -> Option<Expr> {
        let c = self.peek()?;
        let ends = |p: &Parser<'_>| {
            p.peek().is_none_or(|c| c.is_whitespace() || matches!(c, ',' | ';' | '|' | ')' | '}' | '&' | '>' | '<'))
        };
        match c {
            '(' | '{' => return self.postfix(),
            '@' if matches!(self.after(1), Some('(' | '{' | '"' | '\'')) => return self.postfix(),
            '[' => {
                let at = self.i;
                let e = self.postfix();
                if ends(self) {
                    return e;
                }
                self.i = at;
            }
            '$' => {
                let at = self.i;
                let e = self.postfix();
                if ends(self)
                    || matches!(e, Some(Expr::Post(..))) && !matches!(self.peek(), Some('\\' | '/' | '-' | '.' | '_'))
                {
                    return e;
                }
                self.i = at;
            }
            '"' | '\'' => {
                let at = self.i;
                let e = self.string();
                if ends(self) {
                    return e;
                }
                self.i = at;
            }
            _ => {}
        }
        self.bare()
    }
    /// A word without quotes around it; quotes inside it go.
    fn bare(&mut self) -> Option<Expr> {
        let mut pieces = vec![];
        let mut lit = String::new();
        while let Some(c) = self.peek() {
            match c {
                _ if c.is_whitespace() => break,
                ',' | ';' | '|' | '(' | ')' | '{' | '}' | '<' | '>' => break,
                '&' => break,
                '`' => {
                    self.i += 1;
                    match self.peek() {
                        Some('\n' | '\r') | None => break,
                        Some(c) => {
                            lit.push(escaped(c));
                            self.next();
                        }
                    }
                }
                '"' | '\'' => {
                    if let Some(Expr::Text(inner)) = self.string() {
                        if !lit.is_empty() {
                            pieces.push(Piece::Lit(std::mem::take(&mut lit)));
                        }
                        pieces.extend(inner);
                    }
                }
                '$' => {
                    if let Some(p) = self.interpolation() {
                        if !lit.is_empty() {
                            pieces.push(Piece::Lit(std::mem::take(&mut lit)));
                        }
                        pieces.push(p);
                    } else {
                        lit.push('$');
                        self.i += 1;
                    }
                }
                _ => {
                    lit.push(c);
                    self.next();
                }
            }
        }
        if !lit.is_empty() {
            pieces.push(Piece::Lit(lit));
        }
        (!pieces.is_empty()).then_some(Expr::Text(pieces))
    }
    /// At `$` in a text: a variable or `$( … )`.
    fn interpolation(&mut self) -> Option<Piece> {
        if self.rest().starts_with("$(") {
            if self.depth >= NESTING_MAX {
                self.whole = false;
                self.i += 1;
                self.skip_bracket();
                return Some(Piece::Lit(String::new()));
            }
            self.i += 2;
            let all = self.deeper(|p| Some(p.statements())).unwrap_or_default();
            self.eat(")");
            return Some(Piece::Sub(Rc::new(all)));
        }
        self.variable().map(Piece::Var)
    }
    fn variable(&mut self) -> Option<String> {
        let body = self.rest().strip_prefix('$')?;
        if let Some(b) = body.strip_prefix('{') {
            let end = b.find('}')?;
            self.i += end + 3;
            return Some(scoped(&b[..end]));
        }
        if let Some(c @ ('$' | '?' | '^')) = body.chars().next() {
            self.i += 2;
            return Some(c.to_string());
        }
        let mut end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
        if end == 0 {
            return None;
        }
        let scope = body[..end].to_ascii_lowercase();
        if matches!(&*scope, "env" | "global" | "script" | "local" | "private" | "using" | "variable" | "function")
            && let Some(more) = body[end..].strip_prefix(':')
        {
            let n = more.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(more.len());
            if n > 0 {
                end += 1 + n;
            }
        }
        let name = scoped(&body[..end]);
        self.i += 1 + end;
        Some(name)
    }
    /// A string at its opening quote or a here-string at its `@`.
    fn string(&mut self) -> Option<Expr> {
        let r = self.rest();
        for (open, close, literal) in [("@'", "\n'@", true), ("@\"", "\n\"@", false)] {
            if let Some(b) = r.strip_prefix(open) {
                let end = b.find(close).unwrap_or(b.len());
                let from = b[..end].find('\n').map_or(end, |n| n + 1);
                let inside = b[from.min(end)..end].trim_end_matches('\r');
                self.i += (2 + end + close.len()).min(r.len());
                return Some(if literal {
                    Expr::Text(vec![Piece::Lit(inside.to_owned())])
                } else {
                    self.expandable(inside)
                });
            }
        }
        let quote = self.next()?;
        let body = self.rest();
        let mut end = body.len();
        let mut close = body.len();
        let mut chars = body.char_indices().peekable();
        let mut open = 0usize;
        while let Some((i, c)) = chars.next() {
            if c == '`' && quote == '"' {
                chars.next();
            } else if quote == '"' && c == '$' && chars.peek().is_some_and(|(_, n)| *n == '(') {
                open += 1;
                chars.next();
            } else if open > 0 && c == '(' {
                open += 1;
            } else if open > 0 && c == ')' {
                open -= 1;
            } else if c == quote && open == 0 {
                if chars.peek().is_some_and(|(_, n)| *n == quote) {
                    chars.next();
                    continue;
                }
                (end, close) = (i, i + 1);
                break;
            }
        }
        let inside = &body[..end];
        self.i += close;
        Some(if quote == '\'' {
            Expr::Text(vec![Piece::Lit(inside.replace("''", "'"))])
        } else {
            self.expandable(inside)
        })
    }
    /// The inside of a text in double quotes.
    fn expandable(&mut self, inside: &str) -> Expr {
        let mut p = Parser { s: inside, i: 0, depth: self.depth, steps: self.steps, whole: true };
        let mut pieces = vec![];
        let mut lit = String::new();
        while let Some(c) = p.peek() {
            match c {
                '`' => {
                    p.i += 1;
                    match p.next() {
                        Some('\n') | None => {}
                        Some(c) => lit.push(escaped(c)),
                    }
                }
                '"' => {
                    p.i += 1;
                    p.eat("\"");
                    lit.push('"');
                }
                '$' => match p.interpolation() {
                    Some(piece) => {
                        if !lit.is_empty() {
                            pieces.push(Piece::Lit(std::mem::take(&mut lit)));
                        }
                        pieces.push(piece);
                    }
                    None => {
                        lit.push('$');
                        p.i += 1;
                    }
                },
                _ => {
                    lit.push(c);
                    p.next();
                }
            }
        }
        self.whole &= p.whole;
        self.steps = p.steps;
        if !lit.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Lit(lit));
        }
        Expr::Text(pieces)
    }
}

/// A variable's name in lower case; scopes other than `env` go.
fn scoped(name: &str) -> String {
    let lower = name.to_lowercase();
    match lower.split_once(':') {
        Some(("env", n)) => format!("env:{n}"),
        Some((_, n)) => n.to_owned(),
        None => lower,
    }
}

fn escaped(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        c => c,
    }
}

/// `12`, `1.5`, `0x1f`, `4kb`.
pub fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex.trim_end_matches('l'), 16).ok().map(|n| n as f64);
    }
    if !lower.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    for (unit, n) in [("kb", 1u64 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40)] {
        if let Some(t) = lower.strip_suffix(unit) {
            return t.parse::<f64>().ok().map(|v| v * n as f64);
        }
    }
    let t = lower.trim_end_matches(['l', 'd']);
    t.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| t.parse().ok()).flatten()
}
