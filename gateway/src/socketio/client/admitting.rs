//! Whether a user may have one more socket.

use std::rc::Rc;

use serde_json::json;

use super::Client;
use crate::engine::session::Session;
use crate::socketio::application::Refusal;
use crate::socketio::socket::Socket;
use crate::users::UserRefusal;

impl Client {
    /// Whether its user, and its token, may connect. To be asked again when somebody may have said whose socket it
    /// is. With neither blocks nor `limits.connections_per_user` it costs a look at two numbers.
    pub(super) fn may_connect(
        &self,
        session: &Rc<Session>,
        socket: &Socket,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = socket.denied() {
            return Err(refusal);
        }
        match session.shard().limits().connections_per_user {
            None => Ok(()),
            Some(most) => self.count(session, socket, most.get()),
        }
    }

    /// A session is one connection of a user, however many sockets of this user it has.
    fn count(&self, session: &Session, socket: &Socket, most: usize) -> Result<(), Refusal> {
        let Some(user) = socket.user() else {
            return Ok(());
        };
        let shard = session.shard();
        let counted = |of: &Socket| {
            let permit = shard.permit(&of.id());
            permit.filter(|permit| permit.user() == &*user)
        };
        if counted(socket).is_some() {
            return Ok(());
        }
        let shared = self.sockets.borrow().iter().find_map(counted);
        let users = shard.node().users();
        let permit = shared.or_else(|| users.connections.enter(&user, most).map(Rc::new));
        let Some(permit) = permit else {
            users.counters.refused.now(UserRefusal::TooMany).increment();
            let refusal = Refusal::new("the user has too many connections");
            return Err(refusal.with_data(&json!({"code": "too_many_connections"})));
        };
        shard.set_permit(socket.id(), permit);
        Ok(())
    }
}
