//! Command lines as Windows programs see them: the rules of CommandLineToArgvW.

/// The first word of a command line as CreateProcess takes it, and the rest with its leading blanks. Quotes are
/// removed from the word; backslashes before a quote have no meaning there.
pub fn program(line: &str) -> (String, String) {
    let line = line.trim_start_matches([' ', '\t']);
    if let Some(body) = line.strip_prefix('"') {
        return match body.find('"') {
            Some(end) => (body[..end].to_owned(), body[end + 1..].to_owned()),
            None => (body.to_owned(), String::new()),
        };
    }
    let end = line.find([' ', '\t']).unwrap_or(line.len());
    (line[..end].to_owned(), line[end..].to_owned())
}

/// Splits arguments (without the program) as CommandLineToArgvW does: 2n backslashes before a quote are n
/// backslashes and the quote delimits, 2n+1 are n and a literal quote; two quotes inside quotes are a literal one.
pub fn split(line: &str) -> Vec<String> {
    let mut out = vec![];
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
        if chars.peek().is_none() {
            return out;
        }
        let (mut word, mut quoted) = (String::new(), false);
        while let Some(&c) = chars.peek() {
            match c {
                '\\' => {
                    let mut n = 0;
                    while chars.next_if_eq(&'\\').is_some() {
                        n += 1;
                    }
                    if chars.peek() == Some(&'"') {
                        word.extend(std::iter::repeat_n('\\', n / 2));
                        if n % 2 == 1 {
                            chars.next();
                            word.push('"');
                        }
                    } else {
                        word.extend(std::iter::repeat_n('\\', n));
                    }
                }
                '"' => {
                    chars.next();
                    if quoted && chars.next_if_eq(&'"').is_some() {
                        word.push('"');
                    } else {
                        quoted = !quoted;
                    }
                }
                ' ' | '\t' | '\n' | '\r' if !quoted => break,
                _ => {
                    word.push(c);
                    chars.next();
                }
            }
        }
        out.push(word);
    }
}

/// Quotes an argument where it needs quotes, so that [`split`] gives it back.
pub fn quote(arg: &str) -> String {
    if !arg.is_empty() && !arg.contains([' ', '\t', '"', '\n', '\r']) {
        return arg.to_owned();
    }
    let mut out = String::from('"');
    let mut slashes = 0;
    for c in arg.chars() {
        match c {
            '\\' => slashes += 1,
            '"' => {
                out.extend(std::iter::repeat_n('\\', slashes + 1));
                slashes = 0;
            }
            _ => slashes = 0,
        }
        out.push(c);
    }
    out.extend(std::iter::repeat_n('\\', slashes));
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documented_examples() {
        // the table of the C runtime's and CommandLineToArgvW's documentation
        let table: &[(&str, &[&str])] = &[
            (r#""abc" d e"#, &["abc", "d", "e"]),
            (r#"a\\b d"e f"g h"#, &[r"a\\b", "de fg", "h"]),
            (r#"a\\\"b c d"#, &[r#"a\"b"#, "c", "d"]),
            (r#"a\\\\"b c" d e"#, &[r"a\\b c", "d", "e"]),
            (r#"a"b"" c d"#, &[r#"ab" c d"#]),
            (r#""" x"#, &["", "x"]),
            (r#"/c "echo \"hi\"""#, &["/c", r#"echo "hi""#]),
            ("", &[]),
            ("   ", &[]),
        ];
        for (line, want) in table {
            assert_eq!(split(line), *want, "{line}");
        }
    }

    #[test]
    fn programs() {
        assert_eq!(program(r#""C:\a b\x.exe" /y"#), (r"C:\a b\x.exe".into(), " /y".into()));
        assert_eq!(program("net user"), ("net".into(), " user".into()));
        assert_eq!(program(r#""open"#), ("open".into(), "".into()));
    }

    proptest! {
        #[test]
        fn quoted_arguments_come_back(args in prop::collection::vec("[a-c \\\\\"\t]{0,8}", 0..6)) {
            let line = args.iter().map(|a| quote(a)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&line), args);
        }
        #[test]
        fn no_panic(line in "\\PC{0,80}") {
            split(&line);
            program(&line);
        }
    }
}
