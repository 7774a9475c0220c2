//! Which connection derives its key in this turn of the loop, if several connections log in by
//! SCRAM at the same time.
//!
//! The loop has time for one slice in each turn (`src/protocol/scram.rs`), however many hosts are
//! raced. The connection that needs the fewest further slices gets it. So a host that asks for as
//! many iterations as it may does not delay the others. If several connections need the same key,
//! one of them derives it for all.

use super::{ConnectionId, Connections};
use crate::base::Instant;

impl Connections {
    /// The connection that may continue to derive its key.
    pub(in crate::pool) fn next_to_derive(&mut self, now: Instant) -> Option<ConnectionId> {
        let left = self.apart().filter_map(|(id, slot)| {
            let left = slot.connection.derivation_left(now)?;
            Some((left, id))
        });
        left.min_by_key(|(left, _)| *left).map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::from_json;
    use crate::connection::{Input, Peer, Security};
    use crate::pool::{Output, Pool, Query, QueryFlags};
    use crate::types::Params;

    const NOW: Instant = Instant::ORIGIN;

    fn authentication(kind: u8, body: &str) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
        [b"R", &length[..], &[0, 0, 0, kind], body.as_bytes()].concat()
    }

    /// A pool that logs in to one host for each `salt,iterations`, and has received their
    /// challenges.
    fn challenged(hosts: &[(&str, u32)]) -> (Pool, Vec<ConnectionId>) {
        let names: Vec<_> = (0..hosts.len()).map(|n| format!("h{n}")).collect();
        let config = from_json(&json!({ "hosts": names, "user": "u", "password": "p" })).unwrap();
        let mut pool = Pool::new(Arc::new(config), 1, NOW);
        let statement = pool.statement("SELECT 1");
        let (lease, params, flags) = (None, Params::new(), QueryFlags(0));
        pool.query(NOW, Query { request: 1, lease, statement, params, flags });
        pool.flush(NOW);
        let opened: Vec<_> = std::iter::from_fn(|| pool.poll_output())
            .filter_map(|output| match output {
                Output::Open { connection, .. } => Some(connection),
                _ => None,
            })
            .collect();
        assert_eq!(opened.len(), hosts.len());
        for (id, (salt, iterations)) in opened.iter().zip(hosts) {
            pool.handle_input(
                NOW,
                *id,
                Input::Connected(Peer { nonce: [7; 18], local: false, security: Security::Plain }),
            );
            let offer = authentication(10, "SCRAM-SHA-256\0\0");
            pool.handle_input(NOW, *id, Input::Received(&offer));
            // The nonce above in base64.
            let nonce = "BwcH".repeat(6);
            let challenge = authentication(11, &format!("r={nonce}x,s={salt},i={iterations}"));
            pool.handle_input(NOW, *id, Input::Received(&challenge));
            let taken = pool.outgoing(*id).len();
            pool.advance(*id, taken);
        }
        (pool, opened)
    }

    /// After how many turns each connection had its proof.
    fn turns(hosts: &[(&str, u32)]) -> Vec<usize> {
        let (mut pool, connections) = challenged(hosts);
        let mut done = vec![0; hosts.len()];
        for turn in 1..=200 {
            pool.handle_timeout(NOW);
            for (id, done) in connections.iter().zip(&mut done) {
                if *done == 0 && !pool.outgoing(*id).is_empty() {
                    *done = turn;
                }
            }
        }
        done
    }

    #[test]
    fn hosts_that_ask_at_once_share_the_slice_of_a_turn() {
        // 4096 iterations are three slices.
        assert_eq!(turns(&[("c2FsdA==", 4096)]), [3]);
        assert_eq!(turns(&[("YQ==", 4096), ("Yg==", 4096), ("Yw==", 4096)]), [3, 6, 9]);
    }

    #[test]
    fn a_key_is_derived_once_for_the_hosts_of_a_cluster() {
        assert_eq!(turns(&[("c2FsdA==", 4096); 3]), [3, 4, 5]);
    }

    #[test]
    fn a_greedy_host_holds_up_no_other() {
        assert_eq!(turns(&[("YQ==", 20_000), ("Yg==", 4096)]), [13, 3]);
    }
}
