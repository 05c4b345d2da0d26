//! Connections spread evenly over the nodes.

use adapter::Member;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::rebalance::{is_above, mean};
use crate::socketio::Gateway;

/// A request to all nodes.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Rebalance {}

/// The nodes are asked; they hear of it with the next heartbeats, within a few seconds.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(super) struct Rebalanced {
    /// Always true.
    ok: bool,
    /// How many connections a node has on average, by the last heartbeats.
    mean: u64,
    /// The nodes that have so many more that they will let go of some.
    above: Vec<String>,
    /// The nodes that drain. As long as there are any, no node lets go of connections for this.
    draining: Vec<String>,
}

/// None if there is only this node.
pub(super) fn rebalance(gateway: &Gateway, _: Rebalance) -> Option<Rebalanced> {
    let node = gateway.node();
    node.cluster()?;
    node.spreading().ask();
    let name = node.name();
    let members = gateway.nodes();
    let others = members.iter().filter(|member| member.id.as_str() != name);
    let other = |it: &Member| {
        (
            it.id.to_string(),
            it.state.connections,
            it.state.is_draining,
        )
    };
    let own = (
        name.clone(),
        gateway.connections() as u64,
        node.drain().has_begun(),
    );
    let all: Vec<_> = std::iter::once(own).chain(others.map(other)).collect();
    let sum = all.iter().map(|(_, connections, _)| connections).sum();
    let mean = mean(sum, all.len());
    let names = |wanted: &dyn Fn(u64, bool) -> bool| {
        let wanted = all
            .iter()
            .filter(|(_, count, drains)| wanted(*count, *drains));
        wanted.map(|(name, _, _)| name.clone()).collect()
    };
    Some(Rebalanced {
        ok: true,
        mean: mean as u64,
        above: names(&|connections, _| is_above(connections, mean)),
        draining: names(&|_, drains| drains),
    })
}
