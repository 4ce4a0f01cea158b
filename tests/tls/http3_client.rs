//! Clients of HTTP/3: h3's own, and one that sends what it is told, octet by octet.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{Client, PATIENCE};

/// A QUIC connection for `name`.
pub async fn connect(client: &Client, name: &str) -> Result<(Endpoint, Connection), ConnectionError> {
    let config = client.clone().offering(&["h3"]).config;
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let connecting = endpoint.connect_with(config, client.address, name).unwrap();
    Ok((endpoint, timeout(PATIENCE, connecting).await.unwrap()?))
}

/// A connection of h3's client.
pub struct Http3 {
    pub sender: SendRequest<OpenStreams, Bytes>,
    /// Ends with the connection.
    pub driver: JoinHandle<h3::error::ConnectionError>,
    _endpoint: Endpoint,
}

impl Http3 {
    pub async fn open(client: &Client, name: &str) -> Result<Self, ConnectionError> {
        let (endpoint, connection) = connect(client, name).await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
        let driver = tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self { sender, driver, _endpoint: endpoint })
    }

    /// Sends a request, its body in pieces, and reads the response to its end.
    pub async fn send(&mut self, request: Request<()>, body: &[&[u8]]) -> Result<(Response<()>, Vec<u8>), h3::error::StreamError> {
        let mut stream = self.sender.send_request(request).await?;
        for piece in body {
            stream.send_data(Bytes::copy_from_slice(piece)).await?;
        }
        stream.finish().await?;
        let response = timeout(PATIENCE, stream.recv_response()).await.unwrap()?;
        let mut octets = Vec::new();
        while let Some(mut piece) = timeout(PATIENCE, stream.recv_data()).await.unwrap()? {
            octets.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        Ok((response, octets))
    }

    /// GET /, and the body of the response.
    pub async fn get(&mut self, host: &str) -> String {
        let (response, body) = self.send(Request::get(format!("https://{host}/")).body(()).unwrap(), &[]).await.unwrap();
        assert_eq!(response.status(), 200);
        String::from_utf8(body).unwrap()
    }
}

/// A connection that sends octets as they are.
pub struct Raw {
    pub connection: Connection,
    pub control: SendStream,
    _endpoint: Endpoint,
}

impl Raw {
    /// Opens a connection and its control stream.
    pub async fn open(client: &Client, name: &str) -> Self {
        let (endpoint, connection) = connect(client, name).await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0, 4, 0]).await.unwrap();
        Self { connection, control, _endpoint: endpoint }
    }

    /// Sends octets on a stream, and ends it.
    pub async fn send(&self, octets: &[u8]) -> RecvStream {
        let (mut sender, receiver) = self.connection.open_bi().await.unwrap();
        // The server may have stopped it.
        let _ = sender.write_all(octets).await;
        let _ = sender.finish();
        receiver
    }

    /// Sends octets on a stream: the status of the response, or the code with which the stream or the connection ends.
    pub async fn status(&self, octets: &[u8]) -> Result<u16, u64> {
        let mut receiver = self.send(octets).await;
        let answer = timeout(PATIENCE, receiver.read_to_end(1 << 20)).await.unwrap();
        answer.map(|answer| status(&answer)).map_err(|error| match error {
            quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)) => code.into_inner(),
            quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => code(&error),
            error => panic!("{error}"),
        })
    }
}

/// The code with which the server has closed a connection.
pub fn code(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        error => panic!("{error}"),
    }
}

/// The status in the HEADERS frame at the beginning.
fn status(answer: &[u8]) -> u16 {
    assert_eq!(answer[0], 1, "{answer:?}");
    let (prefix, section) = answer[if answer[1] < 64 { 2 } else { 3 }..].split_at(2);
    assert_eq!(prefix, [0, 0]);
    match section {
        // Indices of the static table (RFC 9204 appendix A).
        [0xd9, ..] => 200,
        [0xff, 4, ..] => 400,
        [0xff, 6, ..] => 421,
        // By name, with the value in Huffman code or as it is.
        [0x5f, 9, 0x83, 0x69, 0x90, 0xff, ..] | [0x5f, 9, 3, b'4', b'3', b'1', ..] => 431,
        [0x5f, 9, length, value @ ..] => panic!("{:?}", &value[..usize::from(length & 0x7f)]),
        other => panic!("{other:?}"),
    }
}

/// A frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | 0x8000_0000;
    [&[kind][..], &length.to_be_bytes(), payload].concat()
}

/// A HEADERS frame with these lines, none of them compressed.
pub fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    fn string(octets: &mut Vec<u8>, flags: u8, prefix: u8, text: &str) {
        let (most, length) = (usize::from(prefix), text.len());
        if length < most {
            octets.push(flags | length as u8);
        } else {
            octets.push(flags | prefix);
            let mut rest = length - most;
            while rest >= 128 {
                octets.push(rest as u8 | 128);
                rest >>= 7;
            }
            octets.push(rest as u8);
        }
        octets.extend(text.as_bytes());
    }
    let mut section = vec![0, 0];
    for (name, value) in lines {
        string(&mut section, 0b0010_0000, 7, name);
        string(&mut section, 0, 127, value);
    }
    frame(1, &section)
}
