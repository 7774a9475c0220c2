//! The signals of CancelRequests.

use super::states::Sleep;
use super::{CANCELED, Server};

impl Server {
    /// The signal of a CancelRequest: it ends a sleeping statement. Returns whether it hit one.
    pub fn cancel(&mut self, session: u64, out: &mut Vec<u8>) -> bool {
        let Some(state) = self.sessions.get_mut(&session) else { return false };
        if state.sleep != Sleep::Asleep {
            return false;
        }
        state.sleep = Sleep::Awake;
        state.next_message();
        state.error("57014", CANCELED, out);
        true
    }

    /// The signal of a CancelRequest comes too late for its statement, and will hit the next
    /// question for the host's history.
    pub fn cancel_question(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.cancels_question = true;
        }
    }
}
