//! Java's trust and key stores: PEM and PKCS#12 become PEM text; JKS is refused with the way to convert it.

use std::path::Path;

use base64::Engine;
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};

/// Our certificate chain and private key.
pub struct Identity {
    /// Certificates in PEM, ours first.
    pub chain: String,
    /// Private key in PEM.
    pub key: String,
    /// The key still needs its password.
    pub encrypted: bool,
}

enum Store {
    Pem(String),
    Pkcs12(KeyStore),
}

fn open(path: &Path, passwords: &[Option<&str>]) -> Result<Store, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) || bytes.starts_with(&[0xce, 0xce, 0xce, 0xce]) {
        return Err(format!(
            "{shown} is a JKS store; convert it: keytool -importkeystore -srckeystore {shown} \
             -destkeystore {} -deststoretype PKCS12",
            path.with_extension("p12").display()
        ));
    }
    if let Ok(text) = std::str::from_utf8(&bytes)
        && text.contains("-----BEGIN ")
    {
        return Ok(Store::Pem(text.into()));
    }
    let mut why = format!("{shown} is PKCS#12 and needs a password");
    for password in passwords.iter().flatten() {
        match KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Relaxed) {
            Ok(store) => return Ok(Store::Pkcs12(store)),
            Err(e) => why = format!("{shown} cannot be opened as PKCS#12 with the password given: {e}"),
        }
    }
    Err(why)
}

/// PEM armour around DER, for a kind such as `CERTIFICATE`.
pub fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {kind}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out + &format!("-----END {kind}-----\n")
}

/// The blocks of a PEM text whose kind is as wanted, armour included.
fn blocks(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("-----BEGIN ").and_then(|l| l.trim_end().strip_suffix("-----")) {
            inside = wanted(kind);
        }
        if inside {
            out.push_str(line);
            out.push('\n');
        }
        if line.starts_with("-----END ") {
            inside = false;
        }
    }
    out
}

/// The certificates of a trust store.
///
/// # Errors
/// It cannot be read, opened, or holds none.
pub fn authorities(path: &Path, password: Option<&str>) -> Result<String, String> {
    let out = match open(path, &[password, Some("")])? {
        Store::Pem(text) => blocks(&text, |k| k.ends_with("CERTIFICATE")),
        Store::Pkcs12(store) => {
            let mut out = String::new();
            for (_, entry) in store.entries() {
                match entry {
                    KeyStoreEntry::Certificate(c) => out.push_str(&pem("CERTIFICATE", c.as_der())),
                    KeyStoreEntry::PrivateKeyChain(chain) => {
                        chain.certs().iter().for_each(|c| out.push_str(&pem("CERTIFICATE", c.as_der())));
                    }
                    _ => {}
                }
            }
            out
        }
    };
    if out.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(out)
}

/// Certificate chain and private key of a key store.
///
/// # Errors
/// It cannot be read, opened, or lacks one of the two.
pub fn identity(path: &Path, store_password: Option<&str>, key_password: Option<&str>) -> Result<Identity, String> {
    let id = match open(path, &[store_password, key_password])? {
        Store::Pem(text) => {
            let key = blocks(&text, |k| k.ends_with("PRIVATE KEY"));
            let encrypted = key.contains("ENCRYPTED");
            Identity { chain: blocks(&text, |k| k.ends_with("CERTIFICATE")), key, encrypted }
        }
        Store::Pkcs12(store) => match store.private_key_chain() {
            Some((_, chain)) => Identity {
                chain: chain.certs().iter().map(|c| pem("CERTIFICATE", c.as_der())).collect(),
                key: pem("PRIVATE KEY", chain.key().as_der()),
                encrypted: false,
            },
            None => return Err(format!("{} holds no private key", path.display())),
        },
    };
    if id.key.is_empty() || id.chain.is_empty() {
        return Err(format!("{} must hold a private key and its certificate", path.display()));
    }
    Ok(id)
}
