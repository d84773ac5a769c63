//! TCP and TLS to a controller, opened here so that every step has a time limit, dead peers are found by keep-alives, and
//! the trusted certificates are exactly those that were configured.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{ControllerAddress, Security};
use crate::error::{ConnectError, EndReason};
use crate::frame;

/// LDAPMessage { 1, ExtendedRequest { 1.3.6.1.4.1.1466.20037 } } (RFC 4511 4.14.1).
const START_TLS: [u8; 31] = *b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// The largest answer to StartTLS that is read.
const START_TLS_ANSWER_BYTES: usize = 4096;

/// A connection under TLS.
pub(crate) type Secured = TlsStream<TcpStream>;

/// Trusts the certificates of `ca_file`, or those of the system.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    let place = ca_file.map_or_else(|| "the system's store".to_owned(), |path| path.display().to_string());
    let bad = |detail: String| ConnectError::Roots { place: place.clone(), detail };
    if let Some(path) = ca_file {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(bad("there are none; give the issuing certificate as `ca_file`".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Connects and secures; each step within `limit`.
pub(crate) async fn connect(
    to: &ControllerAddress,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Result<Secured, ConnectError> {
    let mut tcp = tcp(to, limit).await?;
    let late = |step| ConnectError::TimedOut { host: to.host.clone(), step, after: limit };
    if to.security == Security::StartTls {
        timeout(limit, start_tls(to, &mut tcp)).await.map_err(|_| late("StartTLS"))??;
    }
    let name = ServerName::try_from(to.host.clone()).map_err(|_| ConnectError::Certificate {
        host: to.host.clone(),
        detail: "this is no name that a certificate can carry".to_owned(),
    })?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
    timeout(limit, handshake).await.map_err(|_| late("the TLS handshake"))?.map_err(|source| {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(detail)) => {
                ConnectError::Certificate { host: to.host.clone(), detail: detail.to_string() }
            }
            _ => ConnectError::Tls { host: to.host.clone(), source },
        }
    })
}

async fn tcp(to: &ControllerAddress, limit: Duration) -> Result<TcpStream, ConnectError> {
    let host = || to.host.clone();
    let late = |step| ConnectError::TimedOut { host: host(), step, after: limit };
    let addresses: Vec<SocketAddr> = match to.address {
        Some(address) => vec![address],
        None => timeout(limit, tokio::net::lookup_host((to.host.as_str(), to.port)))
            .await
            .map_err(|_| late("the look-up of its name"))?
            .map_err(|source| ConnectError::Resolve { host: host(), source })?
            .take(8)
            .collect(),
    };
    let mut last = late("the look-up of its name");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Err(_) => last = late("connect"),
            Ok(Err(source)) => last = ConnectError::Tcp { host: host(), source },
            Ok(Ok(stream)) => {
                let alive =
                    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
                let options = stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&alive));
                return options.map(|()| stream).map_err(|source| ConnectError::Tcp { host: host(), source });
            }
        }
    }
    Err(last)
}

/// Asks for TLS. What follows the answer in the same packet would be read as if it had come through TLS, so anything
/// after it is refused.
async fn start_tls(to: &ControllerAddress, tcp: &mut TcpStream) -> Result<(), ConnectError> {
    let host = || to.host.clone();
    let network = |source| ConnectError::Tcp { host: host(), source };
    let ended = |reason| ConnectError::Ended { host: host(), reason };
    tcp.write_all(&START_TLS).await.map_err(network)?;
    let mut answer = Vec::new();
    loop {
        let length = frame::message_length(&answer).map_err(|e| ended(e.into()))?;
        match length {
            Some(n) if n > START_TLS_ANSWER_BYTES => return Err(ended(frame::FrameError::TooLarge(n as u64).into())),
            Some(n) if answer.len() > n => return Err(ended(frame::FrameError::Overrun.into())),
            Some(n) if answer.len() == n => break,
            _ => {}
        }
        if tcp.read_buf(&mut answer).await.map_err(network)? == 0 {
            return Err(ended(EndReason::Closed));
        }
    }
    let message = frame::message(&answer).map_err(|e| ended(e.into()))?;
    if message.op != frame::op::EXTENDED_RESPONSE {
        return Err(ended(frame::FrameError::Incomplete.into()));
    }
    match frame::result(message.body) {
        (0, _) => Ok(()),
        (code, text) if message.id == 0 => Err(ended(EndReason::Notice { code, text })),
        (code, text) => Err(ConnectError::StartTls { host: host(), code, text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starttls_request_is_sound() {
        let message = frame::message(&START_TLS).unwrap();
        assert_eq!((message.id, message.op), (1, 0x77));
        assert_eq!(frame::element(message.body).unwrap().1, b"1.3.6.1.4.1.1466.20037");
    }

    #[test]
    fn an_empty_trust_store_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let error = tls_config(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("ca_file"), "{error}");
        assert!(tls_config(Some(&folder.path().join("none.pem"))).is_err());
    }
}
