//! TLS on the operators' listener: what it shows, and the handshake.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::fleet::certificate_end_s;
use crate::telemetry::{self, Audience, GatewayEvent};

/// A certificate with what leads to its CA, and its key.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    /// The last second of the certificate's validity, since 1970; 0 where it does not say it in a way that we can read.
    until_unix_s: i64,
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum TlsIdentityError {
    /// The certificate's file.
    #[error("the certificate cannot be read; accepted: PEM, the gateway's own certificate first")]
    Certificate(#[source] pem::Error),
    /// There is nothing in it.
    #[error("there is no certificate in it; accepted: PEM, the gateway's own certificate first")]
    NoCertificate,
    /// The key's file.
    #[error("the key cannot be read; accepted: PEM (PKCS#8, PKCS#1 or SEC1), without a passphrase")]
    Key(#[source] pem::Error),
    /// The two are of no use, or not together.
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

impl TlsIdentity {
    /// Reads PEM.
    ///
    /// # Errors
    /// Says which of the two is wrong, and how.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsIdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(TlsIdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(TlsIdentityError::NoCertificate);
        }
        let until_unix_s = certificate_end_s(&chain[0]).unwrap_or(0);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsIdentityError::Key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsIdentityError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            until_unix_s,
        })
    }

    /// Tells the metrics for how long it is good.
    fn show(&self) {
        telemetry::emit(GatewayEvent::CertificateShown {
            to: Audience::Operators,
            until_unix_s: self.until_unix_s,
        });
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(…)")
    }
}

/// The identity in force; all clones have the same.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// Begins with `identity`.
    pub fn new(identity: TlsIdentity) -> Self {
        identity.show();
        Self(Arc::new(ArcSwap::new(identity.config)))
    }

    /// Handshakes from here on show `identity`.
    pub fn replace(&self, identity: TlsIdentity) {
        identity.show();
        self.0.store(identity.config);
    }

    /// Shakes hands, within [`HANDSHAKE`].
    ///
    /// # Errors
    /// Nothing came of it. A peer that does not speak TLS at all may be told so.
    pub async fn accept<T>(&self, mut stream: T) -> Result<TlsStream<Begun<T>>, NoHandshake<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = tokio::time::timeout(HANDSHAKE, async {
            let first = stream.read_u8().await.map_err(NoHandshake::Failed)?;
            if first.is_ascii_alphabetic() {
                return Err(NoHandshake::Plain(stream));
            }
            let begun = Begun {
                first: Some(first),
                stream,
            };
            let acceptor = TlsAcceptor::from(self.0.load_full());
            acceptor.accept(begun).await.map_err(NoHandshake::Failed)
        });
        shaken
            .await
            .unwrap_or_else(|_| Err(NoHandshake::Failed(io::ErrorKind::TimedOut.into())))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NoHandshake<T> {
    /// The peer does not speak TLS, but something else.
    Plain(T),
    /// It went away, took too long, or they did not agree.
    Failed(io::Error),
}

/// A stream whose first byte was looked at: no record of TLS begins with a letter, and every request of HTTP does. The library
/// itself would answer an alert to one.
#[derive(Debug)]
pub struct Begun<T> {
    first: Option<u8>,
    stream: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A handshake is two round trips: a guess with room for lines that lose packets.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
