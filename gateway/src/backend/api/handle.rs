//! What the calls do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use adapter::List;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answers::{
    Changed, Emitted, Missing, NodeEntry, Nodes, Presence, Reloaded, Results, RoomEntry, Rooms,
    SocketEntry, Sockets, UserEntry,
};
use super::calls::Parameter;
use super::error::ApiError;
use super::history::After;
use super::presence;
use super::requests::{Batch, Disconnect, Move, Reload, Select};
use super::trace;
use crate::backend::binary::{from_backend, to_backend};
use crate::backend::words::{Emit, MAX_NAME, NamespaceName, RoomName, User};
use crate::cluster::Gathered;
use crate::count::{Asker, Code};
use crate::engine::reloads::ReloadError;
use crate::net::ids::{SocketId, is_private, user_of_room, user_room};
use crate::net::time::timestamp;
use crate::socketio::Gateway;
use crate::socketio::emitter::Emitter;
use crate::socketio::event::EmitError;
use crate::socketio::list::{Count, MAX_ENTRIES, Page, Walk};
use crate::socketio::socket::SocketInfo;

/// Entries of a page when the caller does not say how many.
pub(super) const USUAL_LIMIT: usize = 100;

/// Most entries of a page.
pub(super) const MAX_LIMIT: usize = 1000;

/// Most bytes of acknowledgements in an answer.
const MAX_ACK_BYTES: usize = 16 * 1024 * 1024;

/// Most characters of a cursor, which is a name.
pub(super) const MAX_CURSOR: usize = MAX_NAME;

/// What stood in the query.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) namespace: NamespaceName,
    pub(super) room: Option<RoomName>,
    pub(super) user: Option<User>,
    counts: bool,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
    pub(super) after: Option<After>,
    pub(super) socket: Option<SocketId>,
    pub(super) address: Option<IpAddr>,
    pub(super) arguments: bool,
    pub(super) lasts: Option<Duration>,
}

impl Query {
    pub(super) fn parse(query: &str, known: &[Parameter]) -> Result<Self, ApiError> {
        let mut parsed = Self {
            namespace: NamespaceName::default(),
            room: None,
            user: None,
            counts: false,
            limit: USUAL_LIMIT,
            cursor: None,
            after: None,
            socket: None,
            address: None,
            arguments: false,
            lasts: None,
        };
        for (name, value) in crate::net::query::pairs(query) {
            let Some(parameter) = known.iter().find(|known| known.name() == name) else {
                return Err(ApiError::bad(format!(
                    "{name:?} is no parameter of this call"
                )));
            };
            let set = match parameter {
                Parameter::Namespace => {
                    NamespaceName::try_from(value).map(|it| parsed.namespace = it)
                }
                Parameter::Room | Parameter::PastRoom | Parameter::TracedRoom => {
                    RoomName::try_from(value).map(|it| parsed.room = Some(it))
                }
                Parameter::User | Parameter::TracedUser => {
                    User::try_from(value).map(|it| parsed.user = Some(it))
                }
                Parameter::TracedSocket => {
                    parsed.socket = SocketId::parse(&value).filter(|_| is_private(&value));
                    let is_id = parsed.socket.is_some();
                    is_id
                        .then_some(())
                        .ok_or("it is no id of a socket".to_owned())
                }
                Parameter::TracedAddress => {
                    trace::read_address(&value).map(|it| parsed.address = Some(it))
                }
                Parameter::Arguments => truth(&value).map(|it| parsed.arguments = it),
                Parameter::For => trace::read_time(&value).map(|it| parsed.lasts = Some(it)),
                Parameter::After => After::try_from(value).map(|it| parsed.after = Some(it)),
                Parameter::Counts => truth(&value).map(|it| parsed.counts = it),
                Parameter::Limit => match value.parse() {
                    Ok(limit) if (1..=MAX_LIMIT).contains(&limit) && !value.starts_with('+') => {
                        parsed.limit = limit;
                        Ok(())
                    }
                    _ => Err(format!("it is a number from 1 to {MAX_LIMIT}")),
                },
                Parameter::Cursor if value.chars().count() > MAX_CURSOR => {
                    Err("it is too long".to_owned())
                }
                Parameter::Cursor => {
                    parsed.cursor = Some(value).filter(|value| !value.is_empty());
                    Ok(())
                }
            };
            set.map_err(|problem| ApiError::bad(format!("{name}: {problem}")))?;
        }
        Ok(parsed)
    }
}

fn truth(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "it is true or false".to_owned())
}

/// An emitter for what an emit selects; `None` if that is nobody.
pub(crate) fn emitter(gateway: &Gateway, emit: &Emit) -> Option<Emitter> {
    let to = gateway.of(&emit.namespace.0);
    let to = match &emit.rooms {
        Some(rooms) if rooms.0.is_empty() => return None,
        Some(rooms) => rooms.0.iter().fold(to, |to, room| to.to(&*room.0)),
        None => to,
    };
    let to = emit
        .except
        .0
        .iter()
        .fold(to, |to, room| to.except(&*room.0));
    Some(if emit.volatile { to.volatile() } else { to })
}

pub(super) async fn emit(gateway: &Gateway, call: Emit) -> Result<Emitted, ApiError> {
    let arguments = from_backend(call.args.as_deref());
    let arguments = arguments.map_err(|error| ApiError::bad(error.to_string()))?;
    let asks = call.ack_timeout.is_some();
    let done = Emitted {
        ok: true,
        acks: asks.then(Vec::new),
        missing_acks: asks.then_some(0),
        missing_nodes: asks.then(Vec::new),
    };
    let Some(to) = emitter(gateway, &call) else {
        return Ok(done);
    };
    let Some(timeout) = call.ack_timeout else {
        let published = to.publish(&call.event.0, arguments).map_err(refused)?;
        let patience = gateway.node().config().cluster.request_timeout;
        return match tokio::time::timeout(patience, published).await {
            Ok(Ok(())) => Ok(done),
            Ok(Err(error)) => Err(ApiError::new(Code::Overloaded, error.to_string())),
            Err(_) => Err(ApiError::new(
                Code::Overloaded,
                "the event is not in the log yet; it may still be published",
            )),
        };
    };
    let gathered = to.emit_with_ack(&call.event.0, arguments, timeout.0);
    let (answers, missing, missing_nodes) = match gathered.map_err(refused)?.await {
        Ok(answers) => (answers, 0, Vec::new()),
        Err(missing) => {
            let count = missing.expected.saturating_sub(missing.answers.len());
            (missing.answers, count, missing.missing_nodes)
        }
    };
    let all = answers.len();
    let mut bytes = 0;
    let acks: Vec<_> = answers
        .iter()
        .map(|answer| to_backend(answer.as_ref()))
        .take_while(|answer| {
            bytes += answer.get().len();
            bytes <= MAX_ACK_BYTES
        })
        .collect();
    Ok(Emitted {
        ok: true,
        missing_acks: Some(missing + all - acks.len()),
        acks: Some(acks),
        missing_nodes: Some(missing_nodes),
    })
}

fn refused(error: EmitError) -> ApiError {
    match error {
        EmitError::Overloaded => ApiError::new(Code::Overloaded, error.to_string()),
        EmitError::ReservedName(_)
        | EmitError::Json(_)
        | EmitError::TooManyAttachments
        | EmitError::TooDeep => ApiError::bad(error.to_string()),
    }
}

/// An emitter to those who are selected; `None` if that is nobody.
fn selected(gateway: &Gateway, namespace: &NamespaceName, select: Select) -> Option<Emitter> {
    match select {
        Select::All => Some(to_rooms(gateway, namespace, Vec::new())),
        Select::Rooms(rooms) if rooms.is_empty() => None,
        Select::Rooms(rooms) => Some(to_rooms(gateway, namespace, rooms)),
    }
}

/// An emitter to the members of rooms, or without any to everybody.
fn to_rooms(gateway: &Gateway, namespace: &NamespaceName, rooms: Vec<String>) -> Emitter {
    let to = gateway.of(&namespace.0);
    rooms.into_iter().fold(to, Emitter::to)
}

/// What waits until it is done on every node. It was begun at once.
type Changing = Pin<Box<dyn Future<Output = Changed> + Send>>;

pub(super) fn join(gateway: &Gateway, call: Move) -> Result<Changing, ApiError> {
    let (to, rooms) = moved(gateway, call)?;
    Ok(match to {
        Some(to) => changing(to.join_everywhere(rooms)),
        None => nobody_changed(),
    })
}

pub(super) fn leave(gateway: &Gateway, call: Move) -> Result<Changing, ApiError> {
    let (to, rooms) = moved(gateway, call)?;
    Ok(match to {
        Some(to) => changing(to.leave_everywhere(rooms)),
        None => nobody_changed(),
    })
}

/// Nobody was selected: it is done.
fn nobody_changed() -> Changing {
    Box::pin(std::future::ready(Changed {
        ok: true,
        missing_nodes: Vec::new(),
    }))
}

fn changing(done: impl Future<Output = Gathered<()>> + Send + 'static) -> Changing {
    Box::pin(async move {
        let missing_nodes = done.await.missing_nodes;
        Changed {
            ok: true,
            missing_nodes,
        }
    })
}

/// A call that moves sockets names at least one room.
fn with_rooms(call: Move) -> Result<Move, ApiError> {
    if call.rooms.0.is_empty() {
        return Err(ApiError::bad("rooms names no room"));
    }
    Ok(call)
}

fn moved(gateway: &Gateway, call: Move) -> Result<(Option<Emitter>, Vec<String>), ApiError> {
    let call = with_rooms(call)?;
    let rooms = call.rooms.0.into_iter().map(|room| room.0).collect();
    Ok((selected(gateway, &call.namespace, call.select), rooms))
}

pub(super) fn disconnect(gateway: &Gateway, call: Disconnect) -> Changing {
    let to = selected(gateway, &call.namespace, call.select);
    match to {
        Some(to) => changing(to.disconnect_everywhere(call.close)),
        None => nobody_changed(),
    }
}

pub(super) async fn batch(gateway: &Gateway, batch: Batch) -> Result<Results, ApiError> {
    if !(1..=super::requests::MAX_BATCH).contains(&batch.calls.len()) {
        let most = super::requests::MAX_BATCH;
        return Err(ApiError::bad(format!("a batch has 1 to {most} calls")));
    }
    // A batch whose shape is wrong is refused before anything of it is done.
    let calls: Vec<_> = batch
        .calls
        .iter()
        .map(|call| ReadCall::read(call))
        .collect::<Result<_, _>>()?;
    // StartedCall one after the other; what the other nodes have to say is waited for in the end, together,
    // so that a node that is silent costs its time once.
    let mut begun = Vec::with_capacity(calls.len());
    for call in calls {
        begun.push(match call {
            ReadCall::Emit(call) => StartedCall::Over(emit(gateway, call).await.and_then(raw)),
            ReadCall::Join(call) => StartedCall::from(join(gateway, call)),
            ReadCall::Leave(call) => StartedCall::from(leave(gateway, call)),
            ReadCall::Disconnect(call) => StartedCall::Changing(disconnect(gateway, call)),
        });
    }
    let results = join_all(begun.into_iter().map(StartedCall::finish)).await;
    let results = results.into_iter();
    let results = results.map(|result| result.or_else(|error| raw(error.body())));
    Ok(Results {
        results: results.collect::<Result<_, _>>()?,
    })
}

/// A call of a batch that was begun.
enum StartedCall {
    Over(Result<Box<RawValue>, ApiError>),
    Changing(Changing),
}

impl StartedCall {
    async fn finish(self) -> Result<Box<RawValue>, ApiError> {
        match self {
            Self::Over(result) => result,
            Self::Changing(changing) => raw(changing.await),
        }
    }
}

impl From<Result<Changing, ApiError>> for StartedCall {
    fn from(begun: Result<Changing, ApiError>) -> Self {
        begun.map_or_else(|error| Self::Over(Err(error)), Self::Changing)
    }
}

fn raw(answer: impl serde::Serialize) -> Result<Box<RawValue>, ApiError> {
    serde_json::value::to_raw_value(&answer).map_err(|error| ApiError::bad(error.to_string()))
}

/// A call of a batch.
enum ReadCall {
    Emit(Emit),
    Join(Move),
    Leave(Move),
    Disconnect(Disconnect),
}

impl ReadCall {
    /// Reads the name, then the rest without it: serde cannot keep raw text in a tagged enum.
    fn read(call: &RawValue) -> Result<Self, ApiError> {
        let bad = |error: serde_json::Error| ApiError::bad(error.to_string());
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(call.get()).map_err(bad)?;
        let name = fields.remove("call");
        let name = name.and_then(|name| serde_json::from_str::<String>(name.get()).ok());
        let rest = serde_json::to_string(&fields).map_err(bad)?;
        fn of<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, ApiError> {
            serde_json::from_str(text).map_err(|error| ApiError::bad(error.to_string()))
        }
        match name.as_deref() {
            Some("emit") => of(&rest).map(Self::Emit),
            Some("join") => of(&rest).and_then(with_rooms).map(Self::Join),
            Some("leave") => of(&rest).and_then(with_rooms).map(Self::Leave),
            Some("disconnect") => of(&rest).map(Self::Disconnect),
            _ => Err(ApiError::bad("call is emit, join, leave or disconnect")),
        }
    }
}

fn user(socket: &SocketInfo) -> Option<&str> {
    socket.rooms.iter().find_map(|room| user_of_room(room))
}

pub(super) async fn sockets(gateway: &Gateway, query: Query) -> Sockets {
    let room = query.room.as_ref().map(|room| &*room.0);
    let wanted = query.user.as_ref().map(|user| &*user.0);
    // A user has few sockets, a room may have many members.
    let within = wanted.map(user_room).or(room.map(str::to_owned));
    let from = to_rooms(gateway, &query.namespace, within.into_iter().collect());
    let list = List::Sockets { handshakes: false };
    let mut walk: Walk<SocketInfo> = from.walk(list, query.cursor, query.limit + 1).await;
    let keep = |socket: &SocketInfo| {
        let is_in = |room| socket.rooms.iter().any(|it| it == room);
        (wanted.is_none() || user(socket) == wanted) && room.is_none_or(is_in)
    };
    let Page { entries, next } = walk.page(query.limit, keep).await;
    let gathered = walk.into_gathered(());
    Sockets {
        sockets: entries.iter().map(SocketEntry::from).collect(),
        missing: Missing::of(&gathered),
        next,
    }
}

impl From<&SocketInfo> for SocketEntry {
    fn from(socket: &SocketInfo) -> Self {
        let shared = |room: &&String| **room != socket.id && user_of_room(room).is_none();
        Self {
            id: socket.id.clone(),
            user: user(socket).map(str::to_owned),
            rooms: socket.rooms.iter().filter(shared).cloned().collect(),
            node: socket.node.clone(),
            transport: socket.transport.map(|it| it.name().to_owned()),
            connected_at: socket.issued().map(timestamp),
            address: socket.address(),
        }
    }
}

impl Missing {
    fn of<T>(gathered: &Gathered<T>) -> Self {
        Self {
            missing_nodes: gathered.missing_nodes.clone(),
            missing_others: gathered.missing_others,
            truncated: gathered.truncated,
        }
    }
}

pub(super) async fn rooms(gateway: &Gateway, query: Query) -> Rooms {
    let from = to_rooms(gateway, &query.namespace, Vec::new());
    let list = List::Rooms { private: false };
    let mut walk: Walk<Count> = from.walk(list, query.cursor, query.limit + 1).await;
    let Page { entries, next } = walk.page(query.limit, |_| true).await;
    let gathered = walk.into_gathered(());
    let rooms = entries.into_iter();
    let rooms = rooms.map(|(name, members)| RoomEntry {
        name,
        members: count(members),
    });
    Rooms {
        rooms: rooms.collect(),
        missing: Missing::of(&gathered),
        next,
    }
}

/// Who is there. Users of a namespace come from the records of all nodes, if these are kept.
pub(super) async fn presence(gateway: &Gateway, query: Query) -> Result<Presence, ApiError> {
    let kept = gateway.node().presence().filter(|it| it.has_users());
    match kept.filter(|_| query.room.is_none()) {
        Some(kept) => {
            let limit = if query.counts { 0 } else { query.limit };
            let found = presence::kept(kept, query.namespace.0, query.cursor, limit).await;
            found.map_err(|error| ApiError::new(Code::Unavailable, error.to_string()))
        }
        None => Ok(gathered_presence(gateway, query).await),
    }
}

/// Counts all users, and keeps those of the page alone.
async fn gathered_presence(gateway: &Gateway, query: Query) -> Presence {
    let room = query.room.as_ref().map(|room| room.0.clone());
    let from = to_rooms(gateway, &query.namespace, room.into_iter().collect());
    let mut walk: Walk<Count> = from.walk(List::Users, None, MAX_ENTRIES).await;
    let limit = if query.counts { 0 } else { query.limit };
    let (mut users, mut next) = (Vec::<UserEntry>::new(), None);
    let (mut anonymous, mut user_count, mut socket_count) = (0, 0, 0);
    while let Some(run) = walk.next().await {
        for (user, sockets) in run {
            socket_count += sockets;
            if user.is_empty() {
                anonymous += sockets;
                continue;
            }
            user_count += 1;
            if query.cursor.as_ref().is_some_and(|cursor| user <= *cursor) {
                continue;
            }
            if users.len() < limit {
                let sockets = count(sockets);
                users.push(UserEntry { user, sockets });
            } else if next.is_none() {
                next = users.last().map(|last| last.user.clone());
            }
        }
    }
    let gathered = walk.into_gathered(());
    Presence {
        users,
        anonymous: count(anonymous),
        user_count,
        socket_count: count(socket_count),
        missing: Missing::of(&gathered),
        next,
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) async fn reload(gateway: &Gateway, wanted: Reload) -> Result<Reloaded, ApiError> {
    let node = gateway.node();
    let reloads = node.reloads();
    let reloads = reloads.ok_or_else(|| refused_reload(&ReloadError::Busy))?;
    let done = reloads.ask(Asker::Api, wanted.dry_run).await;
    let done = done.map_err(|error| refused_reload(&error))?;
    Ok(Reloaded {
        ok: true,
        node: node.name(),
        changed: done.changed,
        needs_restart: done.needs_restart,
    })
}

fn refused_reload(error: &ReloadError) -> ApiError {
    let code = match error {
        ReloadError::Wrong(_) => Code::BadConfiguration,
        ReloadError::NoSources => Code::NotFound,
        ReloadError::Timeout(_) | ReloadError::Busy => Code::Overloaded,
    };
    ApiError::new(code, error.to_string())
}

pub(super) fn nodes(gateway: &Gateway) -> Nodes {
    let node = gateway.node();
    let name = node.name();
    let own = NodeEntry {
        id: name.clone(),
        address: node.config().cluster.advertise.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        connections: gateway.connections() as u64,
        draining: node.drain().has_begun(),
        is_self: true,
    };
    let members = gateway.nodes();
    let others = members
        .iter()
        .filter(|member| member.id.to_string() != name);
    let others = others.map(|member| NodeEntry {
        id: member.id.to_string(),
        address: member.address.clone(),
        version: member.version.clone(),
        connections: member.state.connections,
        draining: member.state.is_draining,
        is_self: false,
    });
    Nodes {
        nodes: std::iter::once(own).chain(others).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Parameter] = &[
        Parameter::Namespace,
        Parameter::Room,
        Parameter::User,
        Parameter::Limit,
        Parameter::Cursor,
        Parameter::Counts,
        Parameter::After,
    ];

    #[test]
    fn a_query_is_checked() {
        let query = Query::parse("namespace=/a&room=r+1&limit=2&cursor=", ALL).unwrap();
        assert_eq!((&*query.namespace.0, query.limit), ("/a", 2));
        assert_eq!(query.room.unwrap().0, "r 1");
        assert_eq!(query.cursor, None);
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "namespace=a",
            "room=",
            "counts=1",
            "after=x",
            "after=AAAAAAAA.000000000000000x",
            "x=1",
        ] {
            assert!(Query::parse(query, ALL).is_err(), "{query}");
        }
        assert!(Query::parse("room=r", &[]).is_err());
    }
}
