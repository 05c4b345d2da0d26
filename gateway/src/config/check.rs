//! From texts to the typed configuration, and what must hold between settings.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{HostPort, Origins};
use super::error::{Error, Place};
use super::pattern::NamespacePattern;
use super::section::{
    Api, Auth, Backend, Cluster, Cors, Engine, Limits, Log, Proxy, Redis, Shutdown, Tls, Webhook,
    same_port,
};
use super::setting::Default;
use super::table::{SETTINGS, setting};
use super::value::{Size, Value};
use super::{Config, Setting};

/// A value that somebody gave for a setting.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    pub(super) text: String,
    pub(super) place: Place,
}

/// The values that count, by name of their settings; those that are wrong are left out.
#[derive(Clone)]
pub(super) struct Effective(BTreeMap<&'static str, Given>);

impl Effective {
    /// Chooses from all that was given, the last of a setting winning, and says what is wrong
    /// with any of it.
    pub(super) fn choose(given: Vec<Given>, errors: &mut Vec<Error>) -> Self {
        let mut chosen = BTreeMap::new();
        for given in given {
            match given.setting.check(&given.text) {
                Ok(()) => {
                    chosen.insert(given.setting.name, given);
                }
                Err(problem) => errors.push(Error::Wrong {
                    setting: given.setting.name,
                    example: given.place.spell(given.setting, given.setting.example),
                    place: given.place,
                    problem,
                }),
            }
        }
        Self(chosen)
    }

    /// Refuses what is not built yet and what would be ignored without another setting.
    pub(super) fn refuse_without_effect(
        &self,
        built: fn(&Setting) -> bool,
        errors: &mut Vec<Error>,
    ) {
        for given in self
            .0
            .values()
            .filter(|given| !given.setting.is_default(&given.text))
        {
            let setting = given.setting;
            if !built(setting) {
                errors.push(Error::Unbuilt {
                    setting: setting.name,
                    place: given.place.clone(),
                });
                continue;
            }
            for other in setting.needs {
                if self.text(other).is_none() {
                    errors.push(Error::Alone {
                        setting: setting.name,
                        other,
                        place: given.place.clone(),
                    });
                }
            }
        }
    }

    /// The typed configuration, and what contradicts itself in it.
    pub(super) fn build(&self, errors: &mut Vec<Error>) -> Config {
        let listen = self.read("listen");
        let internal_listen = self.read("internal_listen");
        let redis = self.find("redis.url").map(|url| Redis {
            url,
            prefix: self.read("redis.prefix"),
            mode: self.read("redis.mode"),
        });
        let config = Config {
            listen,
            internal_listen,
            shards: self.find("shards").unwrap_or_else(cores),
            namespaces: self
                .read::<Vec<NamespacePattern>>("namespaces")
                .into_iter()
                .map(|namespace| namespace.0)
                .collect(),
            demo: self.read("demo"),
            client_dir: self.find("client_dir"),
            engine: self.engine(),
            cors: Cors {
                origins: self.read("cors.origins"),
                credentials: self.read("cors.credentials"),
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
                    .unwrap_or_else(|| HostPort::from(internal_listen)),
                secret: self.find("cluster.secret"),
            },
            auth: Auth {
                jwt_secret: self.find("auth.jwt_secret"),
                jwt_public_key: self.find("auth.jwt_public_key"),
                jwks_url: self.find("auth.jwks_url"),
            },
            backend: Backend {
                webhook: self
                    .find("backend.url")
                    .zip(self.find("backend.secret"))
                    .map(|(url, secret)| Webhook { url, secret }),
                stream: self.find("backend.stream"),
            },
            api: Api {
                key: self.find("api.key"),
            },
            shutdown: Shutdown {
                drain: self.read("shutdown.drain"),
            },
            tls: self
                .find::<PathBuf>("tls.cert")
                .zip(self.find::<PathBuf>("tls.key"))
                .map(|(cert, key)| Tls { cert, key }),
            log: Log {
                format: self.read("log.format"),
                level: self.read("log.level"),
            },
        };
        contradictions(&config, errors);
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
            cookie: self.find("engine.cookie"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.find("limits.connections"),
            connections_per_ip: self.find("limits.connections_per_ip"),
            handshakes_per_second: self.find("limits.handshakes_per_second"),
            events_per_second: self.find("limits.events_per_second"),
            outbox_bytes: self.read::<Size>("limits.outbox_bytes").0,
            rooms_per_socket: self.read("limits.rooms_per_socket"),
            namespaces_per_session: self.read("limits.namespaces_per_session"),
            request_headers: self.read::<Size>("limits.request_headers").0,
            header_timeout: self.read::<Duration>("limits.header_timeout"),
            body_timeout: self.read("limits.body_timeout"),
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
        match self.0.get(name) {
            Some(given) if given.setting.is_absent(&given.text) => None,
            Some(given) => Some(&given.text),
            None => match setting(name)?.default {
                Default::Text(text) => Some(text),
                Default::Absent(_) => None,
            },
        }
    }
}

/// The number of cores, as far as the sid's one character for the shard allows.
fn cores() -> NonZeroUsize {
    let most = NonZeroUsize::MIN.saturating_add(63);
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(most))
}

/// What is right by itself but not together.
fn contradictions(config: &Config, errors: &mut Vec<Error>) {
    let mut refuse = |setting, problem: &str| {
        errors.push(Error::Contradiction {
            setting,
            problem: problem.to_owned(),
        });
    };
    if same_port(config.listen, config.internal_listen) {
        refuse(
            "internal_listen",
            "is the same port as listen; clients must not reach it, so give it another",
        );
    }
    if config.cors.credentials && config.cors.origins == Origins::Any {
        refuse(
            "cors.credentials",
            "cannot go with \"*\" in cors.origins; list the origins instead",
        );
    }
    if config.redis.is_some() {
        let advertise = &config.cluster.advertise;
        if advertise.is_unspecified() {
            refuse(
                "cluster.advertise",
                "must say where the other nodes reach this one, since internal_listen is every address",
            );
        }
        if !advertise.is_loopback() && config.cluster.secret.is_none() {
            refuse(
                "cluster.secret",
                "must be set, since cluster.advertise can be reached from other machines",
            );
        }
    }
}

impl Config {
    /// Every setting at its default.
    #[must_use]
    pub(super) fn from_table() -> Self {
        Effective(BTreeMap::new()).build(&mut Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_example_is_right() {
        for setting in SETTINGS {
            if let Default::Text(default) = setting.default {
                assert_eq!(setting.check(default), Ok(()), "{}", setting.name);
            }
            assert_eq!(setting.check(setting.example), Ok(()), "{}", setting.name);
            assert!(!setting.is_default(setting.example), "{}", setting.name);
        }
    }
}
