use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

/// Where Redis is, and how to log in: what `redis.url` says.
///
/// - `redis://[user:password@]host[:port][/0]`
/// - `redis+sentinel://[user:password@]host[:port],host[:port]/master[?sentinel_username=..&sentinel_password=..]`
/// - `redis+cluster://[user:password@]host[:port],host[:port]`
///
/// With `rediss` in place of `redis` the connections are encrypted with TLS, those to sentinels too.
#[derive(Clone, PartialEq, Eq)]
pub struct Servers {
    pub(crate) kind: Kind,
    pub(crate) login: Login,
    pub(crate) tls: bool,
    pub(crate) trust: Trust,
}

/// What servers' certificates are checked against, and what they are shown; the system's roots without
/// one.
#[derive(Clone, Default)]
pub(crate) struct Trust(pub(crate) Option<Arc<ClientConfig>>);

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Trust {}

impl Servers {
    /// Whether the connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// The same servers, sentinels and other members of a cluster among them, trusted as `trust` says.
    #[must_use]
    pub fn trusting(mut self, trust: Arc<ClientConfig>) -> Self {
        self.trust = Trust(Some(trust));
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Single(Endpoint),
    Sentinel {
        sentinels: Vec<Endpoint>,
        master: String,
        login: Login,
    },
    Cluster(Vec<Endpoint>),
}

/// Name and password for `AUTH`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

/// One server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why text is no `redis.url`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not one of the six schemes.
    #[error(
        "a Redis URL begins with redis://, redis+sentinel:// or redis+cluster://, or with rediss in place of redis"
    )]
    Scheme,
    /// No host, or several where one is meant.
    #[error("a Redis URL names one host, or several separated by commas for Sentinel and Cluster")]
    Host,
    /// A port that is no number.
    #[error("the port in the Redis URL is not a number from 1 to 65535")]
    Port,
    /// A database that is no number, or where there can be none.
    #[error("the database in the Redis URL is not a number, or stands where none can be")]
    Database,
    /// A database that would seem to keep clusters apart.
    #[error(
        "database {0} in the Redis URL does not keep clusters apart, since channels belong to no \
         database: leave it out, and give each cluster a redis.prefix of its own"
    )]
    OtherDatabase(u16),
    /// No master's name.
    #[error(
        "a redis+sentinel URL ends with the name of the master, as in redis+sentinel://host:26379/mymaster"
    )]
    Master,
    /// A percent sign without two hexadecimal digits.
    #[error("a % in the Redis URL needs two hexadecimal digits, as in %40 for @")]
    Escape,
    /// A parameter that is not known.
    #[error("unknown parameter {0} in the Redis URL")]
    Parameter(String),
}

impl std::str::FromStr for Servers {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(BadUrl::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let parameters = Parameters::parse(query)?;
        let (tls, family) = match scheme.strip_prefix("rediss") {
            Some(family) => (true, family),
            None => (false, scheme.strip_prefix("redis").ok_or(BadUrl::Scheme)?),
        };
        let mut databases = [parameters.database, None];
        let kind = match family {
            "" => {
                databases[1] = parse_database(path)?;
                Kind::Single(Endpoint::parse(hosts, 6379)?)
            }
            "+sentinel" => {
                // No master's name has a slash in it.
                let (master, path) = path.split_once('/').unwrap_or((path, ""));
                databases[1] = parse_database(path)?;
                Kind::Sentinel {
                    sentinels: Endpoint::parse_list(hosts, 26379)?,
                    master: Some(unescape(master)?)
                        .filter(|it| !it.is_empty())
                        .ok_or(BadUrl::Master)?,
                    login: parameters.sentinel,
                }
            }
            "+cluster" => {
                if !path.is_empty() || parameters.database.is_some() {
                    return Err(BadUrl::Database);
                }
                Kind::Cluster(Endpoint::parse_list(hosts, 6379)?)
            }
            _ => return Err(BadUrl::Scheme),
        };
        let mut databases = databases.into_iter().flatten();
        if let Some(other) = databases.find(|database| *database != 0) {
            return Err(BadUrl::OtherDatabase(other));
        }
        Ok(Self {
            kind,
            login,
            tls,
            trust: Trust::default(),
        })
    }
}

impl Endpoint {
    fn parse_list(text: &str, default_port: u16) -> Result<Vec<Self>, BadUrl> {
        let hosts = text.split(',');
        hosts.map(|host| Self::parse(host, default_port)).collect()
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, BadUrl> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(BadUrl::Host)?;
                let port = rest.strip_prefix(':');
                if port.is_none() && !rest.is_empty() {
                    return Err(BadUrl::Host);
                }
                (host, port)
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_legal) {
            return Err(BadUrl::Host);
        }
        let port = port.map_or(Ok(default_port), |it| it.parse().map_err(|_| BadUrl::Port))?;
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, BadUrl> {
        let (username, password) = match text.split_once(':') {
            Some((username, password)) => (username, Some(unescape(password)?)),
            None => (text, None),
        };
        let username = Some(unescape(username)?).filter(|it| !it.is_empty());
        Ok(Self { username, password })
    }
}

/// What follows the question mark.
#[derive(Default)]
struct Parameters {
    database: Option<u16>,
    sentinel: Login,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, BadUrl> {
        let mut parameters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "db" => parameters.database = parse_database(value)?,
                "sentinel_username" => parameters.sentinel.username = Some(unescape(value)?),
                "sentinel_password" => parameters.sentinel.password = Some(unescape(value)?),
                _ => return Err(BadUrl::Parameter(name.to_owned())),
            }
        }
        Ok(parameters)
    }
}

fn parse_database(text: &str) -> Result<Option<u16>, BadUrl> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| BadUrl::Database)
}

fn unescape(text: &str) -> Result<String, BadUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).ok_or(BadUrl::Escape)?;
        let digits = std::str::from_utf8(digits).map_err(|_| BadUrl::Escape)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BadUrl::Escape)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| BadUrl::Escape)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Without the password: it is fit for logs.
impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("kind", &self.kind)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server() {
        let servers: Servers = "redis://localhost".parse().unwrap();
        assert_eq!(servers.kind, Kind::Single(endpoint("localhost", 6379)));
        assert!(!servers.tls);

        let servers: Servers = "rediss://ann:p%40ss:w@[::1]:7000/0".parse().unwrap();
        assert_eq!(servers.kind, Kind::Single(endpoint("::1", 7000)));
        assert_eq!(servers.login.username.as_deref(), Some("ann"));
        assert_eq!(servers.login.password.as_deref(), Some("p@ss:w"));
        assert!(servers.tls);

        let servers: Servers = "redis://:secret@h".parse().unwrap();
        assert_eq!(servers.login.username, None);
        assert_eq!(servers.login.password.as_deref(), Some("secret"));
    }

    #[test]
    fn sentinels_and_clusters() {
        let url = "redis+sentinel://u:p@a,b:27000/my%20master?db=0&sentinel_password=x";
        let servers: Servers = url.parse().unwrap();
        let Kind::Sentinel {
            sentinels,
            master,
            login,
        } = servers.kind
        else {
            panic!("{servers:?}");
        };
        assert_eq!(sentinels, [endpoint("a", 26379), endpoint("b", 27000)]);
        assert_eq!(master, "my master");
        assert_eq!(login.password.as_deref(), Some("x"));

        let servers: Servers = "rediss+cluster://a:1,b:2,c".parse().unwrap();
        let hosts = vec![endpoint("a", 1), endpoint("b", 2), endpoint("c", 6379)];
        assert_eq!(servers.kind, Kind::Cluster(hosts));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            ("localhost:6379", BadUrl::Scheme),
            ("http://a", BadUrl::Scheme),
            ("redis+what://a", BadUrl::Scheme),
            ("redis://", BadUrl::Host),
            ("redis://a,b", BadUrl::Host),
            ("redis+cluster://a,,b", BadUrl::Host),
            ("redis://[::1", BadUrl::Host),
            ("redis://a:x", BadUrl::Port),
            ("redis://a/x", BadUrl::Database),
            ("redis+cluster://a/1", BadUrl::Database),
            ("redis://a/1", BadUrl::OtherDatabase(1)),
            ("redis://a?db=2", BadUrl::OtherDatabase(2)),
            ("redis://a/1?db=0", BadUrl::OtherDatabase(1)),
            ("redis+sentinel://a/m?db=3", BadUrl::OtherDatabase(3)),
            ("redis+sentinel://a/m/4", BadUrl::OtherDatabase(4)),
            ("redis+sentinel://a", BadUrl::Master),
            ("redis://:%4@a", BadUrl::Escape),
            ("redis://a?x=1", BadUrl::Parameter("x".to_owned())),
        ];
        for (url, error) in table {
            assert_eq!(url.parse::<Servers>(), Err(error), "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = "redis+sentinel://u:hidden@a/m?sentinel_password=hidden";
        let servers: Servers = url.parse().unwrap();
        assert!(!format!("{servers:?}").contains("hidden"));
    }

    fn endpoint(host: &str, port: u16) -> Endpoint {
        let host = host.to_owned();
        Endpoint { host, port }
    }
}
