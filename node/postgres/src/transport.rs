//! A socket to a server, encrypted or not: what both kinds of connection are built on.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tidewire_shared::spec::TlsMode;
use tidewire_shared::{Fault, FaultKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fault::{garbled, of_io};
use crate::source::Host;
use crate::tls::{TlsPolicy, server_end_point};

/// How long unacknowledged bytes of ours may stand before the kernel gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Connects to one host and encrypts as `tls` demands. The caller bounds the time.
    pub(crate) async fn open(host: &Host, tls: &TlsPolicy) -> Result<Self, Fault> {
        match tls.mode {
            TlsMode::Disable => Self::open_plain(host).await,
            _ => encrypt(connect(host).await?, host, tls).await,
        }
    }

    /// Connects to one host and encrypts nothing. The caller bounds the time.
    pub(crate) async fn open_plain(host: &Host) -> Result<Self, Fault> {
        connect(host).await.map(Self::Plain)
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether nobody between us and the server can read along.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Plain(socket) => {
                let local = |ip: IpAddr| ip.to_canonical().is_loopback();
                socket.peer_addr().is_ok_and(|peer| local(peer.ip()))
            }
        }
    }

    /// The `tls-server-end-point` channel binding, on TLS.
    pub(crate) fn end_point(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let (_, session) = stream.get_ref();
                server_end_point(session.peer_certificates()?.first()?)
            }
        }
    }
}

async fn connect(host: &Host) -> Result<TcpStream, Fault> {
    let at = host.to_string();
    let socket = TcpStream::connect((host.name.as_str(), host.port))
        .await
        .map_err(|error| of_io(&error, &at))?;
    tune(&socket).map_err(|error| of_io(&error, &at))?;
    Ok(socket)
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    socket.set_keepalive(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

async fn encrypt(mut socket: TcpStream, host: &Host, tls: &TlsPolicy) -> Result<Transport, Fault> {
    let at = host.to_string();
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(|error| of_io(&error, &at))?;
    // One byte and no more: what an attacker sends behind it must meet the TLS layer.
    match socket.read_u8().await.map_err(|error| of_io(&error, &at))? {
        b'S' => {}
        b'N' if tls.mode == TlsMode::Prefer => return Ok(Transport::Plain(socket)),
        b'N' => {
            let message = "the server does not offer TLS";
            return Err(Fault::new(FaultKind::Configuration, at, message)
                .remedy("turn ssl on at the server, or set tls.mode to prefer or disable"));
        }
        _ => return Err(garbled(&at, "the answer to SSLRequest is not PostgreSQL's")),
    }
    let name = ServerName::try_from(host.name.clone())
        .map_err(|_| garbled(&at, "the host name is not valid in TLS"))?;
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    match connector.connect(name, socket).await {
        Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
        Err(error) => Err(handshake(&error, &at)),
    }
}

fn handshake(error: &io::Error, at: &str) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let (why, remedy) = verdict(reason);
            Fault::new(
                FaultKind::Configuration,
                at,
                format!("its certificate is not accepted: {why}"),
            )
            .remedy(remedy)
        }
        _ => of_io(error, at),
    }
}

/// What is wrong with a server's certificate, and what to do about it.
fn verdict(reason: &CertificateError) -> (String, &'static str) {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired".to_owned(), "renew the certificate of the server")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "it was made for another host".to_owned(),
            "name the host as its certificate does, or set tls.mode to verify-ca",
        ),
        CertificateError::UnknownIssuer => (
            "its authority is not trusted".to_owned(),
            "set tls.ca to the authority that signed it",
        ),
        other => (other.to_string(), "give the server a certificate that passes the check"),
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
