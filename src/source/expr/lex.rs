//! Words, literals and signs of an expression.

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tok {
    /// A name or keyword: letters, digits, `_`, `.`, `-`.
    Word(String),
    /// A quoted literal.
    Text(String),
    /// Digits, also `0x`.
    Number(u64),
    /// One of `| + : ( ) [ ] , == != < <= > >=`.
    Sign(&'static str),
}

impl std::fmt::Display for Tok {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tok::Word(w) => write!(f, "`{w}`"),
            Tok::Text(t) => write!(f, "'{t}'"),
            Tok::Number(n) => write!(f, "`{n}`"),
            Tok::Sign(s) => write!(f, "`{s}`"),
        }
    }
}

const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "|", "+", ":", "(", ")", "[", "]", ","];

/// Splits a text.
///
/// # Errors
/// An unfinished literal, a strange character, a number beyond 64 bits.
pub fn lex(text: &str) -> Result<Vec<Tok>, String> {
    let mut out = vec![];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_whitespace() {
            rest = &rest[1..];
        } else if c == '\'' || c == '"' {
            let (literal, after) = quoted(rest, c)?;
            out.push(Tok::Text(literal));
            rest = after;
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = rest[..end].replace('_', "");
            let n = match word.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => word.parse(),
            };
            out.push(Tok::Number(n.map_err(|_| format!("`{}` is not a number", &rest[..end]))?));
            rest = &rest[end..];
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).unwrap_or(rest.len());
            out.push(Tok::Word(rest[..end].into()));
            rest = &rest[end..];
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            out.push(Tok::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            return Err(format!("`{c}` has no meaning in an expression (literals are quoted)"));
        }
    }
    Ok(out)
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut literal = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c == quote {
            if quote == '\'' && chars.peek().is_some_and(|(_, n)| *n == '\'') {
                literal.push('\'');
                chars.next();
                continue;
            }
            return Ok((literal, &text[i + 1..]));
        }
        if c == '\\' && quote == '"' {
            literal.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, 't')) => '\t',
                Some((_, c @ ('"' | '\\'))) => c,
                Some((_, c)) => return Err(format!(r#"`\{c}` is no escape; there are \n \r \t \" \\"#)),
                None => break,
            });
            continue;
        }
        literal.push(c);
    }
    Err(format!("the literal {text} does not end"))
}
