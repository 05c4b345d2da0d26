//! What an answer means, and what to do about it.

use hyper::StatusCode;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, LOCATION, SERVER};
use serde::Deserialize;

use super::line::{Reply, Target};
use super::{Finding, Told};

/// What is wrong, and what helps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) problem: String,
    pub(super) advice: String,
}

impl Complaint {
    pub(super) fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            advice: advice.into(),
        }
    }
}

pub(super) const PASS_THE_UPGRADE: &str = "Have the balancer pass the upgrade on. nginx: \
    proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \
    $connection_upgrade; (with a map from $http_upgrade). Apache: mod_proxy_wstunnel. A CDN: switch \
    WebSockets on.";

pub(super) const JOIN_THE_NODES: &str = "The balancer sends the requests of one session to several \
    nodes that do not know each other. Join them by redis.url, with a cluster.advertise where they \
    reach each other, or let the balancer keep a client on one node (by the query parameter sid, a \
    cookie, or the client's address).";

pub(super) const DO_NOT_BUFFER: &str = "Switch off buffering of answers and caching for this path. \
    nginx: proxy_buffering off; proxy_cache off;";

/// The number that Engine.IO gives its errors.
fn engine_code(reply: &Reply) -> Option<u64> {
    let body: serde_json::Value = serde_json::from_str(&reply.body).ok()?;
    body.get("code")?.as_u64()
}

fn excerpt(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("an empty body")
        .trim()
        .chars()
        .take(120)
        .collect()
}

/// Who answered, as far as it says so.
fn answerer(reply: &Reply) -> String {
    let server = reply.headers.get(SERVER).and_then(|it| it.to_str().ok());
    server.map_or_else(String::new, |server| format!(" (by {server})"))
}

fn summary(reply: &Reply) -> String {
    let (status, answerer) = (reply.status, answerer(reply));
    format!("answered {status}{answerer}: {}", excerpt(&reply.body))
}

/// The port answers, and is not the one of clients.
pub(super) fn internal_port(reply: &Reply) -> Complaint {
    Complaint::new(
        format!(
            "this is the internal port of a gateway: the handshake was {}",
            summary(reply)
        ),
        "Clients connect to another port, the setting listen (3000 if nothing is set). Let nobody reach \
         the internal one (internal_listen) but your monitoring, your backends and the other nodes.",
    )
}

/// Whether a page of `origin` may read what was answered to it.
pub(super) fn origin(origin: &str, is_own: bool, reply: &Reply) -> Result<String, Complaint> {
    let allowed: Vec<_> = reply
        .headers
        .get_all(ACCESS_CONTROL_ALLOW_ORIGIN)
        .iter()
        .map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
        .collect();
    match &*allowed {
        [allowed] if allowed == origin || allowed == "*" => Ok(format!(
            "pages of {origin} may connect (Access-Control-Allow-Origin: {allowed})"
        )),
        _ if is_own => Ok(format!(
            "{origin} is the gateway's own, so its pages may connect"
        )),
        [] => Err(Complaint::new(
            format!(
                "pages of {origin} may not read answers: there is no Access-Control-Allow-Origin"
            ),
            format!(
                "List it: cors.origins = [\"{origin}\"]. If it is listed, a proxy takes the header away."
            ),
        )),
        [allowed] => Err(Complaint::new(
            format!(
                "pages of {origin} may not read answers: Access-Control-Allow-Origin is {allowed}"
            ),
            "Something in front sets the header itself: leave it to the gateway and cors.origins.",
        )),
        several => Err(Complaint::new(
            format!(
                "browsers refuse answers with several Access-Control-Allow-Origin: {}",
                several.join(", ")
            ),
            "Both the gateway and something in front set the header: leave it to one of them.",
        )),
    }
}

/// What a refused connect carries.
#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: serde_json::Value,
}

/// What was answered to the connect to a namespace. A client without a token may be refused for good
/// reasons.
pub(super) fn namespace(name: &str, has_token: bool, packet: &str) -> Finding {
    if packet.starts_with("40") {
        let with = if has_token { " with the token" } else { "" };
        return Ok(format!("connected to {name}{with}").into());
    }
    let json = packet.find('{').map_or("", |start| &packet[start..]);
    let Refused { message, data } = serde_json::from_str(json).unwrap_or(Refused {
        message: excerpt(packet),
        data: serde_json::Value::Null,
    });
    let code = data["code"].as_str().unwrap_or_default();
    let advice = match code {
        "token_missing" => {
            "Give one: --token TOKEN, or --token - to have it read from standard input."
        }
        "token_expired" => "It was good once: get another.",
        "token_invalid" => {
            "gateway token --verify says what is wrong with it, beside the configuration of a node."
        }
        "token_unverifiable" => {
            "The issuer's keys cannot be had now: look at auth.jwks_url and the node's log."
        }
        "namespace_forbidden" => "The claim namespaces of the token does not name it.",
        _ if message == "Invalid namespace" => {
            "See the setting namespaces. A client takes the path of its URL for the namespace."
        }
        _ => "The application refuses this client, or wants other credentials.",
    };
    let code = if code.is_empty() {
        String::new()
    } else {
        format!(" ({code})")
    };
    let complaint = Complaint::new(
        format!("{name} refuses this client: {message}{code}"),
        advice,
    );
    if has_token || (message == "Invalid namespace" && name != "/") {
        Err(complaint)
    } else {
        Ok(Told::Doubtful(complaint))
    }
}

/// A handshake that was not answered as it should be.
pub(super) fn handshake(target: &Target, reply: &Reply) -> Complaint {
    let advice = match (reply.status, engine_code(reply)) {
        (_, Some(0)) => "The gateway does not serve this transport: see engine.transports.".to_owned(),
        (_, Some(1)) => JOIN_THE_NODES.to_owned(),
        (_, Some(5)) => {
            "This is a server of an older Engine.IO; clients of Socket.IO 3 and 4 need version 4."
                .to_owned()
        }
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, Some(_)) => {
            "The gateway refuses new sessions: it drains, or one of its limits.* is reached. Behind a \
             proxy without proxy.trusted all clients count as one address."
                .to_owned()
        }
        (StatusCode::FORBIDDEN, Some(_)) if target.origin().is_some() => {
            "The application refuses this client, or cors.enforce its origin: list it in cors.origins."
                .to_owned()
        }
        (StatusCode::FORBIDDEN, Some(_)) => "The application refuses this client.".to_owned(),
        (status, _) if status.is_redirection() => {
            let place = reply.headers.get(LOCATION).and_then(|it| it.to_str().ok());
            format!(
                "Give clients the address that it redirects to, {}: WebSockets do not follow.",
                place.unwrap_or("which it does not name")
            )
        }
        (StatusCode::NOT_FOUND, _) => format!(
            "Nothing is served at {}: the balancer does not route it to the gateway, or engine.path is \
             another one. Put the path into the URL if so.",
            target.path()
        ),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            "Something in front of the gateway wants a login or blocks this client.".to_owned()
        }
        (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, _) => {
            "The balancer is there and reaches no gateway: look at its upstreams, the port (3000, not \
             the internal one) and GET /ready of the nodes."
                .to_owned()
        }
        (StatusCode::BAD_REQUEST, None) if reply.body.contains("HTTPS") => {
            "This port wants TLS: use https://.".to_owned()
        }
        (StatusCode::OK, _) => {
            "Something else than a gateway answers: look at the host, the port, and the balancer's \
             routes."
                .to_owned()
        }
        _ => "This is not how a gateway answers a handshake.".to_owned(),
    };
    Complaint::new(summary(reply), advice)
}

/// A WebSocket handshake that was not answered with 101.
pub(super) fn no_websocket(target: &Target, reply: &Reply) -> Complaint {
    let refused = matches!(engine_code(reply), Some(3)) || reply.body == "Bad request";
    let lost = reply.status == StatusCode::BAD_REQUEST && refused
        || reply.status == StatusCode::UPGRADE_REQUIRED
        || reply.status == StatusCode::OK;
    if lost {
        let problem = format!(
            "the request arrived, but its headers Upgrade and Connection did not: {}",
            summary(reply)
        );
        return Complaint::new(problem, PASS_THE_UPGRADE);
    }
    handshake(target, reply)
}

/// A request of an open session that was not answered as it should be.
pub(super) fn request(reply: &Reply) -> Complaint {
    let advice = match (reply.status, engine_code(reply)) {
        (_, Some(1)) => JOIN_THE_NODES,
        (
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_GATEWAY,
            _,
        ) => {
            "The balancer does not wait long enough for an answer, or lost its gateway. Its timeout \
             for reading must be longer than engine.ping_interval. nginx: proxy_read_timeout."
        }
        (StatusCode::PAYLOAD_TOO_LARGE, _) => "The balancer limits the size of bodies.",
        _ => "This is not how a gateway answers the requests of a session.",
    };
    Complaint::new(summary(reply), advice)
}
