//! Feature `defects`: panics on demand, for the test that no panic crosses into Node.
#![allow(clippy::panic)] // That is what it is there for.

use super::client::Client;
use super::value::Fault;

/// Panics where the SQL text says.
pub(super) fn strike(client: &Client, sql: &str) -> Result<(), Fault> {
    match sql {
        "panic in a call" => panic!("asked for"),
        "panic in a command" => Ok(client.run(|_| panic!("asked for"))?),
        "panic in a turn" => {
            client.panic_in_turn.set(true);
            Ok(())
        }
        _ => Ok(()),
    }
}
