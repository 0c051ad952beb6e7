//! Secrets: named by file or environment variable, read when needed, never printed.

use std::path::PathBuf;

use crate::yaml::{Fields, Problems};

/// Where a secret stands. Its `Debug` shows the place, never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The text of a file, without white space at its ends.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// The text of a secret. It cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes a text that was obtained elsewhere.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
    /// The text itself. Never into a log, an error, a metric or a journal.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl SecretRef {
    /// Reads a pair of fields such as `token_file` and `token_env`, of which at most one may be given. `plain` is the
    /// field that a secret written out would stand in, so that its refusal can say what to do instead.
    pub fn from_fields(
        f: &Fields<'_>,
        p: &mut Problems,
        plain: &'static str,
        file: &'static str,
        env: &'static str,
    ) -> Option<SecretRef> {
        if let Some(n) = f.take(plain) {
            p.at(n, format!("`{plain}` must not be written into a configuration"))
                .help(format!("name a file with `{file}` or an environment variable with `{env}`"));
        }
        let (in_file, in_env) = (f.take(file), f.take(env));
        if let (Some(_), Some(n)) = (in_file, in_env) {
            p.at(n, format!("both `{file}` and `{env}` are given")).help("one of them is enough");
            return None;
        }
        let in_file = in_file.and_then(|n| n.text(p, file)).map(|t| SecretRef::File(t.into()));
        in_file.or_else(|| in_env.and_then(|n| n.text(p, env)).map(|t| SecretRef::Env(t.into())))
    }
    /// The secret.
    ///
    /// # Errors
    /// The file cannot be read, the variable is not set, or it is empty. The error names the place only.
    pub fn read(&self) -> Result<Secret, String> {
        let text = match self {
            SecretRef::File(path) => {
                std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?
            }
            SecretRef::Env(name) => {
                std::env::var(name).map_err(|_| format!("environment variable `{name}` is not set"))?
            }
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("{self} is empty"));
        }
        Ok(Secret(text.into()))
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file `{}`", path.display()),
            SecretRef::Env(name) => write!(f, "environment variable `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn a_secret_is_named_never_written_and_never_shown() {
        let node = &yaml::parse("x.yaml", "{token: hunter2, token_file: /a, token_env: B}").unwrap()[0];
        let mut p = Problems::new();
        let f = node.fields(&mut p, "a sink").unwrap();
        assert_eq!(SecretRef::from_fields(&f, &mut p, "token", "token_file", "token_env"), None);
        f.finish(&mut p);
        insta::assert_snapshot!(p, @r"
        x.yaml:1:9: `token` must not be written into a configuration; name a file with `token_file` or an environment variable with `token_env`
        x.yaml:1:45: both `token_file` and `token_env` are given; one of them is enough
        ");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_file_is_trimmed_and_an_empty_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, " abc\n").unwrap();
        assert_eq!(SecretRef::File(path.clone()).read().unwrap().expose(), "abc");
        std::fs::write(&path, "\n").unwrap();
        assert!(SecretRef::File(path).read().unwrap_err().ends_with("is empty"));
        let unset = SecretRef::Env("SKIRMISH_TEST_UNSET".into()).read().unwrap_err();
        assert_eq!(unset, "environment variable `SKIRMISH_TEST_UNSET` is not set");
    }
}
