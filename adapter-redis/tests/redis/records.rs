//! What nodes keep together: stamps that only grow, nothing older in the place of something newer, and the least rights.

use std::sync::Arc;
use std::time::Duration;

use adapter::{Adapter, Draft, Record, Records, RecordsError, RecordsFuture};

use crate::clusters::Cluster;
use crate::gateway::Gateway;
use crate::security::{CLASSIC, COMMON, redis_user};
use crate::server::Redis;

/// What the recipe of docs/redis.md has for blocks and revocations.
const USERS: &str = "+script|load +evalsha +time +hget +hset +hdel +hlen +hexists +hscan";

const KEY: &str = "socket.io-gateway{nodes}users";

/// The records that a node sees, and what waits for them.
struct Store {
    runtime: tokio::runtime::Runtime,
    records: Arc<dyn Records>,
    _gateway: Gateway,
}

impl Store {
    fn of(url: &str, node: &str) -> Self {
        let gateway = Gateway::start_with(url, node, |it| it.private_patterns = 0);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            runtime: runtime.enable_all().build().unwrap(),
            records: gateway.adapter.records().unwrap(),
            _gateway: gateway,
        }
    }

    fn wait<T>(
        &self,
        call: impl FnOnce(&dyn Records) -> RecordsFuture<T>,
    ) -> Result<T, RecordsError> {
        self.runtime.block_on(async { call(&*self.records).await })
    }

    fn write(&self, name: &str, lasts: Option<Duration>, above: u64) -> Record {
        let draft = Draft {
            name: name.to_owned(),
            lasts,
            body: format!("of {name}: \"\u{e9}\""),
            above,
        };
        self.wait(|it| it.write(draft)).unwrap().0
    }

    fn read(&self) -> Vec<Record> {
        let mut records = self.wait(|it| it.read()).unwrap();
        records.sort_by_key(|record| record.stamp);
        records
    }
}

fn all_of_it(a: &Store, b: &Store) {
    let empty = a.wait(|it| it.mark()).unwrap();
    assert_eq!((empty.newest, empty.count), (0, 0));
    let first = a.write("ann", None, 0);
    let second = b.write("bob", Some(Duration::from_secs(3600)), 0);
    let third = a.write("ann", None, second.stamp + 1_000_000);
    let fourth = b.write("joe", None, 0);
    assert!(first.stamp >= empty.now && second.stamp > first.stamp);
    assert_eq!(
        third.stamp,
        second.stamp + 1_000_001,
        "above what the node knows"
    );
    assert_eq!(fourth.stamp, third.stamp + 1);
    let left = second.until.unwrap() - empty.now;
    assert!((3_600_000..3_700_000).contains(&left), "{left}");
    assert_eq!(b.read(), [second.clone(), third.clone(), fourth.clone()]);
    let mark = b.wait(|it| it.mark()).unwrap();
    assert_eq!((mark.newest, mark.count), (fourth.stamp, 3));

    // What is lost comes back, and nothing older takes the place of something newer.
    let lost = Record {
        name: "eve".to_owned(),
        ..first.clone()
    };
    a.wait(|it| it.restore(vec![first, lost.clone()])).unwrap();
    assert_eq!(a.read(), [lost.clone(), second, third, fourth]);

    // Only what is over is taken away.
    let over = a.write("tom", Some(Duration::from_millis(1)), 0);
    let names = || ["tom", "ann", "nobody"].map(str::to_owned).to_vec();
    while a.read().contains(&over) {
        a.wait(|it| it.strike(names())).unwrap();
    }
    assert_eq!(a.read().len(), 4);
}

#[test]
#[ignore = "needs Redis: make test"]
fn nodes_keep_records_together_with_the_rights_of_the_recipe() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC, USERS]);
    all_of_it(&Store::of(&url, "gw-a"), &Store::of(&url, "gw-b"));
    let log = redis.call(&["ACL", "LOG"]);
    assert_eq!(log, "*0", "{log}");
}

#[test]
#[ignore = "needs Redis: make test"]
fn in_a_cluster_they_are_where_their_key_is() {
    let cluster = Cluster::start();
    let url = cluster.url();
    all_of_it(&Store::of(&url, "gw-a"), &Store::of(&url, "gw-b"));
}

#[test]
#[ignore = "needs Redis: make test"]
fn who_may_not_read_is_told_so() {
    let redis = Redis::start();
    let url = redis_user(&redis, "secret", &[COMMON, CLASSIC]);
    let store = Store::of(&url, "gw-a");
    let refused = store.wait(|it| it.mark()).unwrap_err();
    assert!(
        matches!(&refused, RecordsError::Refused(why) if why.contains("NOPERM")),
        "{refused}"
    );
}

#[test]
#[ignore = "needs Redis: make test"]
fn a_store_that_is_full_says_so_and_takes_what_it_has() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let store = Store::of(&url, "gw-a");
    store.write("ann", None, 0);
    let fill =
        format!("for i = 1, 100000 do redis.call('HSET', '{KEY}', 'user:' .. i, '1:0:x') end");
    redis.call(&["EVAL", &fill, "0"]);
    let draft = |name: &str| Draft {
        name: name.to_owned(),
        lasts: None,
        body: String::new(),
        above: 0,
    };
    let full = store.wait(|it| it.write(draft("bob")));
    assert_eq!(full.unwrap_err(), RecordsError::Full);
    store.write("ann", None, 0);
    assert_eq!(store.read().len(), 100_001);
}
