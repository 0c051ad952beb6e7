//! TLS of our own, beside librdkafka's: to ask a token provider, and to look at a broker's certificates.

use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What a server showed, and whether it holds.
#[derive(Debug, Default)]
pub struct Shown {
    /// Certificates, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why they are not to be trusted.
    pub fault: Option<String>,
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for c in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let c = c.map_err(|e| format!("authorities: {e}"))?;
                roots.add(c).map_err(|e| format!("authorities: {e}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate authority is known; give a file with `ca`".into());
    }
    Ok(roots)
}

/// A client that trusts these authorities (the system's when none), with a certificate chain and key of its own if
/// given, all in PEM.
///
/// # Errors
/// What is wrong with them.
pub fn client(ca: Option<&str>, identity: Option<(&str, &str)>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots(ca)?);
    let Some((chain, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| format!("private key: {e}"))?;
    builder.with_client_auth_cert(chain.map_err(|e| e.to_string())?, key).map_err(|e| e.to_string())
}

/// As [`client`], but it goes on with a server that is not to be trusted, and notes what that one showed. For looking
/// only: nothing secret may go over such a connection.
///
/// # Errors
/// As [`client`].
pub fn looking_client(
    ca: Option<&str>,
    identity: Option<(&str, &str)>,
    shown: Arc<Mutex<Shown>>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
        .build()
        .map_err(|e| e.to_string())?;
    let mut config = client(ca, identity)?;
    config.dangerous().set_certificate_verifier(Arc::new(Looking { verifier, shown }));
    Ok(config)
}

#[derive(Debug)]
struct Looking {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Arc<Mutex<Shown>>,
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fault = self.verifier.verify_server_cert(own, others, name, ocsp, now).err();
        let mut shown = self.shown.lock().expect("no panic while holding it");
        shown.chain = std::iter::once(own).chain(others).map(|c| c.clone().into_owned()).collect();
        shown.fault = fault.map(|e| e.to_string());
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
