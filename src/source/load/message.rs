//! Message templates.

use super::*;

/// Splits a template into fixed text and values.
pub(super) fn template(n: &Node, data: &[Column], names: &mut Names, p: &mut Problems) -> Option<Vec<Part>> {
    let text = n.text(p, "`message`")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut parts = vec![];
    let mut fixed = String::new();
    let mut rest = text;
    while let Some(i) = rest.find(['{', '}']) {
        fixed.push_str(&rest[..i]);
        let brace = &rest[i..i + 1];
        rest = &rest[i + 1..];
        if rest.starts_with(brace) {
            fixed.push_str(brace);
            rest = &rest[1..];
            continue;
        }
        if brace == "}" {
            p.at(n, "the message has a `}` without its `{`").help("a brace of the text is written twice");
            return None;
        }
        let Some((inside, after)) = rest.split_once('}') else {
            p.at(n, "the message has a `{` without its `}`").help("a brace of the text is written twice");
            return None;
        };
        rest = after;
        if inside == "*" {
            for c in data {
                if let Shape::One(e) = &c.value {
                    fixed.push_str(&format!("\n{}: ", c.name));
                    parts.push(Part::Text(std::mem::take(&mut fixed)));
                    parts.push(Part::Value(e.clone()));
                }
            }
            continue;
        }
        if !fixed.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut fixed)));
        }
        match placeholder(inside, data, names) {
            Ok(e) => parts.push(Part::Value(e)),
            Err((message, help)) => {
                p.at(n, format!("the message's `{{{inside}}}`: {message}")).help = help;
            }
        }
    }
    fixed.push_str(rest);
    if !fixed.is_empty() {
        parts.push(Part::Text(fixed));
    }
    Some(parts)
}

fn placeholder(inside: &str, data: &[Column], names: &mut Names) -> Result<Expr, (String, Option<String>)> {
    let (name, formatters) = match inside.split_once('|') {
        Some((n, f)) => (n.trim(), Some(f)),
        None => (inside.trim(), None),
    };
    let column = data.iter().find(|c| c.name == name);
    if let Some(Column { value: Shape::One(e), .. }) = column {
        return match formatters {
            None => Ok(e.clone()),
            Some(f) => Parser::formatters(e.clone(), f, names).map_err(|w| (w.message, w.help)),
        };
    }
    let is_word = formatters.is_none() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_word && !name.is_empty() {
        let help = crate::yaml::suggest(name, data.iter().map(|c| c.name.as_str()));
        return Err((format!("the data has no field `{name}`"), Some(help)));
    }
    Parser::expression(inside, names).map_err(|w| (w.message, w.help))
}
