//! What is different between two configurations, and which of that a node that serves can take over.

use super::table::setting;
use super::{ChangesBy, Config};

/// What a configuration that was read again changes of the one in force.
#[derive(Debug)]
pub(crate) struct Change {
    /// The one in force, with all that can be changed while the node serves.
    pub(crate) merged: Config,
    /// The settings that are other ones then.
    pub(crate) changed: Vec<&'static str>,
    /// The settings that differ and stay as they are until the next start.
    pub(crate) needs_restart: Vec<&'static str>,
}

impl Config {
    /// What `new` would change.
    pub(crate) fn change_to(&self, new: &Self) -> Change {
        let mut change = Change {
            merged: self.clone(),
            changed: Vec::new(),
            needs_restart: Vec::new(),
        };
        for part in PARTS.iter().filter(|part| (part.differs)(self, new)) {
            if part.can_change() && !turns_over(self, new, part.name) {
                (part.take)(&mut change.merged, new);
                change.changed.push(part.name);
            } else {
                change.needs_restart.push(part.name);
            }
        }
        change
    }
}

/// Whether a section begins or ends to have a meaning, which changes of what layers a node is built.
fn turns_over(old: &Config, new: &Config, name: &str) -> bool {
    let of: fn(&Config) -> (bool, bool) = match name.split_once('.') {
        // A node that has nobody to ask has no thread to do so.
        Some(("auth", _)) => |config| (config.wants_tokens(), config.auth.jwks_url.is_some()),
        // Its namespace is another's without it.
        Some(("admin", _)) => |config| (config.admin.is_some(), false),
        Some(("backend", _)) => |config| {
            let backend = &config.backend;
            (backend.webhook.is_some(), backend.stream.is_some())
        },
        // Those who came before it is set are not counted.
        Some(("limits", "connections_per_user")) => {
            |config| (config.limits.connections_per_user.is_some(), false)
        }
        _ => return false,
    };
    of(old) != of(new)
}

/// The value of one setting in a configuration.
struct Part {
    name: &'static str,
    differs: fn(&Config, &Config) -> bool,
    /// The first one gets the value of the second.
    take: fn(&mut Config, &Config),
}

impl Part {
    fn can_change(&self) -> bool {
        setting(self.name).is_some_and(|setting| setting.changes_by == ChangesBy::Reload)
    }
}

/// A value that every configuration has.
macro_rules! part {
    ($name:literal, $($field:ident).+) => {
        Part {
            name: $name,
            differs: |old, new| old.$($field).+ != new.$($field).+,
            take: |to, from| to.$($field).+.clone_from(&from.$($field).+),
        }
    };
}

/// The setting without which a configuration does not have a section of values; they come with it.
macro_rules! makes {
    ($name:literal, $($section:ident).+ => $field:ident) => {
        Part {
            name: $name,
            differs: |old, new| {
                let of = |it: &Config| it.$($section).+.as_ref().map(|it| it.$field.clone());
                of(old) != of(new)
            },
            take: |to, from| match (&mut to.$($section).+, &from.$($section).+) {
                (Some(to), Some(from)) => to.$field.clone_from(&from.$field),
                (to, from) => to.clone_from(from),
            },
        }
    };
}

/// A value of such a section.
macro_rules! of {
    ($name:literal, $($section:ident).+ => $($field:ident).+) => {
        of!($name, $($section).+ => $($field).+, it => it)
    };
    ($name:literal, $($section:ident).+ => $($field:ident).+, $it:ident => $value:expr) => {
        Part {
            name: $name,
            differs: |old, new| match (&old.$($section).+, &new.$($section).+) {
                (Some(old), Some(new)) => {
                    let [old, new] = [&old.$($field).+, &new.$($field).+].map(|$it| $value);
                    old != new
                }
                _ => false,
            },
            take: |to, from| {
                if let (Some(to), Some(from)) = (&mut to.$($section).+, &from.$($section).+) {
                    to.$($field).+.clone_from(&from.$($field).+);
                }
            },
        }
    };
}

/// Of every setting, in the order of the table.
const PARTS: &[Part] = &[
    part!("listen", listen),
    part!("listen_health", listen_health),
    part!("internal_listen", internal_listen),
    part!("internal_hosts", internal_hosts),
    part!("internal_page", internal_page),
    part!("shards", shards),
    part!("namespaces", namespaces),
    part!("demo", demo),
    part!("client_dir", client_dir),
    part!("engine.path", engine.path),
    part!("engine.ping_interval", engine.ping_interval),
    part!("engine.ping_timeout", engine.ping_timeout),
    part!("engine.upgrade_timeout", engine.upgrade_timeout),
    part!("engine.connect_timeout", engine.connect_timeout),
    part!("engine.max_payload", engine.max_payload),
    part!("engine.transports", engine.transports),
    part!("engine.allow_upgrades", engine.allow_upgrades),
    part!("engine.allow_eio3", engine.allow_eio3),
    part!("engine.poll_packets", engine.poll_packets),
    part!("engine.cookie", engine.cookie),
    part!("engine.cookie_secure", engine.cookie_secure),
    part!("engine.cookie_same_site", engine.cookie_same_site),
    part!("cors.origins", cors.origins),
    part!("cors.enforce", cors.enforce),
    part!("cors.credentials", cors.credentials),
    part!("proxy.trusted", proxy.trusted),
    part!("proxy.protocol", proxy.protocol),
    part!("limits.connections", limits.connections),
    part!("limits.connections_per_ip", limits.connections_per_ip),
    part!("limits.connections_per_user", limits.connections_per_user),
    part!("limits.handshakes_per_second", limits.handshakes_per_second),
    part!("limits.events_per_second", limits.events_per_second),
    part!("limits.outbox_bytes", limits.outbox_bytes),
    part!("limits.outbox_patience", limits.outbox_patience),
    part!("limits.outbox_total", limits.outbox_total),
    part!("limits.rooms_per_socket", limits.rooms_per_socket),
    part!(
        "limits.namespaces_per_session",
        limits.namespaces_per_session
    ),
    part!("limits.request_headers", limits.request_headers),
    part!("limits.header_timeout", limits.header_timeout),
    part!("limits.body_timeout", limits.body_timeout),
    makes!("redis.url", redis => url),
    of!("redis.prefix", redis => prefix),
    of!("redis.mode", redis => mode),
    of!("redis.subscription_mode", redis => subscription_mode),
    of!("redis.interest", redis => interest),
    of!("redis.specific_responses", redis => specific_responses),
    of!("redis.private_patterns", redis => private_patterns),
    of!("redis.buffer_bytes", redis => buffer_bytes),
    of!("redis.ca_file", redis => trust.ca_file),
    of!("redis.tls_verify", redis => trust.verify),
    of!("redis.tls_cert", redis => trust.client, it => it.as_ref().map(|it| it.cert.clone())),
    of!("redis.tls_key", redis => trust.client, it => it.as_ref().map(|it| it.key.clone())),
    part!("cluster.node_id", cluster.node_id),
    part!("cluster.advertise", cluster.advertise),
    part!("cluster.secret", cluster.secret),
    part!("cluster.request_timeout", cluster.request_timeout),
    part!("cluster.rebalance", cluster.rebalance),
    part!("cluster.rebalance_per_second", cluster.rebalance_per_second),
    part!("recovery.window", recovery.window),
    part!("recovery.namespaces", recovery.namespaces),
    part!("recovery.max_messages", recovery.max_messages),
    part!("recovery.max_bytes", recovery.max_bytes),
    part!("recovery.replay_bytes", recovery.replay_bytes),
    part!("recovery.ask_backend", recovery.ask_backend),
    part!("presence.users", presence.users),
    part!("presence.rooms", presence.rooms),
    part!("presence.grace", presence.grace),
    part!("presence.lease", presence.lease),
    part!("auth.jwt_secret", auth.jwt_secret),
    part!("auth.jwt_public_key", auth.jwt_public_key),
    part!("auth.jwks_url", auth.jwks_url),
    part!("auth.jwks_refresh", auth.jwks_refresh),
    part!("auth.issuer", auth.issuer),
    part!("auth.audience", auth.audience),
    part!("auth.cookie", auth.cookie),
    part!("auth.leeway", auth.leeway),
    part!("auth.grace", auth.grace),
    part!("auth.ca_file", auth.trust.ca_file),
    part!("auth.tls_verify", auth.trust.verify),
    makes!("auth.tls_cert", auth.trust.client => cert),
    of!("auth.tls_key", auth.trust.client => key),
    makes!("backend.url", backend.webhook => url),
    of!("backend.secret", backend.webhook => secret),
    part!("backend.routes", backend.routes),
    of!("backend.http2", backend.webhook => http2),
    Part {
        name: "backend.timeout",
        differs: |old, new| old.backend.timeout != new.backend.timeout,
        take: |to, from| {
            to.backend.timeout = from.backend.timeout;
            if let Some(webhook) = &mut to.backend.webhook {
                webhook.timeout = from.backend.timeout;
            }
        },
    },
    of!("backend.concurrency", backend.webhook => concurrency),
    of!("backend.queue", backend.webhook => queue),
    of!("backend.batch", backend.webhook => batch),
    of!("backend.retries", backend.webhook => retries),
    of!("backend.idempotent", backend.webhook => idempotent),
    of!("backend.breaker_failures", backend.webhook => breaker_failures),
    of!("backend.breaker_pause", backend.webhook => breaker_pause),
    part!("backend.ca_file", backend.trust.ca_file),
    part!("backend.tls_verify", backend.trust.verify),
    makes!("backend.tls_cert", backend.trust.client => cert),
    of!("backend.tls_key", backend.trust.client => key),
    part!("backend.stream", backend.stream),
    part!("backend.stream_length", backend.stream_length),
    part!("api.key", api.keys),
    part!("api.max_body", api.max_body),
    makes!("admin.user", admin => user),
    of!("admin.password", admin => password),
    of!("admin.mode", admin => mode),
    of!("admin.read_only", admin => read_only),
    of!("admin.sockets", admin => sockets),
    of!("admin.events_per_second", admin => events_per_second),
    part!("admin.ui_dir", admin_ui_dir),
    part!("shutdown.drain", shutdown.drain),
    makes!("tls.cert", tls => cert),
    of!("tls.key", tls => key),
    part!("websocket.coalesce", websocket.coalesce),
    makes!("webtransport.listen", webtransport => listen),
    of!("webtransport.cert", webtransport => tls, it => it.as_ref().map(|it| it.cert.clone())),
    of!("webtransport.key", webtransport => tls, it => it.as_ref().map(|it| it.key.clone())),
    of!("webtransport.connections", webtransport => connections),
    part!("metrics.socket_io_aliases", metrics.socket_io_aliases),
    makes!("otel.endpoint", otel => endpoint),
    of!("otel.headers", otel => headers),
    of!("otel.sample", otel => sample),
    of!("otel.slow", otel => slow),
    of!("otel.trust_parent", otel => trust_parent),
    of!("otel.ca_file", otel => trust.ca_file),
    part!("log.format", log.format),
    part!("log.level", log.level),
    part!("config.env_file", env_file),
    part!("config.watch", watch),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SETTINGS, Setting};

    /// A configuration in which these settings have the values of their examples.
    fn with(settings: &[&Setting]) -> Config {
        let line = |it: &&Setting| match it.section() {
            Some(section) => format!("{section}.{}\n", it.toml(it.example)),
            None => format!("{}\n", it.toml(it.example)),
        };
        let text: String = settings.iter().map(line).collect();
        Config::from_toml(&text).unwrap_or_else(|errors| panic!("{text}{errors}"))
    }

    /// All that a setting needs, directly or not, without itself.
    fn needs(of: &'static Setting) -> Vec<&'static Setting> {
        let mut found = vec![of];
        let mut next = 0;
        while let Some(it) = found.get(next).copied() {
            next += 1;
            let extra: &[&str] = match it.name {
                "engine.cookie_same_site" => &["engine.cookie_secure"],
                "cluster.advertise" => &["cluster.secret"],
                _ => &[],
            };
            let any = it.needs_any.first();
            for name in it.needs.iter().chain(any).chain(extra) {
                let needed = setting(name).unwrap();
                if !found.iter().any(|it| it.name == needed.name) {
                    found.push(needed);
                }
            }
        }
        found.remove(0);
        found
    }

    #[test]
    fn every_setting_has_a_part_in_the_order_of_the_table() {
        let parts: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        let settings: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(parts, settings);
    }

    #[test]
    fn what_is_set_is_what_differs_and_is_taken_over_if_the_table_says_so() {
        // The file of the first would be read; this machine may have as many cores as the second says.
        let skipped = ["config.env_file", "shards"];
        let built = SETTINGS.iter().filter(|it| it.built);
        for setting in built.filter(|it| !skipped.contains(&it.name)) {
            let needed = needs(setting);
            let mut before = needed.clone();
            // Some settings come in pairs.
            before.retain(|it| !it.needs.contains(&setting.name));
            let after = [&*needed, &[setting]].concat();
            let (old, new) = (with(&before), with(&after));
            let change = old.change_to(&new);
            let differs = [&*change.changed, &*change.needs_restart].concat();
            let own = setting.name;
            let is_expected = |it: &&str| {
                let other = super::setting(it).unwrap();
                *it == own || other.needs.contains(&own) || setting.needs.contains(it)
                    // It follows from where the node listens.
                    || (own == "internal_listen" && *it == "cluster.advertise")
            };
            assert!(differs.iter().all(is_expected), "{own}: {differs:?}");
            let pair = setting.needs.first().filter(|it| differs.contains(it));
            assert!(
                differs.contains(&own) || pair.is_some(),
                "{own}: {differs:?}"
            );
            if !turns_over(&old, &new, own) && differs.contains(&own) {
                let is_taken = setting.changes_by == ChangesBy::Reload;
                assert_eq!(change.changed.contains(&own), is_taken, "{own}");
            }
            let rest = change.merged.change_to(&new);
            assert_eq!(rest.changed, [""; 0], "{own}");
            assert_eq!(rest.needs_restart, change.needs_restart, "{own}");
        }
    }

    #[test]
    fn a_node_with_tokens_or_a_backend_does_not_become_one_without() {
        let with_token = Config::from_toml("auth.jwt_secret = \"0123456789abcdef\"").unwrap();
        let change = with_token.change_to(&Config::default());
        assert_eq!(change.changed, [""; 0]);
        assert_eq!(change.needs_restart, ["auth.jwt_secret"]);
        assert_eq!(change.merged, with_token);
        let backend = "backend = { url = \"http://b\", secret = \"0123456789abcdef\" }";
        let with_backend = Config::from_toml(backend).unwrap();
        let change = Config::default().change_to(&with_backend);
        assert_eq!(change.changed, [""; 0]);
        assert_eq!(change.needs_restart, ["backend.url"]);
    }

    #[test]
    fn a_secret_that_changes_is_told_by_its_name_alone() {
        let config = |key: &str| Config::from_toml(&format!("api.key = \"{key}\"")).unwrap();
        let change = config("one secret of the API").change_to(&config("another secret of it"));
        assert_eq!(change.changed, ["api.key"]);
        assert!(!format!("{change:?}").contains("secret of"), "{change:?}");
    }
}
