//! A configuration that was made by a program instead of from texts, and what is wrong with it.

use std::ops::Deref;

use super::Config;
use super::address::Origins;
use super::error::{Error, Errors};
use super::route::{Route, Target};
use super::section::{Redis, RedisInterest, RedisMode, SameSite, SubscriptionMode};
use super::table::SETTINGS;
use super::value::{Size, Value};

/// A configuration in which nothing is wrong: [`Config::check`] made it, and nobody changes it any more.
///
/// A node takes no other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedConfig(Config);

impl Deref for CheckedConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}

/// Settings that do not go together, the one that gets the blame first, and what is wrong.
pub(super) type Contradiction = (&'static [&'static str], &'static str);

impl Config {
    /// Checks what a program may have set: each value by its setting's range, and all of them
    /// together. What [`load`](Self::load) returns is right and stays so if nothing is changed.
    ///
    /// ```
    /// use gateway::Config;
    ///
    /// let mut config = Config::default();
    /// config.engine.ping_interval = std::time::Duration::from_secs(10);
    /// assert!(config.clone().check().is_ok());
    /// config.engine.ping_interval = std::time::Duration::ZERO;
    /// let errors = config.check().unwrap_err();
    /// assert_eq!(errors.to_string(), "engine.ping_interval: is not between 1ms and 1d");
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with the name of its setting.
    pub fn check(self) -> Result<CheckedConfig, Errors> {
        let contradictions = contradictions(&self);
        let contradictions = contradictions
            .into_iter()
            .map(|(settings, problem)| (settings[0], problem.to_owned()));
        let wrong = [out_of_range(&self), unfit(&self), alone(&self)].concat();
        let errors: Vec<_> = wrong
            .into_iter()
            .chain(contradictions)
            .map(|(setting, problem)| Error::Contradiction { setting, problem })
            .collect();
        if errors.is_empty() {
            Ok(CheckedConfig(self))
        } else {
            Err(errors.into())
        }
    }
}

/// Numbers beyond the ranges of their settings.
fn out_of_range(config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    for (name, magnitude) in magnitudes(config) {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        if let Some(problem) = setting.and_then(|setting| setting.beyond(magnitude)) {
            wrong.push((name, problem));
        }
    }
    wrong
}

/// Values that their types allow and their settings do not.
fn unfit(config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let transports = config.engine.transports;
    if !transports.polling && !transports.websocket {
        wrong.push(("engine.transports", "names no transport".to_owned()));
    }
    let redis = config
        .redis
        .iter()
        .map(|redis| ("redis.prefix", &redis.prefix));
    let auth = &config.auth;
    let texts = config
        .internal_hosts
        .iter()
        .map(|it| ("internal_hosts", it));
    let admin = config.admin.iter().map(|it| ("admin.user", &it.user));
    let texts = texts
        .chain(redis)
        .chain(admin)
        .chain(auth.issuer.iter().map(|it| ("auth.issuer", it)))
        .chain(auth.audience.iter().map(|it| ("auth.audience", it)));
    for (name, text) in texts {
        if let Err(problem) = String::parse(text) {
            wrong.push((name, problem));
        }
    }
    wrong
}

/// What would be ignored without another setting.
fn alone(config: &Config) -> Vec<(&'static str, String)> {
    let auth = &config.auth;
    let has_keys =
        auth.jwt_secret.is_some() || auth.jwt_public_key.is_some() || auth.jwks_url.is_some();
    let keys = "auth.jwt_secret or auth.jwt_public_key or auth.jwks_url";
    let backend = &config.backend;
    let has_backend = backend.webhook.is_some() || backend.stream.is_some();
    let webtransport = config.webtransport.as_ref();
    [
        (
            "webtransport.listen",
            webtransport.is_some(),
            config.tls.is_some() || webtransport.is_some_and(|it| it.tls.is_some()),
            "tls.cert or webtransport.cert",
        ),
        (
            "backend.stream",
            backend.stream.is_some(),
            config.redis.is_some(),
            "redis.url",
        ),
        (
            "backend.routes",
            !backend.routes.is_empty(),
            has_backend,
            "backend.url or backend.stream",
        ),
        (
            "admin.ui_dir",
            config.admin_ui_dir.is_some(),
            config.admin.is_some(),
            "admin.user",
        ),
        ("auth.issuer", auth.issuer.is_some(), has_keys, keys),
        ("auth.audience", !auth.audience.is_empty(), has_keys, keys),
        ("auth.cookie", auth.cookie.is_some(), has_keys, keys),
    ]
    .into_iter()
    .filter(|(_, is_set, has_what_it_needs, _)| *is_set && !has_what_it_needs)
    .map(|(name, _, _, other)| {
        (
            name,
            format!("has no effect without {other}, which is not set"),
        )
    })
    .collect()
}

/// What settings with a range are set to, in the units of the range.
fn magnitudes(config: &Config) -> Vec<(&'static str, u128)> {
    let (engine, limits, auth) = (&config.engine, &config.limits, &config.auth);
    let size = |bytes| Size(bytes).magnitude();
    let mut all = vec![
        ("shards", config.shards.magnitude()),
        ("engine.ping_interval", engine.ping_interval.magnitude()),
        ("engine.ping_timeout", engine.ping_timeout.magnitude()),
        ("engine.upgrade_timeout", engine.upgrade_timeout.magnitude()),
        ("engine.connect_timeout", engine.connect_timeout.magnitude()),
        ("engine.max_payload", size(engine.max_payload)),
        ("engine.poll_packets", engine.poll_packets.magnitude()),
        ("limits.outbox_bytes", size(limits.outbox_bytes)),
        ("limits.outbox_patience", limits.outbox_patience.magnitude()),
        ("limits.outbox_total", size(limits.outbox_total)),
        (
            "limits.rooms_per_socket",
            limits.rooms_per_socket.magnitude(),
        ),
        (
            "limits.namespaces_per_session",
            limits.namespaces_per_session.magnitude(),
        ),
        ("limits.request_headers", size(limits.request_headers)),
        ("limits.header_timeout", limits.header_timeout.magnitude()),
        ("limits.body_timeout", limits.body_timeout.magnitude()),
        (
            "cluster.request_timeout",
            config.cluster.request_timeout.magnitude(),
        ),
        (
            "cluster.rebalance_per_second",
            config.cluster.rebalance_per_second.magnitude(),
        ),
        (
            "recovery.max_messages",
            config.recovery.max_messages.magnitude(),
        ),
        ("recovery.max_bytes", size(config.recovery.max_bytes)),
        ("recovery.replay_bytes", size(config.recovery.replay_bytes)),
        ("presence.grace", config.presence.grace.magnitude()),
        ("presence.lease", config.presence.lease.magnitude()),
        ("auth.jwks_refresh", auth.jwks_refresh.magnitude()),
        ("auth.leeway", auth.leeway.magnitude()),
        ("auth.grace", auth.grace.magnitude()),
        ("backend.timeout", config.backend.timeout.magnitude()),
        (
            "backend.stream_length",
            config.backend.stream_length.magnitude(),
        ),
        ("api.max_body", size(config.api.max_body)),
        ("shutdown.drain", config.shutdown.drain.magnitude()),
        ("websocket.coalesce", config.websocket.coalesce.magnitude()),
    ];
    if let Some(window) = config.recovery.window {
        all.push(("recovery.window", window.magnitude()));
    }
    if let Some(webtransport) = &config.webtransport {
        let connections = webtransport.connections.magnitude();
        all.push(("webtransport.connections", connections));
    }
    if let Some(otel) = &config.otel {
        all.push(("otel.slow", otel.slow.magnitude()));
    }
    if let Some(admin) = &config.admin {
        all.push(("admin.sockets", admin.sockets.magnitude()));
        let events = admin.events_per_second.magnitude();
        all.push(("admin.events_per_second", events));
    }
    if let Some(redis) = &config.redis {
        all.push(("redis.private_patterns", redis.private_patterns.magnitude()));
        all.push(("redis.buffer_bytes", size(redis.buffer_bytes)));
    }
    if let Some(webhook) = &config.backend.webhook {
        all.extend([
            ("backend.timeout", webhook.timeout.magnitude()),
            ("backend.concurrency", webhook.concurrency.magnitude()),
            ("backend.queue", webhook.queue.magnitude()),
            ("backend.batch", webhook.batch.magnitude()),
            ("backend.retries", webhook.retries.magnitude()),
            (
                "backend.breaker_failures",
                webhook.breaker_failures.magnitude(),
            ),
            ("backend.breaker_pause", webhook.breaker_pause.magnitude()),
        ]);
    }
    all
}

/// What is right by itself but not together.
pub(super) fn contradictions(config: &Config) -> Vec<Contradiction> {
    let mut found: Vec<Contradiction> = Vec::new();
    let mut refuse = |settings, problem| found.push((settings, problem));
    if config.listen.meets(&config.internal_listen) {
        refuse(
            &["internal_listen", "listen"],
            "is the same port as listen; clients must not reach it, so give it another",
        );
    }
    if let Some(page) = &config.listen_health {
        let engine = &*config.engine.path;
        if page.starts_with(engine) || engine.strip_suffix('/') == Some(page) {
            refuse(
                &["listen_health", "engine.path"],
                "is within engine.path, where clients' requests go; name another path",
            );
        }
        if &**page == "/" && config.demo.unwrap_or_else(|| config.is_open_relay()) {
            refuse(
                &["listen_health", "demo"],
                "is the path of the demo page; set demo to false, or name another path",
            );
        }
    }
    if config.admin_ui_dir.is_some() && is_page_taken(config) {
        refuse(
            &["admin.ui_dir", "engine.path", "listen_health"],
            "cannot be served at /admin/, which engine.path or listen_health has",
        );
    }
    if config.webtransport.is_some() && !cfg!(feature = "webtransport") {
        refuse(
            &["webtransport.listen"],
            "this program was built without the feature `webtransport`",
        );
    }
    if config.cors.credentials && config.cors.origins == Origins::Any {
        refuse(
            &["cors.credentials", "cors.origins"],
            "cannot go with \"*\" in cors.origins; list the origins instead",
        );
    }
    if config.engine.cookie_same_site == SameSite::None && !config.engine.cookie_secure {
        refuse(
            &["engine.cookie_same_site", "engine.cookie_secure"],
            "is `none`, which browsers take only of a cookie with engine.cookie_secure",
        );
    }
    let goes_by_http = |route: &Route| matches!(route.target, Target::Backend(_));
    if config.backend.webhook.is_none() && config.backend.routes.iter().any(goes_by_http) {
        refuse(
            &["backend.routes", "backend.url", "backend.secret"],
            "cannot name a URL without backend.url and backend.secret",
        );
    }
    if config.redis.is_none() {
        return found;
    }
    let is_sharded = |redis: &Redis| redis.mode == RedisMode::Sharded;
    if config.redis.as_ref().is_some_and(|redis| {
        is_sharded(redis)
            && redis.interest == RedisInterest::All
            && redis.subscription_mode != SubscriptionMode::Static
    }) {
        refuse(
            &["redis.interest", "redis.mode", "redis.subscription_mode"],
            "cannot be all when redis.mode is sharded, which has no patterns: \
             redis.subscription_mode = \"static\" on all servers is the same there",
        );
    }
    if config.recovery.window.is_some() && config.redis.as_ref().is_some_and(is_sharded) {
        refuse(
            &["recovery.window", "redis.mode"],
            "cannot go with redis.mode = \"sharded\", whose channels have no common order; \
             use \"pubsub\"",
        );
    }
    let advertise = &config.cluster.advertise;
    if advertise.is_unspecified() {
        refuse(
            &["cluster.advertise", "internal_listen", "redis.url"],
            "must say where the other nodes reach this one, which neither an address of all zeros nor a \
             socket in the file system does",
        );
    }
    if config.admin.is_some() && config.cluster.secret.is_none() {
        refuse(
            &["cluster.secret", "admin.user", "redis.url"],
            "must be set, since all nodes know who is logged in to the admin page by it",
        );
    } else if !advertise.is_loopback() && config.cluster.secret.is_none() {
        refuse(
            &[
                "cluster.secret",
                "cluster.advertise",
                "internal_listen",
                "redis.url",
            ],
            "must be set, since cluster.advertise can be reached from other machines",
        );
    }
    found
}

/// Whether the place of the admin page's files is something else's.
fn is_page_taken(config: &Config) -> bool {
    let health = config.listen_health.as_deref();
    let is_health = health.is_some_and(|it| it == "/admin" || it.starts_with("/admin/"));
    is_health || config.engine.path.starts_with("/admin/") || &*config.engine.path == "/"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_setting_with_a_range_is_looked_at() {
        let config = Config::from_toml(
            "redis.url = \"redis://h\"\nbackend.url = \"http://b\"\n\
             backend.secret = \"0123456789abcdef\"\nrecovery.window = \"1m\"\n\
             otel.endpoint = \"http://c\"\n\
             cluster.secret = \"0123456789abcdef\"\nadmin.user = \"a\"\nadmin.password = \
             \"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"",
        );
        let looked_at: BTreeSet<_> = magnitudes(&config.unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let ranged = SETTINGS.iter().filter(|setting| setting.range.is_some());
        let ranged: BTreeSet<_> = ranged.map(|setting| setting.name).collect();
        assert_eq!(looked_at, ranged);
    }

    #[test]
    fn what_a_program_sets_is_checked_as_texts_are() {
        let wrong = |change: fn(&mut Config)| {
            let mut config = Config::from_toml("redis.url = \"redis://h\"").unwrap();
            change(&mut config);
            let errors = config.check().unwrap_err();
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            wrong(|config| config.limits.outbox_patience = Duration::ZERO),
            ["limits.outbox_patience: is not between 1ms and 1h"]
        );
        assert_eq!(
            wrong(|config| config.redis.as_mut().unwrap().prefix = "a b".to_owned()),
            ["redis.prefix: \"a b\" is empty or has spaces"]
        );
        assert_eq!(
            wrong(|config| {
                config.engine.transports.polling = false;
                config.engine.transports.websocket = false;
            }),
            ["engine.transports: names no transport"]
        );
        let said = wrong(|config| config.internal_listen = config.listen.clone());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("internal_listen: is the same port as listen"));
    }
}
