//! How many connections the pool has, how many are wanted, and for how long one is used.

use super::Pool;
use super::doors::Status;

impl Pool {
    pub fn status(&mut self) -> Status {
        let (size, available) = (self.connections.size(), self.connections.available());
        Status {
            max_size: self.config.pool_size,
            size,
            available,
            in_use: size - available,
            waiting: self.requests.waiting.len(),
        }
    }
}
