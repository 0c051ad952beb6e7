//! Bearer tokens: from a file that somebody keeps fresh, or from an OpenID provider by client credentials.
//!
//! librdkafka can ask the provider itself only when it is built with libcurl, a second TLS stack and an HTTP client
//! for one request an hour; the request is made here, with the TLS that gRPC uses.

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use rdkafka::client::OAuthToken;

use super::security::TokenFrom;
use super::tls;

/// Longest wait for the provider.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer of the provider.
const ANSWER_MAX: u64 = 256 << 10;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A token and when it ends.
///
/// # Errors
/// What went wrong; never the token or a secret.
pub fn token(from: &TokenFrom) -> Result<OAuthToken, String> {
    match from {
        TokenFrom::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| format!("cannot read the token in {}: {e}", path.display()))?;
            let token = text.trim().to_owned();
            let claims = claims(&token).ok_or_else(|| format!("{} holds no JSON web token", path.display()))?;
            let lifetime_ms = claims["exp"].as_f64().map(|s| (s * 1000.0) as i64);
            // a token without an end is read again after five minutes
            named(token, &claims, lifetime_ms.unwrap_or_else(|| now_ms() + 300_000))
        }
        TokenFrom::Oidc { token_url, client_id, client_secret, scope, ca } => {
            let secret = client_secret.reveal().map_err(|e| e.to_string())?;
            let mut form = String::from("grant_type=client_credentials");
            if let Some(s) = scope {
                form += "&scope=";
                form += &percent(s);
            }
            // RFC 6749, 2.3.1: both parts are form-encoded before they are joined
            let basic = format!("{}:{}", percent(client_id), percent(&secret));
            let basic = base64::engine::general_purpose::STANDARD.encode(basic);
            let ca = ca.as_ref().map(|c| c.text()).transpose().map_err(|e| e.to_string())?;
            let body = post(token_url, &basic, &form, ca.as_deref()).map_err(|e| format!("{token_url}: {e}"))?;
            let answer: serde_json::Value =
                serde_json::from_slice(&body).map_err(|_| format!("{token_url}: the answer is not JSON"))?;
            let Some(token) = answer["access_token"].as_str() else {
                let why = answer["error"].as_str().unwrap_or("no `access_token` in the answer");
                return Err(format!("{token_url}: {why}"));
            };
            let seconds = answer["expires_in"].as_f64().unwrap_or(300.0);
            let claims = claims(token).unwrap_or_default();
            named(token.to_owned(), &claims, now_ms() + (seconds * 1000.0) as i64)
        }
    }
}

/// Gives a token to a client that nobody polls for token refreshes.
///
/// # Errors
/// As [`token`].
pub fn give<C: rdkafka::ClientContext>(client: &rdkafka::client::Client<C>, from: &TokenFrom) -> Result<(), String> {
    let t = token(from)?;
    let nul = |_| "a token with a zero byte".to_owned();
    let (token, principal) = (CString::new(t.token).map_err(nul)?, CString::new(t.principal_name).map_err(nul)?);
    let mut why = [0u8; 512];
    // Why unsafe: the safe crate hands tokens over only from a producer's or consumer's polling, which an
    // administration client lacks; without this no topic could be made on a cluster with bearer tokens.
    // SAFETY: the client is alive, the strings end in zero and are copied, the buffer is as long as said.
    let code = unsafe {
        rdkafka_sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            t.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            why.as_mut_ptr().cast(),
            why.len(),
        )
    };
    if code == rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let end = why.iter().position(|b| *b == 0).unwrap_or(why.len());
    Err(String::from_utf8_lossy(&why[..end]).into_owned())
}

fn named(token: String, claims: &serde_json::Value, lifetime_ms: i64) -> Result<OAuthToken, String> {
    if lifetime_ms <= now_ms() {
        return Err("the bearer token has ended".into());
    }
    let principal_name = claims["sub"].as_str().unwrap_or("skirmish").to_owned();
    Ok(OAuthToken { token, principal_name, lifetime_ms })
}

/// The middle part of a JSON web token.
fn claims(token: &str) -> Option<serde_json::Value> {
    let part = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&json).ok()
}

fn percent(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if keep(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// One POST of a form; the body of an answer with status 200.
fn post(url: &str, basic: &str, form: &str, ca: Option<&str>) -> Result<Vec<u8>, String> {
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(r), _) => (true, r),
        (_, Some(r)) => (false, r),
        _ => return Err("must begin with https:// or http://".into()),
    };
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, p.to_owned()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((h, p)) if !h.is_empty() && !p.ends_with(']') => (h, p.parse().map_err(|_| "has no valid port")?),
        _ => (authority, if secure { 443 } else { 80 }),
    };
    let host = host.trim_matches(['[', ']']);
    let address = (host, port).to_socket_addrs().map_err(|e| e.to_string())?.next().ok_or("has no address")?;
    let tcp = TcpStream::connect_timeout(&address, TIMEOUT).map_err(|e| e.to_string())?;
    tcp.set_read_timeout(Some(TIMEOUT))
        .and_then(|()| tcp.set_write_timeout(Some(TIMEOUT)))
        .map_err(|e| e.to_string())?;
    let request = format!(
        "POST /{path} HTTP/1.0\r\nHost: {authority}\r\nAuthorization: Basic {basic}\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}",
        form.len()
    );
    let answer = if secure {
        let config = Arc::new(tls::client(ca, None)?);
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let connection = rustls::ClientConnection::new(config, name).map_err(|e| e.to_string())?;
        exchange(rustls::StreamOwned::new(connection, tcp), &request)
    } else {
        exchange(tcp, &request)
    }
    .map_err(|e| e.to_string())?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("the answer is not HTTP")?;
    let status = String::from_utf8_lossy(&answer[..end]).split_whitespace().nth(1).unwrap_or("").to_owned();
    let body = answer[end + 4..].to_vec();
    match status.as_str() {
        "200" => Ok(body),
        // providers say why in JSON, with status 400 or 401
        s => {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            Err(format!("answered {s} {}", json["error"].as_str().unwrap_or("")).trim_end().into())
        }
    }
}

fn exchange(mut s: impl Read + Write, request: &str) -> std::io::Result<Vec<u8>> {
    s.write_all(request.as_bytes())?;
    s.flush()?;
    let mut answer = vec![];
    match s.take(ANSWER_MAX).read_to_end(&mut answer) {
        // servers that end TLS by closing the socket
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(answer),
        r => r.map(|_| answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::kafka::security::Secret;

    fn jwt(exp: i64) -> String {
        let part = |s: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(s);
        format!("{}.{}.x", part("{}".into()), part(format!("{{\"sub\":\"me\",\"exp\":{exp}}}")))
    }

    #[test]
    fn a_token_file_says_who_and_until_when() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, format!("{}\n", jwt(9_999_999_999))).unwrap();
        let t = token(&TokenFrom::File(path.clone())).unwrap();
        assert_eq!((t.principal_name.as_str(), t.lifetime_ms), ("me", 9_999_999_999_000));
        std::fs::write(&path, jwt(5)).unwrap();
        assert_eq!(token(&TokenFrom::File(path.clone())).err().unwrap(), "the bearer token has ended");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(token(&TokenFrom::File(path)).err().unwrap().ends_with("holds no JSON web token"));
    }

    #[test]
    fn client_credentials_are_asked_for_and_never_repeated() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut asked = vec![];
            let ok = format!("HTTP/1.1 200 OK\r\n\r\n{{\"access_token\":\"{}\",\"expires_in\":60}}", jwt(1));
            for answer in [ok, "HTTP/1.1 401 No\r\n\r\n{\"error\":\"invalid_client\"}".into()] {
                let (mut s, _) = listener.accept().unwrap();
                let mut buf = vec![0; 4096];
                let n = s.read(&mut buf).unwrap();
                asked.push(String::from_utf8_lossy(&buf[..n]).into_owned());
                s.write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        let from = TokenFrom::Oidc {
            token_url: url.clone(),
            client_id: "id".into(),
            client_secret: Secret::held("p:w"),
            scope: Some("a b".into()),
            ca: None,
        };
        let t = token(&from).unwrap();
        assert!(t.principal_name == "me" && t.lifetime_ms > now_ms() + 50_000);
        assert_eq!(token(&from).err().unwrap(), format!("{url}: answered 401 invalid_client"));
        let asked = server.join().unwrap();
        assert!(asked[0].contains("Authorization: Basic aWQ6cCUzQXc=\r\n"), "{}", asked[0]);
        assert!(asked[0].ends_with("grant_type=client_credentials&scope=a%20b"));
    }
}
