//! What a login has shown that an attacker could use.

use std::fmt;

/// Each is worth one warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// There is a password, and the server did not ask for it over an open network.
    NoPassword,
    /// The server asked for an MD5 hash over an open network.
    Md5,
    /// The server asked for so few iterations of SCRAM.
    FewIterations(u32),
}

impl Weakness {
    /// Its name among the weaknesses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPassword => "no-password",
            Self::Md5 => "md5",
            Self::FewIterations(_) => "few-iterations",
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPassword => f.write_str(
                "did not ask for the password, over an unencrypted connection: anyone in between could be \
                 that server. Give ssl: true, or requireAuth: 'scram-sha-256'",
            ),
            Self::Md5 => f.write_str(
                "asked for an MD5 hash of the password over an unencrypted connection, from which the password \
                 can be guessed. Give ssl: true, or use scram-sha-256 in pg_hba.conf",
            ),
            Self::FewIterations(count) => write!(
                f,
                "asked for {count} iterations of SCRAM, and 4096 are the least that is safe: set the password \
                 anew, with scram_iterations at 4096 or more"
            ),
        }
    }
}
