//! A bus that panics says so, since it does not come back by itself.

use std::sync::Arc;

use adapter::{Adapter, Incoming, NodeId, NodeTag, Selection};
use adapter_redis::{Config, RedisAdapter};
use testkit::wait::until;

use crate::gateway::{Gateway, broadcast};
use crate::server::Redis;

#[test]
#[ignore = "needs Redis: make test"]
fn a_task_that_panics_ends_the_bus() {
    let redis = Redis::start();
    let other = Gateway::start(&redis.url(), "gw-a");
    let id = NodeId::new("gw-b").unwrap();
    let tag = NodeTag::new("Bbbb").unwrap();
    let config = Config::new(redis.url().parse().unwrap(), id, tag);
    let handle = |incoming| {
        assert!(
            !matches!(incoming, Incoming::Message { .. }),
            "as the test wants it"
        );
    };
    let adapter = RedisAdapter::start(config, Arc::new(handle)).unwrap();
    let _main = adapter.open_namespace("/");
    until("up", || adapter.is_up());
    assert!(adapter.is_alive());
    let message = broadcast(
        Selection::default(),
        "hello",
        adapter::ArgumentsBuf::from_json(""),
    );
    other.adapter.publish("/", &message);
    until("over", || !adapter.is_alive());
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_bus_that_is_closed_has_not_failed() {
    let redis = Redis::start();
    let node = Gateway::start(&redis.url(), "gw-a");
    node.adapter.close();
    assert!(node.adapter.is_alive());
}
