//! The response to a request, as HTTP/3 has it.

use bytes::Bytes;
use h3::error::StreamError;
use h3::server::RequestStream;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use ziggurat_middleware::BoxError;

use super::quic::SendStream;
use crate::server::http1::fields;
use crate::server::multiplexed_head;
use crate::server::response_body::ResponseBody;

/// Why a response stays incomplete.
pub(super) enum Failure {
    /// The stack ended it.
    Body(BoxError),
    /// It can be sent no further.
    Stream(StreamError),
    /// Its length is not the one that its head says.
    Length,
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// Sends a response to its end. The client has not received it yet then.
pub(super) async fn send(response: Response<ResponseBody>, sender: &mut RequestStream<SendStream, Bytes>) -> Result<(), Failure> {
    let (mut parts, mut body) = response.into_parts();
    multiplexed_head::complete(&mut parts, &body);
    let mut left = fields::stated_length(&parts.headers).filter(|_| !body.is_end_stream());
    sender.send_response(Response::from_parts(parts, ())).await?;
    while let Some(frame) = body.frame().await {
        match frame.map_err(Failure::Body)?.into_data() {
            Ok(data) => {
                left = match left {
                    Some(left) => Some(left.checked_sub(data.len() as u64).ok_or(Failure::Length)?),
                    None => None,
                };
                if !data.is_empty() {
                    sender.send_data(data).await?;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    sender.send_trailers(trailers).await?;
                }
            }
        }
    }
    if left.is_some_and(|left| left > 0) {
        return Err(Failure::Length);
    }
    sender.finish().await?;
    Ok(())
}
