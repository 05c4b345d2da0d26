//! From texts to the typed configuration, and what must hold between settings.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::address::HostPort;
use super::checked::contradictions;
use super::error::{Error, Place};
use super::listen::{InternalListen, Listen};
use super::memory;
use super::pattern::NamespacePattern;
use super::secret::Secret;
use super::section::{
    Admin, Api, Auth, Backend, Cluster, Cors, Engine, Limits, Log, Metrics, Otel, Presence, Proxy,
    Recovery, Redis, Shutdown, Tls, Trust, WebSocket, WebTransport, Webhook,
};
use super::setting::Default as Fallback;
use super::table::setting;
use super::url::HttpUrl;
use super::value::{Size, Value};
use super::{Config, Setting};

/// A value that somebody gave for a setting.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    pub(super) text: String,
    pub(super) place: Place,
}

/// The values that count, by name of their settings.
#[derive(Default)]
pub(super) struct Effective {
    chosen: BTreeMap<&'static str, Given>,
    /// What was refused already; nothing more is said about it.
    refused: BTreeSet<&'static str>,
}

impl Effective {
    /// Chooses from all that was given, the last of a setting winning. Says what is wrong with any
    /// of it, what is not built yet, and what would be ignored without another setting.
    pub(super) fn choose(
        given: Vec<Given>,
        built: fn(&Setting) -> bool,
        errors: &mut Vec<Error>,
    ) -> Self {
        let mut effective = Self::default();
        for given in given {
            match given.setting.check(&given.text) {
                Ok(()) => {
                    effective.chosen.insert(given.setting.name, given);
                }
                Err(problem) => {
                    effective.refused.insert(given.setting.name);
                    errors.push(given.place.wrong(given.setting, problem));
                }
            }
        }
        effective.refuse_unbuilt(built, errors);
        effective.refuse_alone(errors);
        effective
    }

    fn refuse_unbuilt(&mut self, built: fn(&Setting) -> bool, errors: &mut Vec<Error>) {
        for given in self.chosen.values().filter(|given| given.matters()) {
            if !built(given.setting) {
                self.refused.insert(given.setting.name);
                let (setting, place) = (given.setting.name, given.place.clone());
                errors.push(match given.setting.feature {
                    Some(feature) => Error::Without {
                        setting,
                        feature,
                        place,
                    },
                    None => Error::Unbuilt { setting, place },
                });
            }
        }
    }

    fn refuse_alone(&self, errors: &mut Vec<Error>) {
        for given in self.chosen.values().filter(|given| given.matters()) {
            for other in given.setting.needs {
                let missing = self.text(other).is_none() && !self.refused.contains(other);
                if missing && !self.refused.contains(given.setting.name) {
                    errors.push(Error::Alone {
                        setting: given.setting.name,
                        other: (*other).to_owned(),
                        place: given.place.clone(),
                    });
                }
            }
            let any = given.setting.needs_any;
            let missing = |name: &&str| self.text(name).is_none() && !self.refused.contains(name);
            if !any.is_empty() && any.iter().all(missing) {
                errors.push(Error::Alone {
                    setting: given.setting.name,
                    other: any.join(" or "),
                    place: given.place.clone(),
                });
            }
        }
    }

    /// The typed configuration, and what contradicts itself in it.
    pub(super) fn build(&self, errors: &mut Vec<Error>) -> Config {
        let listen: Listen = self.read("listen");
        let InternalListen(internal_listen) = self.read("internal_listen");
        let advertised = internal_listen.advertised();
        let redis = self.find("redis.url").map(|url| Redis {
            url,
            prefix: self.read("redis.prefix"),
            mode: self.read("redis.mode"),
            subscription_mode: self.read("redis.subscription_mode"),
            interest: self.read("redis.interest"),
            specific_responses: self.read("redis.specific_responses"),
            private_patterns: self.read("redis.private_patterns"),
            buffer_bytes: self.read::<Size>("redis.buffer_bytes").0,
            trust: self.trust("redis"),
        });
        let config = Config {
            listen,
            listen_health: self.find("listen_health"),
            internal_listen,
            internal_hosts: self.read("internal_hosts"),
            internal_page: self.read("internal_page"),
            shards: self.find("shards").unwrap_or_else(cores),
            namespaces: self
                .read::<Vec<NamespacePattern>>("namespaces")
                .into_iter()
                .map(|namespace| namespace.0)
                .collect(),
            demo: self.find("demo"),
            client_dir: self.find("client_dir"),
            engine: self.engine(),
            cors: Cors {
                origins: self.read("cors.origins"),
                credentials: self.read("cors.credentials"),
                enforce: self.read("cors.enforce"),
            },
            proxy: Proxy {
                trusted: self.read("proxy.trusted"),
                protocol: self.read("proxy.protocol"),
            },
            limits: self.limits(),
            redis,
            cluster: Cluster {
                node_id: self.find("cluster.node_id"),
                advertise: self
                    .find("cluster.advertise")
                    .or(advertised)
                    .unwrap_or_else(HostPort::nowhere),
                secret: self.find("cluster.secret"),
                request_timeout: self.read("cluster.request_timeout"),
                rebalance: self.read("cluster.rebalance"),
                rebalance_per_second: self.read("cluster.rebalance_per_second"),
            },
            recovery: Recovery {
                window: self.find("recovery.window"),
                namespaces: self
                    .read::<Vec<NamespacePattern>>("recovery.namespaces")
                    .into_iter()
                    .map(|namespace| namespace.0)
                    .collect(),
                max_messages: self.read("recovery.max_messages"),
                max_bytes: self.read::<Size>("recovery.max_bytes").0,
                replay_bytes: self.read::<Size>("recovery.replay_bytes").0,
                ask_backend: self.read("recovery.ask_backend"),
            },
            presence: Presence {
                users: self.read("presence.users"),
                rooms: self.read("presence.rooms"),
                grace: self.read("presence.grace"),
                lease: self.read("presence.lease"),
            },
            auth: Auth {
                jwt_secret: self.find("auth.jwt_secret"),
                jwt_public_key: self.find("auth.jwt_public_key"),
                jwks_url: self.find("auth.jwks_url"),
                jwks_refresh: self.read("auth.jwks_refresh"),
                issuer: self.find("auth.issuer"),
                audience: self.read("auth.audience"),
                cookie: self.find("auth.cookie"),
                leeway: self.read("auth.leeway"),
                grace: self.read("auth.grace"),
                trust: self.trust("auth"),
            },
            backend: Backend {
                webhook: self
                    .find("backend.url")
                    .zip(self.find("backend.secret"))
                    .map(|(url, secret)| self.webhook(url, secret)),
                routes: self.read("backend.routes"),
                timeout: self.read("backend.timeout"),
                stream: self.find("backend.stream"),
                stream_length: self.read("backend.stream_length"),
                trust: self.trust("backend"),
            },
            api: Api {
                keys: self.find("api.key"),
                max_body: self.read::<Size>("api.max_body").0,
            },
            admin: self
                .find("admin.user")
                .zip(self.find("admin.password"))
                .map(|(user, password)| Admin {
                    user,
                    password,
                    mode: self.read("admin.mode"),
                    read_only: self.read("admin.read_only"),
                    sockets: self.read("admin.sockets"),
                    events_per_second: self.read("admin.events_per_second"),
                }),
            admin_ui_dir: self.find("admin.ui_dir"),
            shutdown: Shutdown {
                drain: self.read("shutdown.drain"),
            },
            tls: self.certificate("tls"),
            websocket: WebSocket {
                coalesce: self.read("websocket.coalesce"),
            },
            webtransport: self.find("webtransport.listen").map(|listen| WebTransport {
                listen,
                tls: self.certificate("webtransport"),
                connections: self.read("webtransport.connections"),
            }),
            metrics: Metrics {
                socket_io_aliases: self.read("metrics.socket_io_aliases"),
            },
            otel: self
                .find("otel.endpoint")
                .map(|endpoint| self.otel(endpoint)),
            log: Log {
                format: self.read("log.format"),
                level: self.read("log.level"),
            },
            env_file: self.find("config.env_file"),
            watch: self.read("config.watch"),
        };
        self.contradictions(&config, errors);
        config
    }

    fn engine(&self) -> Engine {
        Engine {
            path: self.read("engine.path"),
            ping_interval: self.read("engine.ping_interval"),
            ping_timeout: self.read("engine.ping_timeout"),
            upgrade_timeout: self.read("engine.upgrade_timeout"),
            connect_timeout: self.read("engine.connect_timeout"),
            max_payload: self.read::<Size>("engine.max_payload").0,
            transports: self.read("engine.transports"),
            allow_upgrades: self.read("engine.allow_upgrades"),
            allow_eio3: self.read("engine.allow_eio3"),
            poll_packets: self.read("engine.poll_packets"),
            cookie: self.find("engine.cookie"),
            cookie_secure: self.read("engine.cookie_secure"),
            cookie_same_site: self.read("engine.cookie_same_site"),
        }
    }

    fn webhook(&self, url: HttpUrl, secret: Secret) -> Webhook {
        Webhook {
            url,
            secret,
            http2: self.read("backend.http2"),
            timeout: self.read("backend.timeout"),
            concurrency: self.read("backend.concurrency"),
            queue: self.read("backend.queue"),
            batch: self.read("backend.batch"),
            retries: self.read("backend.retries"),
            idempotent: self.read("backend.idempotent"),
            breaker_failures: self.read("backend.breaker_failures"),
            breaker_pause: self.read("backend.breaker_pause"),
        }
    }

    fn otel(&self, endpoint: HttpUrl) -> Otel {
        Otel {
            endpoint,
            headers: self.find("otel.headers"),
            sample: self.read("otel.sample"),
            slow: self.read("otel.slow"),
            trust_parent: self.read("otel.trust_parent"),
            trust: Trust {
                ca_file: self.find("otel.ca_file"),
                ..Trust::default()
            },
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.find("limits.connections"),
            connections_per_ip: self.find("limits.connections_per_ip"),
            connections_per_user: self.find("limits.connections_per_user"),
            handshakes_per_second: self.find("limits.handshakes_per_second"),
            events_per_second: self.find("limits.events_per_second"),
            outbox_bytes: self.read::<Size>("limits.outbox_bytes").0,
            outbox_patience: self.read("limits.outbox_patience"),
            outbox_total: self
                .find::<Size>("limits.outbox_total")
                .map_or_else(memory::quarter, |size| size.0),
            rooms_per_socket: self.read("limits.rooms_per_socket"),
            namespaces_per_session: self.read("limits.namespaces_per_session"),
            request_headers: self.read::<Size>("limits.request_headers").0,
            header_timeout: self.read::<Duration>("limits.header_timeout"),
            body_timeout: self.read("limits.body_timeout"),
        }
    }

    /// What does not go together. What was refused already gets no blame.
    fn contradictions(&self, config: &Config, errors: &mut Vec<Error>) {
        for (settings, problem) in contradictions(config) {
            if !settings.iter().any(|name| self.refused.contains(name)) {
                errors.push(Error::Contradiction {
                    setting: settings[0],
                    problem: problem.to_owned(),
                });
            }
        }
    }

    /// The certificate of a section of settings.
    fn certificate(&self, section: &str) -> Option<Tls> {
        let name = |key| format!("{section}.{key}");
        self.find(&name("cert"))
            .zip(self.find(&name("key")))
            .map(|(cert, key)| Tls { cert, key })
    }

    /// The certificates that a section of settings trusts and shows.
    fn trust(&self, section: &str) -> Trust {
        let name = |key| format!("{section}.{key}");
        Trust {
            ca_file: self.find(&name("ca_file")),
            verify: self.read(&name("tls_verify")),
            client: self
                .find(&name("tls_cert"))
                .zip(self.find(&name("tls_key")))
                .map(|(cert, key)| Tls { cert, key }),
        }
    }

    /// The value of a setting that may have none.
    fn find<T: Value>(&self, name: &str) -> Option<T> {
        self.text(name).and_then(|text| T::parse(text).ok())
    }

    /// The value of a setting that always has one.
    fn read<T: Value>(&self, name: &str) -> T {
        self.find(name)
            .expect("the table gives a right default, which a test checks for every setting")
    }

    /// What a setting is set to, or its default.
    fn text(&self, name: &str) -> Option<&str> {
        match self.chosen.get(name) {
            Some(given) if given.setting.is_absent(&given.text) => None,
            Some(given) => Some(&given.text),
            None => match setting(name)?.default {
                Fallback::Text(text) => Some(text),
                Fallback::Absent(_) => None,
            },
        }
    }
}

/// The number of cores, as far as the sid's one character for the shard allows.
fn cores() -> NonZeroUsize {
    let most = NonZeroUsize::MIN.saturating_add(63);
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(most))
}

impl Given {
    /// Whether it says something else than the default.
    fn matters(&self) -> bool {
        !self.setting.is_default(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SETTINGS, source};
    use std::path::Path;

    #[test]
    fn every_default_and_every_example_is_right() {
        for setting in SETTINGS {
            if let Fallback::Text(default) = setting.default {
                assert_eq!(setting.check(default), Ok(()), "{}", setting.name);
            }
            assert_eq!(setting.check(setting.example), Ok(()), "{}", setting.name);
            assert!(!setting.is_default(setting.example), "{}", setting.name);
        }
    }

    /// What is wrong with a file if every feature were built.
    fn errors(text: &str) -> Vec<String> {
        let mut errors = Vec::new();
        let given = source::file(Path::new("f"), text, &mut errors);
        Effective::choose(given, |_| true, &mut errors).build(&mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (text, expected) in [
            (
                "redis.prefix = \"a\"",
                "redis.prefix: has no effect without redis.url, which is not set (f, line 1)",
            ),
            (
                "cluster.node_id = \"a\"",
                "cluster.node_id: has no effect without redis.url, which is not set (f, line 1)",
            ),
            (
                "tls.cert = \"a.pem\"",
                "tls.cert: has no effect without tls.key, which is not set (f, line 1)",
            ),
            (
                "tls.key = \"a.pem\"",
                "tls.key: has no effect without tls.cert, which is not set (f, line 1)",
            ),
            (
                "backend.url = \"http://a\"",
                "backend.url: has no effect without backend.secret, which is not set (f, line 1)",
            ),
            (
                "backend.stream = \"events\"",
                "backend.stream: has no effect without redis.url, which is not set (f, line 1)",
            ),
            (
                "backend.secret = \"0123456789abcdef\"",
                "backend.secret: has no effect without backend.url, which is not set (f, line 1)",
            ),
        ] {
            assert_eq!(errors(text), [expected], "{text}");
        }
        assert!(errors("redis.prefix = \"socket.io\"").is_empty());
    }

    #[test]
    fn a_program_without_a_feature_names_it() {
        let mut errors = Vec::new();
        let text = "webtransport.listen = \"[::]:3000\"\ntls.cert = \"a\"\ntls.key = \"b\"";
        let given = source::file(Path::new("f"), text, &mut errors);
        let built = |setting: &Setting| setting.feature.is_none();
        Effective::choose(given, built, &mut errors).build(&mut Vec::new());
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        let expected = "webtransport.listen: this program was built without the feature `webtransport` (f, line 1); ";
        assert!(said[0].starts_with(expected), "{said:?}");
    }

    #[test]
    fn all_rooms_of_the_sharded_format_have_one_channel_or_are_not_heard() {
        let sharded = "redis = { url = \"redis://h\", mode = \"sharded\", interest = \"all\" }";
        let [refused] = &*errors(sharded) else {
            panic!("{:?}", errors(sharded));
        };
        assert!(
            refused.starts_with("redis.interest") && refused.contains("static"),
            "{refused}"
        );
        for taken in [
            sharded.replace("sharded", "pubsub"),
            sharded.replace(" }", ", subscription_mode = \"static\" }"),
        ] {
            assert_eq!(errors(&taken), [""; 0]);
        }
    }

    #[test]
    fn nodes_that_others_can_reach_share_a_secret() {
        let redis = "redis.url = \"redis://localhost\"\n";
        let secret = "cluster.secret = \"0123456789abcdef\"\n";
        let reachable = "cluster.advertise = \"10.0.0.7:3001\"\n";
        let everywhere = "internal_listen = \"0.0.0.0:3001\"\n";
        let missing = "cluster.secret: must be set, since cluster.advertise can be reached from other machines";
        let nowhere = "cluster.advertise: must say where the other nodes reach this one, which \
                       neither an address of all zeros nor a socket in the file system does";

        assert!(errors(redis).is_empty());
        assert_eq!(errors(&[redis, reachable].concat()), [missing]);
        assert!(errors(&[redis, reachable, secret].concat()).is_empty());
        assert_eq!(errors(&[everywhere, redis, secret].concat()), [nowhere]);
        assert!(errors(&[everywhere, redis, reachable, secret].concat()).is_empty());
        assert!(errors(everywhere).is_empty());
        let file = "internal_listen = \"unix:/run/internal.sock\"\n";
        assert_eq!(errors(&[file, redis, secret].concat()), [nowhere]);
        assert!(errors(&[file, redis, reachable, secret].concat()).is_empty());
        let both = "internal_listen = [\"unix:/run/internal.sock\", \"127.0.0.1:3001\"]\n";
        assert!(errors(&[both, redis].concat()).is_empty());
    }

    #[test]
    fn what_is_listened_at_in_fact_is_advertised_unless_something_else_is_said() {
        let passed = || "10.0.0.7:9".parse::<Listen>().ok();
        for (text, expected) in [
            ("", "10.0.0.7:9"),
            (
                "internal_listen = \"unix:/run/internal.sock\"",
                "10.0.0.7:9",
            ),
            ("cluster.advertise = \"b.example:3001\"", "b.example:3001"),
        ] {
            let redis = "redis.url = \"redis://localhost\"\ncluster.secret = \"0123456789abcdef\"";
            let text = match text.starts_with("internal") {
                // Beside Redis it would have to say where the others reach it.
                true => text.to_owned(),
                false => format!("{text}\n{redis}"),
            };
            let mut config = Config::from_toml(&text).unwrap();
            config.replace_places(None, passed());
            assert_eq!(config.cluster.advertise.to_string(), expected, "{text}");
            assert_eq!(Some(config.internal_listen), passed());
        }
    }

    #[test]
    fn what_follows_from_another_mistake_is_not_said() {
        let wrong = "cluster.node_id = \"a\"\nredis.url = \"localhost\"";
        let said = errors(wrong);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("redis.url: "), "{said:?}");

        let wrong = "listen = \"nowhere\"\ninternal_listen = \"0.0.0.0:3000\"";
        let said = errors(wrong);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("listen: "), "{said:?}");
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_secret() {
        let text = "redis.url = \"redis://me:hunter2@localhost\"\n\
                    cluster.secret = \"hunter2 hunter2 hunter2\"\n\
                    auth.jwt_secret = \"hunter2 hunter2 hunter2\"\n\
                    backend.url = \"http://backend/hunter2\"\n\
                    backend.secret = \"hunter2 hunter2 hunter2\"\n\
                    api.key = \"hunter2 hunter2 hunter2\"\n";
        let mut errors = Vec::new();
        let given = source::file(Path::new("f"), text, &mut errors);
        let config = Effective::choose(given, |_| true, &mut errors).build(&mut errors);
        assert_eq!(errors, []);
        assert!(config.redis.is_some() && config.backend.webhook.is_some());
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}
