//! The one line of `sasl.jaas.config`: `class flag key="value" key=value;`.

use std::collections::BTreeMap;

/// A login module's options. Has no `Debug`: it holds passwords.
#[derive(Default)]
pub struct Entry(BTreeMap<String, String>);

impl Entry {
    /// An option's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// Reads it. The text is never part of an error: it holds a password.
///
/// # Errors
/// What is wrong with its form.
pub fn parse(text: &str) -> Result<Entry, &'static str> {
    let mut words = vec![];
    let mut chars = text.trim().chars().peekable();
    let mut ended = false;
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => drop(chars.next()),
            ';' => {
                chars.next();
                ended = true;
                break;
            }
            '=' => {
                chars.next();
                words.push(None);
            }
            '"' => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next().ok_or("a quotation mark is missing")? {
                        '"' => break,
                        '\\' => word.push(chars.next().ok_or("a quotation mark is missing")?),
                        c => word.push(c),
                    }
                }
                words.push(Some(word));
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || matches!(c, '=' | ';' | '"') {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                words.push(Some(word));
            }
        }
    }
    if !ended {
        return Err("the semicolon at its end is missing");
    }
    if chars.any(|c| !c.is_whitespace()) {
        return Err("only one login module is read");
    }
    let mut words = words.into_iter();
    let (Some(Some(_module)), Some(Some(flag))) = (words.next(), words.next()) else {
        return Err("it must begin with a login module and a flag such as `required`");
    };
    if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_lowercase().as_str()) {
        return Err("the word after the login module must be a flag such as `required`");
    }
    let mut entry = Entry::default();
    while let Some(key) = words.next() {
        match (key, words.next(), words.next()) {
            (Some(k), Some(None), Some(Some(v))) => drop(entry.0.insert(k, v)),
            _ => return Err("options must have the form key=\"value\""),
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_are_read_as_java_reads_them() {
        let e = parse("org.apache.X required\n  username=\"al\\\"ice\" password = 'p;w' ;").err();
        assert_eq!(e, Some("only one login module is read"));
        let e =
            parse("org.apache.X required\n  username=\"al\\\"i\\\\ce\" password = \"p;=w\" a=b;").unwrap_or_default();
        assert_eq!([e.get("username"), e.get("password"), e.get("a")], [Some("al\"i\\ce"), Some("p;=w"), Some("b")]);
    }

    #[test]
    fn errors_never_hold_the_text() {
        for bad in [
            "X required password=\"hunter2\"",
            "X password=\"hunter2\";",
            "X required password \"hunter2\";",
            "hunter2",
        ] {
            assert!(!parse(bad).err().unwrap().contains("hunter2"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_any_text(s in "\\PC{0,80}") {
            let _ = parse(&s);
        }
        #[test]
        fn no_panic_on_jaas_like_text(s in "[a-z=\"; \\\\]{0,60}") {
            let _ = parse(&s);
        }
    }
}
