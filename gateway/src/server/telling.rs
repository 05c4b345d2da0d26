//! Starts what tells who is there.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::start::watched;
use crate::backend::webhook::WebhookApplication;
use crate::engine::node::Node;
use crate::presence::Presence;

/// Gives a node what it takes, if its settings want it. To be called before the shards start.
pub(super) fn begin(node: &Node, webhook: Option<&WebhookApplication>) {
    let sinks = webhook.map(WebhookApplication::sinks).unwrap_or_default();
    let store = node.cluster().and_then(|it| it.adapter().presence());
    let wanted = &node.config().presence;
    if let Some(presence) = Presence::new(wanted, &node.name(), sinks, store) {
        node.set_presence(presence);
    }
}

/// Runs it.
pub(super) fn run(node: &Arc<Node>, webhook: Option<&WebhookApplication>) -> Vec<JoinHandle<()>> {
    let Some(presence) = node.presence() else {
        return Vec::new();
    };
    let mut tasks = vec![watched(node, "presence", Arc::clone(presence).run())];
    if let Some(webhook) = webhook {
        for sink in webhook.sinks() {
            let telling = webhook.clone();
            let telling = telling.tell_presence(Arc::clone(presence), node.name(), sink);
            tasks.push(watched(node, "presence events", telling));
        }
    }
    tasks
}
