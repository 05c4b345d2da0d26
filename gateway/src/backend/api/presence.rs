//! Who is there, as the nodes keep it together.

use adapter::RecordsError;
use adapter::presence::{Lookup, SubjectKind};

use super::answers::{Missing, Presence, UserEntry};
use crate::presence::Presence as Kept;

/// Users of a namespace behind a name; with a `limit` of 0 only how many there are.
pub(super) async fn kept(
    kept: &Kept,
    namespace: String,
    after: Option<String>,
    limit: usize,
) -> Result<Presence, RecordsError> {
    let page = Lookup {
        kind: SubjectKind::User,
        namespace,
        after,
        // One more, to know whether there are more.
        limit: if limit == 0 { 0 } else { limit + 1 },
    };
    let mut paged = kept.page(page).await?;
    let has_more = paged.found.len() > limit;
    paged.found.truncate(limit);
    let next = paged.found.last().filter(|_| has_more);
    Ok(Presence {
        next: next.map(|(user, _)| user.clone()),
        users: paged
            .found
            .into_iter()
            .map(|(user, sockets)| UserEntry {
                user,
                sockets: count(sockets),
            })
            .collect(),
        anonymous: count(paged.anonymous),
        user_count: count(paged.count),
        socket_count: count(paged.sockets),
        missing: Missing {
            missing_nodes: Vec::new(),
            missing_others: 0,
            truncated: false,
        },
    })
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
