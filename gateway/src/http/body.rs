//! The bodies of posts.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::engine::shard::Shard;

/// Bytes of a refused body that are read and thrown away, so that the client sees the answer
/// instead of a reset connection.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// Waits while some shard is far behind, at most as long as a body may take.
pub(super) async fn relieved(shard: &Shard) {
    let node = shard.node();
    let waiting = async {
        while node.is_behind() {
            let relief = Arc::clone(node.relieved()).notified_owned();
            if node.is_behind() {
                relief.await;
            }
        }
    };
    let _congested_still = tokio::time::timeout(shard.limits().body_timeout, waiting).await;
}

/// Why a body was not read.
pub(super) enum BodyError {
    TooLarge,
    Timeout,
    Broken,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(
    shard: &Shard,
    mut body: Incoming,
    limit: usize,
) -> Result<Bytes, BodyError> {
    let timeout = shard.limits().body_timeout;
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        if announced <= MAX_DISCARDED_BYTES as u64 {
            discard(body, timeout);
        }
        return Err(BodyError::TooLarge);
    }
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let read = tokio::time::timeout(timeout, reading)
        .await
        .unwrap_or(Err(BodyError::Timeout));
    if matches!(read, Err(BodyError::TooLarge)) {
        discard(body, timeout);
    }
    read
}

/// Reads on beside the answer.
fn discard(mut body: Incoming, timeout: std::time::Duration) {
    tokio::task::spawn_local(tokio::time::timeout(timeout, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    }));
}
