//! Regular expressions of data.
//!
//! A load has hundreds, and each is asked a few times about a short text: what makes long searches fast (automata built in
//! advance, searches from both ends) is left out, which compiles them in a third of the time. Those of data built in wait
//! until they are asked: a run asks few of them.

use std::sync::OnceLock;

use regex_automata::PatternID;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;

/// Memory that a compiled expression may take.
const BYTES_MAX: usize = 1 << 20;

/// A regular expression that ignores case. It is compiled when it is first asked, or checked.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// An expression that is known to compile: that of data built in, which a test has compiled.
    pub fn known(text: &str) -> Pattern {
        Pattern { text: text.into(), compiled: OnceLock::new() }
    }
    /// Compiles an expression.
    ///
    /// # Errors
    /// Why it does not compile.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let p = Pattern::known(text);
        p.check()?;
        Ok(p)
    }
    /// Compiles it, if it was not.
    ///
    /// # Errors
    /// Why it does not compile.
    pub fn check(&self) -> Result<(), String> {
        if self.compiled.get().is_none() {
            // another thread may have been faster
            let _ = self.compiled.set(compile(&self.text)?);
        }
        Ok(())
    }
    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| compile(&self.text).expect("it was checked, or is built in and a test did"))
    }
    /// Names of its groups, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.regex().group_info().pattern_names(PatternID::ZERO).flatten()
    }
    /// Whether a text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex().is_match(text)
    }
    /// What its named groups take of a text that matches.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let mut found: Captures = self.regex().create_captures();
        self.regex().captures(text, &mut found);
        let of = |name| Some((name, &text[found.get_group_by_name(name)?.range()]));
        found.is_match().then(|| self.names().filter_map(of).collect())
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let plain = Config::new().dfa(false).hybrid(false).onepass(false).nfa_size_limit(Some(BYTES_MAX));
    let syntax = syntax::Config::new().case_insensitive(true);
    Regex::builder().configure(plain).syntax(syntax).build(text).map_err(|e| {
        let why = match (e.syntax_error(), e.size_limit()) {
            (Some(e), _) => e.to_string(),
            (None, Some(max)) => format!("it would take more than {max} bytes; repeat less"),
            (None, None) => e.to_string(),
        };
        let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("the regular expression `{text}` does not compile: {last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(text: &str) -> Result<regex::Regex, regex::Error> {
        regex::RegexBuilder::new(text).case_insensitive(true).size_limit(BYTES_MAX).build()
    }

    #[test]
    fn groups_take_what_matches() {
        let p = Pattern::new(r"^(?<a>\S+)( (?P<b>x|(?<c>y)))*$").unwrap();
        assert_eq!(p.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(p.captures("Foo X"), Some(vec![("a", "Foo"), ("b", "X")]));
        assert_eq!(p.captures("Foo z"), None);
    }

    #[test]
    fn what_is_too_large_is_an_error() {
        insta::assert_snapshot!(Pattern::new(r"(\w{300}){300}").unwrap_err(), @r"the regular expression `(\w{300}){300}` does not compile: it would take more than 1048576 bytes; repeat less");
    }

    proptest! {
        #[test]
        fn as_the_usual_compiler_says(
            text in r"[a-c.\\(?<>)*+|w\[\]^$1,-]{0,24}", about in "[A-C0-9 <>-]{0,12}",
        ) {
            match (Pattern::new(&text), reference(&text)) {
                (Ok(p), Ok(re)) => {
                    prop_assert_eq!(p.is_match(&about), re.is_match(&about));
                    prop_assert!(p.names().eq(re.capture_names().flatten()));
                    let all = re.captures(&about).map(|c| {
                        re.capture_names().flatten().filter_map(|n| Some((n.to_owned(), c.name(n)?.as_str().to_owned()))).collect::<Vec<_>>()
                    });
                    let ours = p.captures(&about).map(|c| c.into_iter().map(|(n, t)| (n.to_owned(), t.to_owned())).collect::<Vec<_>>());
                    prop_assert_eq!(ours, all);
                }
                (p, re) => prop_assert_eq!(p.is_err(), re.is_err()),
            }
        }
    }
}
