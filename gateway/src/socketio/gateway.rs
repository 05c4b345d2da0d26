//! The node, as applications and backends see it.

use std::sync::Arc;

use adapter::Member;

use crate::engine::node::Node;

/// A node, for emitting from outside of a handler. It can be cloned and sent to any thread.
///
/// ```
/// use gateway::Gateway;
/// use gateway::event::EmitError;
///
/// fn tell_time(gateway: &Gateway, hour: u32) -> Result<(), EmitError> {
///     println!("{} sessions, {} nodes", gateway.connections(), gateway.nodes().len());
///     gateway.of("/").volatile().emit("hour", (hour,))
/// }
/// ```
#[derive(Clone)]
pub struct Gateway(Arc<Node>);

impl Gateway {
    pub(crate) fn of_node(node: Arc<Node>) -> Self {
        Self(node)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0
    }

    /// The live gateway nodes, this one among them; none if it stands alone.
    pub fn nodes(&self) -> Arc<[Member]> {
        let cluster = self.0.cluster();
        cluster.map_or_else(|| Arc::from([]), |it| it.adapter().members())
    }

    /// Open sessions on this node.
    pub fn connections(&self) -> usize {
        self.0.session_count()
    }
}
