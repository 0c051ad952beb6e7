//! Who we are to the brokers and how the line is protected, as meant; and the same as librdkafka properties.

use std::fmt;
use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;

use super::Error;
use crate::secret::{self, SecretRef};
use crate::yaml::{Fields, Node, Problems};

/// A secret by reference. Never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Stands in a file or in the environment.
    Ref(SecretRef),
    /// Read out of a `client.properties`, which is the file that holds it.
    Held(secret::Secret),
}

impl Secret {
    /// One that was read already.
    pub fn held(text: impl Into<String>) -> Secret {
        Secret::Held(secret::Secret::new(text))
    }
    /// The secret itself.
    ///
    /// # Errors
    /// It cannot be read or is empty.
    pub fn reveal(&self) -> Result<String, Error> {
        match self {
            Secret::Ref(r) => r.read().map(|s| s.expose().to_owned()).map_err(Error::configuration),
            Secret::Held(s) => Ok(s.expose().to_owned()),
        }
    }
}

/// Certificates or keys: a file, or their text out of a store.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A PEM file.
    File(PathBuf),
    /// PEM text.
    Text(String),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(p) => write!(f, "file {}", p.display()),
            Pem::Text(_) => f.write_str("[pem]"),
        }
    }
}

impl Pem {
    /// The PEM text.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn text(&self) -> Result<String, Error> {
        match self {
            Pem::Text(t) => Ok(t.clone()),
            Pem::File(p) => std::fs::read_to_string(p)
                .map_err(|e| Error::configuration(format!("cannot read {}: {e}", p.display()))),
        }
    }
}

/// TLS as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust; none means the system's.
    pub ca: Option<Pem>,
    /// Our certificate and its chain, for mutual TLS.
    pub cert: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// What the private key is encrypted with.
    pub key_password: Option<Secret>,
    /// Whether the certificate must be for the name that was asked.
    pub verify_hostname: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { ca: None, cert: None, key: None, key_password: None, verify_hostname: true }
    }
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// PLAIN.
    Plain { username: String, password: Secret },
    /// SCRAM-SHA-256 (`wide: false`) or SCRAM-SHA-512.
    Scram { wide: bool, username: String, password: Secret },
    /// OAUTHBEARER.
    OAuth(TokenFrom),
    /// Kerberos. Needs the cargo feature `kafka-gssapi`.
    Gssapi { service: String, principal: String, keytab: Option<PathBuf> },
}

/// Where bearer tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFrom {
    /// A file that somebody else keeps fresh; read again before the token in it ends.
    File(PathBuf),
    /// OpenID Connect, client credentials.
    Oidc { token_url: String, client_id: String, client_secret: Secret, scope: Option<String>, ca: Option<Pem> },
}

/// All of it. The default is plaintext.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// TLS, or none.
    pub tls: Option<Tls>,
    /// Login, or none.
    pub sasl: Option<Sasl>,
}

const MECHANISMS: [&str; 5] = ["plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "gssapi"];

impl Security {
    /// `plaintext`, `tls`, or a mapping. In a mapping TLS is on unless `tls: false`: a password in the clear is
    /// something one has to ask for.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<Security> {
        match node.as_str() {
            Some("plaintext") => return Some(Security::default()),
            Some("tls") => return Some(Security { tls: Some(Tls::default()), sasl: None }),
            Some(word) => {
                p.unknown(node, "security", word, ["plaintext", "tls"]);
                p.0.last_mut()?.help = Some("expected `plaintext`, `tls` or a mapping".into());
                return None;
            }
            None => {}
        }
        let f = node.fields(p, "security")?;
        let before = p.0.len();
        let tls = match f.take("tls") {
            Some(n) if n.as_str().is_some() => n.boolean(p, "tls")?.then(Tls::default),
            Some(n) => Some(tls(n, p)?),
            None => Some(Tls::default()),
        };
        let sasl = sasl(&f, p);
        f.finish(p);
        (p.0.len() == before).then_some(Security { tls, sasl })
    }

    /// Sets what librdkafka must know.
    ///
    /// # Errors
    /// A secret or a file cannot be read.
    pub fn apply(&self, c: &mut ClientConfig) -> Result<(), Error> {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        c.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            for (pem, name) in [(&tls.ca, "ssl.ca.pem"), (&tls.cert, "ssl.certificate.pem"), (&tls.key, "ssl.key.pem")]
            {
                if let Some(pem) = pem {
                    c.set(name, pem.text()?);
                }
            }
            if let Some(s) = &tls.key_password {
                c.set("ssl.key.password", s.reveal()?);
            }
            if !tls.verify_hostname {
                c.set("ssl.endpoint.identification.algorithm", "none");
            }
        }
        match &self.sasl {
            None => {}
            Some(Sasl::Plain { username, password }) => {
                c.set("sasl.mechanisms", "PLAIN");
                c.set("sasl.username", username).set("sasl.password", password.reveal()?);
            }
            Some(Sasl::Scram { wide, username, password }) => {
                c.set("sasl.mechanisms", if *wide { "SCRAM-SHA-512" } else { "SCRAM-SHA-256" });
                c.set("sasl.username", username).set("sasl.password", password.reveal()?);
            }
            Some(Sasl::OAuth(_)) => {
                c.set("sasl.mechanisms", "OAUTHBEARER");
            }
            Some(Sasl::Gssapi { service, principal, keytab }) => {
                c.set("sasl.mechanisms", "GSSAPI");
                c.set("sasl.kerberos.service.name", service).set("sasl.kerberos.principal", principal);
                if let Some(k) = keytab {
                    c.set("sasl.kerberos.keytab", k.display().to_string());
                }
            }
        }
        Ok(())
    }

    /// Where bearer tokens come from, if that is how we log in.
    pub fn token_from(&self) -> Option<&TokenFrom> {
        match &self.sasl {
            Some(Sasl::OAuth(from)) => Some(from),
            _ => None,
        }
    }
}

/// A file that must be readable when the configuration is loaded.
fn pem(f: &Fields, name: &'static str, p: &mut Problems) -> Option<Pem> {
    let node = f.take(name)?;
    let path = Path::new(node.text(p, name)?);
    match std::fs::read(path) {
        Ok(bytes) if bytes.windows(11).any(|w| w == b"-----BEGIN ") => {}
        Ok(_) => p
            .at(node, format!("{name}: {} is not a PEM file", path.display()))
            .help("certificates and keys are read as PEM; Java stores come through `client_properties`"),
        Err(e) => {
            p.at(node, format!("{name}: cannot read {}: {e}", path.display()));
        }
    }
    Some(Pem::File(path.into()))
}

fn tls(node: &Node, p: &mut Problems) -> Option<Tls> {
    let f = node.fields(p, "tls")?;
    let t = Tls {
        ca: pem(&f, "ca", p),
        cert: pem(&f, "cert", p),
        key: pem(&f, "key", p),
        key_password: secret(&f, p, "key_password", "key_password_file", "key_password_env"),
        verify_hostname: f.take("verify_hostname").and_then(|n| n.boolean(p, "verify_hostname")).unwrap_or(true),
    };
    if t.cert.is_some() != t.key.is_some() {
        p.at(node, "`cert` and `key` come together: one of them is missing");
    }
    f.finish(p);
    Some(t)
}

fn secret(f: &Fields, p: &mut Problems, plain: &'static str, file: &'static str, env: &'static str) -> Option<Secret> {
    SecretRef::from_fields(f, p, plain, file, env).map(Secret::Ref)
}

fn sasl(f: &Fields, p: &mut Problems) -> Option<Sasl> {
    let mechanism = f.take("sasl");
    let username = f.take("username");
    let before = p.0.len();
    let password = secret(f, p, "password", "password_file", "password_env");
    let (token_file, oidc, kerberos) = (f.take("token_file"), f.take("oidc"), f.take("kerberos"));
    let Some(mechanism) = mechanism else {
        if let Some(n) = username.or(token_file).or(oidc).or(kerberos) {
            p.at(n, "a login needs `sasl`").help(format!("one of `{}`", MECHANISMS.join("`, `")));
        }
        return None;
    };
    let word = mechanism.text(p, "sasl")?;
    match word.to_ascii_lowercase().as_str() {
        m @ ("plain" | "scram-sha-256" | "scram-sha-512") => {
            // a password given in a wrong way was complained of already
            if password.is_none() && p.0.len() == before {
                p.at(mechanism, format!("sasl `{m}` needs `password_file` or `password_env`"));
            }
            if username.is_none() {
                p.at(mechanism, format!("sasl `{m}` needs `username`"));
            }
            let (username, password) = (username?.text(p, "username")?.to_owned(), password?);
            Some(match m {
                "plain" => Sasl::Plain { username, password },
                m => Sasl::Scram { wide: m == "scram-sha-512", username, password },
            })
        }
        "oauthbearer" => match (token_file, oidc) {
            (Some(n), None) => Some(Sasl::OAuth(TokenFrom::File(n.text(p, "token_file")?.into()))),
            (None, Some(n)) => {
                let o = n.fields(p, "oidc")?;
                let token_url = o.need(p, "token_url").and_then(|n| n.text(p, "token_url"));
                let client_id = o.need(p, "client_id").and_then(|n| n.text(p, "client_id"));
                let before = p.0.len();
                let client_secret = secret(&o, p, "client_secret", "client_secret_file", "client_secret_env");
                if client_secret.is_none() && p.0.len() == before {
                    p.at(n, "oidc needs `client_secret_file` or `client_secret_env`");
                }
                let scope = o.take("scope").and_then(|n| n.text(p, "scope")).map(str::to_owned);
                let ca = pem(&o, "ca", p);
                o.finish(p);
                Some(Sasl::OAuth(TokenFrom::Oidc {
                    token_url: token_url?.into(),
                    client_id: client_id?.into(),
                    client_secret: client_secret?,
                    scope,
                    ca,
                }))
            }
            _ => {
                p.at(mechanism, "sasl `oauthbearer` needs one of `token_file` and `oidc`");
                None
            }
        },
        "gssapi" if !cfg!(feature = "kafka-gssapi") => {
            p.at(mechanism, "this skirmish was built without Kerberos")
                .help("build it with `--features kafka-gssapi` (needs the system's libsasl2)");
            None
        }
        "gssapi" => {
            let Some(n) = kerberos else {
                p.at(mechanism, "sasl `gssapi` needs `kerberos`");
                return None;
            };
            let k = n.fields(p, "kerberos")?;
            let service = k.take("service").and_then(|n| n.text(p, "service")).unwrap_or("kafka").to_owned();
            let principal = k.need(p, "principal").and_then(|n| n.text(p, "principal")).map(str::to_owned);
            let keytab = k.take("keytab").and_then(|n| n.text(p, "keytab")).map(PathBuf::from);
            k.finish(p);
            Some(Sasl::Gssapi { service, principal: principal?, keytab })
        }
        other => {
            p.unknown(mechanism, "sasl mechanism", other, MECHANISMS);
            None
        }
    }
}
