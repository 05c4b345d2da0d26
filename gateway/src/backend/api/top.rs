//! What is busiest.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use super::error::ApiError;
use crate::count::Code;
use crate::socketio::Gateway;
use crate::socketio::top::Top;
use crate::top::{NodeRates, RoomRates, UserRates};

/// The nodes, and the rooms and users with most events.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[cfg_attr(test, schemars(rename = "Top"))]
pub(super) struct TopAnswer {
    /// The nodes that answered, by their names.
    nodes: Vec<NodeRates>,
    /// The busiest first.
    rooms: Vec<RoomRates>,
    /// The busiest first.
    users: Vec<UserRates>,
    /// Nodes that did not answer.
    missing_nodes: Vec<String>,
    /// How many Node servers there are, which do not know this question.
    missing_others: usize,
}

pub(super) async fn top(gateway: &Gateway) -> Result<TopAnswer, ApiError> {
    let Some(top) = Top::of(gateway.node()).await else {
        let message = "too many ask what is busiest";
        return Err(ApiError::new(Code::TooManyRequests, message));
    };
    Ok(TopAnswer {
        nodes: top.nodes,
        rooms: top.rooms,
        users: top.users,
        missing_nodes: top.missing_nodes,
        missing_others: top.missing_others,
    })
}
