//! A receiver of webhooks: a real HTTP server, with TLS or without, that keeps what it is sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tidewire_testbed::authority::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Posted {
    /// A header as text; empty: it did not come.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[derive(Debug, Default)]
struct Desk {
    posted: Mutex<Vec<Posted>>,
    /// What to answer next; then 200 with the last body.
    answers: Mutex<VecDeque<(u16, &'static str)>>,
    usual: Mutex<&'static str>,
}

/// The server; it ends with the runtime of its test.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    desk: Arc<Desk>,
}

impl Receiver {
    pub(crate) async fn http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::serve(listener, address)
    }

    pub(crate) async fn https(identity: &Identity) -> Self {
        let mut pem = identity.cert.as_bytes();
        let certificates = rustls_pemfile::certs(&mut pem);
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = rustls_pemfile::private_key(&mut identity.key.as_bytes());
        let key: PrivateKeyDer<'static> = key.expect("PEM").expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("an identity");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::serve(Encrypted { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }, address)
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>, address: SocketAddr) -> Self {
        let desk = Arc::new(Desk::default());
        let router = Router::new().route("/{*path}", post(take)).with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, desk }
    }

    /// What it answers to the next requests, and the body of its usual 200.
    pub(crate) fn answer(&self, next: &[(u16, &'static str)], usual: &'static str) {
        *self.desk.answers.lock().expect("lock") = next.iter().copied().collect();
        *self.desk.usual.lock().expect("lock") = usual;
    }

    /// Everything that came.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.desk.posted.lock().expect("lock").clone()
    }

    /// The newest that came.
    pub(crate) fn last(&self) -> Posted {
        self.posted().pop().expect("something came")
    }
}

async fn take(
    State(desk): State<Arc<Desk>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    let body = String::from_utf8(body.to_vec()).expect("UTF-8");
    desk.posted.lock().expect("lock").push(Posted { uri, headers, body });
    let usual = *desk.usual.lock().expect("lock");
    let (status, text) = desk.answers.lock().expect("lock").pop_front().unwrap_or((200, usual));
    let status = StatusCode::from_u16(status).expect("a status");
    // Whoever follows a redirect goes on to a path that takes it.
    (status, [("location", "/followed")], text)
}

struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            // A client that does not trust us goes away here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
