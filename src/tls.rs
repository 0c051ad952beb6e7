//! TLS of gRPC connections, in both directions.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::yaml::{Fields, Node, Problems};

/// How a server proves itself, and whom it lets in. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Its certificate and those between it and the root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// If given, only clients with a certificate of this authority are let in.
    pub client_ca: Option<PathBuf>,
}

/// How a client checks a server, and proves itself. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The authority that the server's certificate must come from; the system's authorities if none.
    pub ca: Option<PathBuf>,
    /// Certificate and key of the client, for servers that want one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that the server's certificate must have, if not that of the address.
    pub server_name: Option<String>,
}

fn path(f: &Fields<'_>, p: &mut Problems, name: &'static str) -> Option<PathBuf> {
    f.take(name).and_then(|n| n.text(p, name)).map(PathBuf::from)
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    if memchr::memmem::find(&bytes, b"-----BEGIN ").is_none() {
        return Err(format!("`{}` is not PEM", path.display()));
    }
    Ok(bytes)
}

impl ServerTls {
    /// Reads `{cert: FILE, key: FILE, client_ca: FILE}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<ServerTls> {
        let f = node.fields(p, "`tls`")?;
        let cert = f.need(p, "cert").and_then(|n| n.text(p, "cert"));
        let key = f.need(p, "key").and_then(|n| n.text(p, "key"));
        let client_ca = path(&f, p, "client_ca");
        f.finish(p);
        Some(ServerTls { cert: cert?.into(), key: key?.into(), client_ca })
    }
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing or not PEM.
    pub fn load(&self) -> Result<ServerTlsConfig, String> {
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(pem(&self.cert)?, pem(&self.key)?));
        if let Some(ca) = &self.client_ca {
            tls = tls.client_ca_root(Certificate::from_pem(pem(ca)?));
        }
        Ok(tls)
    }
}

impl ClientTls {
    /// Reads `{ca: FILE, cert: FILE, key: FILE, server_name: NAME}`.
    pub fn from_node(node: &Node, p: &mut Problems) -> Option<ClientTls> {
        let f = node.fields(p, "`tls`")?;
        let (ca, cert, key) = (path(&f, p, "ca"), path(&f, p, "cert"), path(&f, p, "key"));
        let server_name = f.take("server_name").and_then(|n| n.text(p, "server_name")).map(String::from);
        f.finish(p);
        let identity = match (cert, key) {
            (Some(c), Some(k)) => Some((c, k)),
            (None, None) => None,
            _ => {
                p.at(node, "only one of `cert` and `key` is given").help("a client certificate needs both");
                return None;
            }
        };
        Some(ClientTls { ca, identity, server_name })
    }
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing or not PEM.
    pub fn load(&self) -> Result<ClientTlsConfig, String> {
        let mut tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((cert, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(pem(cert)?, pem(key)?));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn what_is_missing_is_named() {
        let read = |text: &str| {
            let mut p = Problems::new();
            let node = &yaml::parse("x.yaml", text).unwrap()[0];
            ServerTls::from_node(node, &mut p);
            ClientTls::from_node(node, &mut p);
            p.to_string()
        };
        insta::assert_snapshot!(read("{cert: a}"), @r"
        x.yaml:1:1: `tls` lacks `key`
        x.yaml:1:1: only one of `cert` and `key` is given; a client certificate needs both
        ");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "no").unwrap();
        let tls = ServerTls { cert: path.clone(), key: path.clone(), client_ca: None };
        assert!(tls.load().unwrap_err().ends_with("x.pem` is not PEM"));
    }
}
