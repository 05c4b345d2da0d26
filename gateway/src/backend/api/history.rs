//! The call that reads what is kept of a room's past.

use adapter::EventBuf;
use adapter::recovery::{Entry, Epoch, LogName, Offset, Past, PastPage, Position};
use protocol::socketio::Arguments;

use super::answers::{History, HistoryEvent};
use super::error::ApiError;
use super::handle::Query;
use crate::backend::binary::to_backend;
use crate::count::Code;
use crate::recovery::Order;
use crate::socketio::application::Application as _;
use crate::socketio::{Gateway, SocketIo};

/// Where the caller wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// At the oldest that is kept.
    Start,
    Offset(Offset),
}

impl TryFrom<String> for After {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Start);
        }
        let offset = Offset::parse(Offset::in_log(&text)).map_err(|error| error.to_string())?;
        Ok(Self::Offset(offset))
    }
}

/// Reads one page: with `after` the first events behind it, else the last ones.
pub(super) async fn history(gateway: &Gateway, query: Query) -> Result<History, ApiError> {
    let node = gateway.node();
    let socket_io = SocketIo::of(node);
    let namespace = &*query.namespace.0;
    // Whether it is one is asked first: a namespace with recovery takes room from its first use on.
    let is_one = socket_io.application.has_namespace(namespace);
    let order = is_one.then(|| socket_io.order(namespace)).flatten();
    let order = order.ok_or_else(|| {
        ApiError::new(
            Code::NoHistory,
            format!("{namespace:?} is no namespace with recovery, so nothing of it is kept"),
        )
    })?;
    let log = match &query.room {
        Some(room) => LogName::room(&room.0),
        None => LogName::Everybody,
    };
    let until = Position::MAX;
    let count = query.limit;
    let past = |after: Position| Past::After {
        after,
        count,
        until,
    };
    let patience = node.config().cluster.request_timeout;
    let read = async {
        match query.after {
            None => ask(&order, &log, Past::Last { count, until }).await,
            Some(After::Start) => ask(&order, &log, past(Position::ZERO)).await,
            Some(After::Offset(offset)) => {
                let page = ask(&order, &log, past(offset.position)).await?;
                if page.epoch == offset.epoch {
                    return Some(page);
                }
                // Of that life of the log nothing is left.
                let page = ask(&order, &log, past(Position::ZERO)).await?;
                Some(PastPage {
                    is_cut: true,
                    ..page
                })
            }
        }
    };
    let page = tokio::time::timeout(patience, read).await.ok().flatten();
    let page = page.ok_or_else(|| {
        ApiError::new(
            Code::Overloaded,
            "the log did not answer in time, or too many ask for it",
        )
    })?;
    Ok(History::from(&page))
}

async fn ask(order: &Order, log: &LogName, past: Past) -> Option<PastPage> {
    order.history(log.clone(), past).await.ok()
}

impl From<&PastPage> for History {
    fn from(page: &PastPage) -> Self {
        let offset = |position| offset_text(page.epoch, position);
        let events = page.entries.iter();
        let events = events.filter_map(|entry| HistoryEvent::new(page.epoch, entry));
        let next = (page.through < page.newest).then(|| offset(page.through));
        Self {
            events: events.collect(),
            next,
            newest: offset(page.newest),
            is_cut: page.is_cut || !page.is_settled,
        }
    }
}

impl HistoryEvent {
    /// `None` if it is none that clients could be given.
    fn new(epoch: Epoch, entry: &Entry) -> Option<Self> {
        let EventBuf { name, arguments } = EventBuf::from_body(&entry.body)?;
        let arguments = Arguments::from_raw(&arguments.json, &arguments.attachments);
        let selection = &entry.selection;
        Some(Self {
            offset: offset_text(epoch, entry.position),
            event: name,
            args: to_backend(arguments),
            rooms: selection.rooms.iter().map(ToString::to_string).collect(),
            except: selection.except.iter().map(ToString::to_string).collect(),
        })
    }
}

fn offset_text(epoch: Epoch, position: Position) -> String {
    Offset { epoch, position }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_as_cut_while_nobody_knows_what_is_missing() {
        for (is_cut, is_settled, is_told) in [
            (false, true, false),
            (true, true, true),
            (false, false, true),
        ] {
            let page = PastPage {
                epoch: Epoch::new(1),
                entries: Vec::new(),
                through: Position::MAX,
                newest: Position::ZERO,
                is_cut,
                is_settled,
            };
            assert_eq!(History::from(&page).is_cut, is_told);
        }
    }
}
