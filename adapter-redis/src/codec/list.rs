use adapter::{Entries, List, ListRequest, Piece};

use super::DecodeError;
use super::event::sockets;
use super::json::JsonWriter;
use super::raw::Raw;

/// The list that is asked for.
pub(crate) fn list_named(value: Option<Raw<'_>>) -> Result<List, DecodeError> {
    let name = value.and_then(Raw::text).ok_or(DecodeError::WrongShape)?;
    List::from_name(&name).ok_or(DecodeError::WrongShape)
}

/// What is to be traced.
pub(crate) fn traced(value: Option<Raw<'_>>) -> Result<String, DecodeError> {
    let words = value.and_then(Raw::text).ok_or(DecodeError::WrongShape)?;
    Ok(words.into_owned())
}

/// A bound that is asked for.
pub(crate) fn bound(value: Option<u64>) -> usize {
    value.map_or(0, |it| usize::try_from(it).unwrap_or(usize::MAX))
}

/// A part of a list: of sockets, or of names with numbers.
pub(crate) fn piece(
    of_sockets: Option<Raw<'_>>,
    counts: Option<Raw<'_>>,
    more: bool,
    cut: bool,
) -> Result<Piece, DecodeError> {
    let entries = match (of_sockets, counts) {
        (Some(list), _) => Entries::Sockets(sockets(list)?),
        (None, Some(counts)) => {
            let items = counts.items().ok_or(DecodeError::WrongShape)?;
            Entries::Counts(items.map(count).collect::<Result<_, _>>()?)
        }
        (None, None) => return Err(DecodeError::WrongShape),
    };
    Ok(Piece { entries, more, cut })
}

fn count(pair: Raw<'_>) -> Result<(String, u64), DecodeError> {
    let mut items = pair.items().ok_or(DecodeError::WrongShape)?;
    match (
        items.next().and_then(Raw::text),
        items.next().and_then(Raw::count),
    ) {
        (Some(name), Some(count)) => Ok((name.into_owned(), count)),
        _ => Err(DecodeError::WrongShape),
    }
}

impl JsonWriter {
    /// The keys of a request, without its selection.
    pub(crate) fn list(&mut self, request: &ListRequest) {
        self.key("list").string(request.list.name());
        if let Some(after) = &request.after {
            self.key("after").string(after);
        }
        self.key("limit").display(request.limit);
        self.key("bytes").display(request.bytes);
    }

    /// The keys of the answer.
    pub(crate) fn piece(&mut self, piece: &Piece) {
        match &piece.entries {
            Entries::Sockets(sockets) => self.key("sockets").sockets(sockets),
            Entries::Counts(counts) => self.key("counts").array(counts, |json, (name, count)| {
                json.pair(name, count);
            }),
        }
        for (key, holds) in [("more", piece.more), ("cut", piece.cut)] {
            if holds {
                self.key(key).display(true);
            }
        }
    }
}
