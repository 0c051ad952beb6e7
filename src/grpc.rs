//! Connecting to gRPC servers: addresses, TLS, tokens, errors that say why.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::secret::Secret;
use crate::tls::ClientTls;

/// A server and how to be let in.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`, `http://host:port` or `https://host:port`. TLS comes with `https` or with `tls`.
    pub address: String,
    /// How to check the server, and to prove oneself.
    pub tls: Option<ClientTls>,
    /// Sent as `authorization: Bearer TOKEN`.
    pub token: Option<Secret>,
    /// How often a connection that is silent is asked whether it lives; as long again, and it is given up.
    pub keepalive: Duration,
}

impl Default for Target {
    fn default() -> Self {
        Target { address: String::new(), tls: None, token: None, keepalive: Duration::from_secs(20) }
    }
}

/// A channel whose calls carry the token.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Adds a token to calls.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Target {
    /// The address with its scheme.
    ///
    /// # Errors
    /// It is none, or has no port.
    pub fn uri(&self) -> Result<Uri, String> {
        let bare = self.address.split_once("://").map_or(self.address.as_str(), |(_, rest)| rest);
        let tls = self.tls.is_some() || self.address.starts_with("https://");
        let scheme = if tls { "https" } else { "http" };
        let wrong = |e: String| format!("`{}` is no address: {e}", self.address);
        let uri: Uri = format!("{scheme}://{bare}").parse().map_err(|e| wrong(chain(&e)))?;
        if uri.port().is_none() {
            return Err(wrong("it has no port".into()));
        }
        Ok(uri)
    }
    /// Checks address, TLS files and token, without connecting.
    ///
    /// # Errors
    /// The address is none, a file is missing or not PEM, the token cannot stand in a header.
    pub fn endpoint(&self) -> Result<(Endpoint, Bearer), String> {
        let uri = self.uri()?;
        let tls = uri.scheme_str() == Some("https");
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(self.keepalive)
            .keep_alive_timeout(self.keepalive)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            // the defaults of 64 KiB would make throughput depend on the round trip
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        if tls {
            let config = self.tls.clone().unwrap_or_default().load()?;
            endpoint = endpoint.tls_config(config).map_err(|e| format!("TLS: {}", chain(&e)))?;
        }
        let bearer = match &self.token {
            Some(t) => {
                let mut value = MetadataValue::try_from(format!("Bearer {}", t.expose()))
                    .map_err(|_| "the token holds characters that cannot stand in a header".to_owned())?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok((endpoint, Bearer(bearer)))
    }
    /// Connects.
    ///
    /// # Errors
    /// As [`Target::endpoint`], and nobody answers or the TLS handshake fails.
    pub async fn connect(&self) -> Result<Connection, String> {
        let (endpoint, bearer) = self.endpoint()?;
        let channel =
            endpoint.connect().await.map_err(|e| format!("cannot connect to `{}`: {}", self.address, chain(&e)))?;
        Ok(InterceptedService::new(channel, bearer))
    }
}

/// An error with its causes: what tonic prints on its own is "transport error".
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(s) = source {
        let more = s.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = s.source();
    }
    text
}

/// A status as one reads it: its code and what the server says.
pub fn describe(status: &Status) -> String {
    let mut text = format!("{:?}", status.code());
    if !status.message().is_empty() {
        text = format!("{text}: {}", status.message());
    }
    match std::error::Error::source(status) {
        Some(s) if !text.contains(&s.to_string()) => format!("{text}: {}", chain(s)),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_the_token() {
        let wrong = |address: &str, token: &str| {
            let token = Some(Secret::new(token));
            Target { address: address.into(), token, ..Target::default() }.endpoint().err().unwrap()
        };
        insta::assert_snapshot!(wrong("localhost", "t"), @"`localhost` is no address: it has no port");
        // how often the parser names itself depends on what else is compiled in
        let said = wrong("a b:1", "t").replace("invalid URI: ", "");
        insta::assert_snapshot!(said, @"`a b:1` is no address: invalid uri character");
        insta::assert_snapshot!(wrong("localhost:1", "hunter\n2"), @"the token holds characters that cannot stand in a header");
    }
}
