//! A connection that can be cut from inside a call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::Extensions;
use tonic::transport::server::{Connected, TlsConnectInfo};

#[derive(Debug, Default)]
pub(crate) struct Switch {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Switch {
    /// Nothing goes through from now on.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    /// The one of the connection on which a request came.
    pub(crate) fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        let tls = || extensions.get::<TlsConnectInfo<Arc<Self>>>().map(|info| Arc::clone(info.get_ref()));
        extensions.get::<Arc<Self>>().cloned().or_else(tls)
    }

    fn passes(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by a test"));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    switch: Arc<Switch>,
}

/// The connections that arrive.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Wire>> {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| {
            let _ = stream.set_nodelay(true);
            Wire { stream, switch: Arc::default() }
        });
        Some((accepted, listener))
    })
}

impl Connected for Wire {
    type ConnectInfo = Arc<Switch>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.switch)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.switch.passes(&wire.switch.reader, cx)?;
        Pin::new(&mut wire.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.switch.passes(&wire.switch.writer, cx)?;
        Pin::new(&mut wire.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.switch.passes(&wire.switch.writer, cx)?;
        Pin::new(&mut wire.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
