//! Sockets that the program did not open itself: systemd passes them (`LISTEN_FDS`, socket activation).

use gateway::Listener;
use listenfd::ListenFd;
use socket2::SockRef;

/// Most sockets that are taken.
const MAX_PASSED: usize = 64;

/// The descriptor of the first one.
const FIRST: usize = 3;

/// What was passed: nothing, or sockets for the clients' port, the internal one, or both.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) clients: Vec<Listener>,
    pub(crate) internal: Vec<Listener>,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Clients,
    Internal,
}

/// Takes what was passed to this process. To be called before it has threads.
///
/// # Errors
///
/// What does not fit, in words.
pub(crate) fn take() -> Result<Passed, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let for_us = variable("LISTEN_PID").and_then(|id| id.parse().ok()) == Some(std::process::id());
    let Some(count) = variable("LISTEN_FDS").filter(|_| for_us) else {
        return Ok(Passed::default());
    };
    let count = match count.parse() {
        Ok(count) if count <= MAX_PASSED => count,
        Ok(_) | Err(_) => {
            return Err(format!(
                "LISTEN_FDS: {count:?} is no number up to {MAX_PASSED}"
            ));
        }
    };
    let names = variable("LISTEN_FDNAMES");
    let names = names.as_deref().map(|names| names.split(':').collect());
    let names: Vec<&str> = names.unwrap_or_else(|| vec![""; count]);
    if names.len() != count {
        let named = names.len();
        return Err(format!("LISTEN_FDNAMES: {named} names for {count} sockets"));
    }
    let roles = roles(&names)?;
    let mut sockets = ListenFd::from_env();
    let mut passed = Passed::default();
    for (index, role) in roles.into_iter().enumerate() {
        let socket = listener(&mut sockets, index, names[index])?;
        match role {
            Role::Clients => passed.clients.push(socket),
            Role::Internal => passed.internal.push(socket),
        }
    }
    Ok(passed)
}

/// What each is for, by its name: `clients` or `internal`, or a unit's name that ends so. If none has
/// such a name, the first is for clients, and the second is the internal one.
fn roles(names: &[&str]) -> Result<Vec<Role>, String> {
    let named: Vec<_> = names.iter().map(|name| role(name)).collect();
    if named.iter().all(Option::is_none) && names.iter().all(|name| is_unnamed(name)) {
        let order = [Role::Clients, Role::Internal];
        return match order.get(..names.len()) {
            Some(order) => Ok(order.to_vec()),
            None => Err(format!(
                "{} sockets without names were passed; with more than two, FileDescriptorName= says \
                 `clients` or `internal` of each",
                names.len()
            )),
        };
    }
    let named = named.into_iter().zip(names).enumerate();
    named
        .map(|(index, (role, name))| {
            role.ok_or_else(|| {
                let descriptor = FIRST + index;
                format!(
                    "the socket that was passed as descriptor {descriptor} has the name {name:?}; \
                     FileDescriptorName= has to be `clients` or `internal`"
                )
            })
        })
        .collect()
}

fn role(name: &str) -> Option<Role> {
    let name = name.strip_suffix(".socket").unwrap_or(name);
    let last = name.rsplit('-').next().unwrap_or(name);
    match last {
        "clients" => Some(Role::Clients),
        "internal" => Some(Role::Internal),
        _ => None,
    }
}

/// Whether systemd, or nobody, gave it this name.
fn is_unnamed(name: &str) -> bool {
    name.is_empty() || name == "unknown" || name.ends_with(".socket")
}

fn listener(sockets: &mut ListenFd, index: usize, name: &str) -> Result<Listener, String> {
    let wrong = |problem: &str| {
        let descriptor = FIRST + index;
        format!("the socket that was passed as descriptor {descriptor} ({name:?}) {problem}")
    };
    let listener = match (
        sockets.take_tcp_listener(index),
        sockets.take_unix_listener(index),
    ) {
        (Ok(Some(listener)), _) => Listener::Tcp(listener),
        (_, Ok(Some(listener))) => Listener::Unix(listener),
        _ => return Err(wrong("is no stream of TCP or of a file: use ListenStream=")),
    };
    let listens = match &listener {
        Listener::Tcp(listener) => SockRef::from(listener).is_listener(),
        Listener::Unix(listener) => SockRef::from(listener).is_listener(),
        _ => Ok(false),
    };
    match listens {
        Ok(true) => Ok(listener),
        Ok(false) | Err(_) => Err(wrong("does not listen: Accept= has to be no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Clients, Internal};

    #[test]
    fn names_say_what_sockets_are_for() {
        for (names, expected) in [
            (&["clients"][..], &[Clients][..]),
            (
                &["internal", "clients", "clients"],
                &[Internal, Clients, Clients],
            ),
            (&["gateway-internal.socket"], &[Internal]),
            (
                &["clients.socket", "gateway-internal"],
                &[Clients, Internal],
            ),
            (&[], &[]),
        ] {
            assert_eq!(roles(names).unwrap(), expected, "{names:?}");
        }
    }

    #[test]
    fn without_names_the_order_counts() {
        for names in [
            &["", ""][..],
            &["unknown", "unknown"],
            &["gateway.socket"; 2],
        ] {
            assert_eq!(roles(names).unwrap(), [Clients, Internal]);
            assert_eq!(roles(&names[..1]).unwrap(), [Clients]);
        }
        let problem = roles(&["", "", ""]).unwrap_err();
        assert!(problem.starts_with("3 sockets without names"), "{problem}");
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        for (names, descriptor) in [(&["web"][..], 3), (&["clients", "unknown"], 4)] {
            let problem = roles(names).unwrap_err();
            assert!(
                problem.contains(&format!("descriptor {descriptor} ")),
                "{problem}"
            );
        }
    }
}
