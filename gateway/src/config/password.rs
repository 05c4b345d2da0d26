//! A password that only its hash is known of.

use std::fmt;

use argon2::password_hash::{PasswordHash as Argon2Hash, PasswordVerifier};
use argon2::{Argon2, Params};

/// The hash of a password, by bcrypt or by Argon2. It cannot be printed.
///
/// Verifying takes as long as the hash says, up to a second or two.
///
/// ```
/// use gateway::Config;
///
/// let config = Config::from_toml(
///     "admin.user = \"ann\"\n\
///      admin.password = \"$2b$04$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui\"",
/// );
/// # let Ok(config) = config else { panic!("{config:?}") };
/// assert!(!config.admin.unwrap().password.verify(b"something else"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

/// The most work that a hash of bcrypt may take: a second.
const MAX_COST: u32 = 14;

/// Kibibytes of memory that a hash of Argon2 may take.
const MAX_MEMORY: u32 = 64 * 1024;

/// How often it may pass over them.
const MAX_PASSES: u32 = 10;

/// How many lanes it may have.
const MAX_LANES: u32 = 16;

/// Longest password that is looked at.
const MAX_PASSWORD: usize = 1024;

/// What is wrong with a text that is no hash.
const NEITHER: &str = "neither a hash of bcrypt ($2b$..) nor of Argon2 ($argon2id$..)";

impl PasswordHash {
    /// Reads it. The error never repeats it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if is_bcrypt(text) {
            check_bcrypt(text)?;
        } else if text.starts_with("$argon2") {
            check_argon2(text)?;
        } else {
            return Err(format!("{NEITHER}; a password itself is never set"));
        }
        Ok(Self(text.into()))
    }

    /// Whether this is the hash of `password`. It takes as long for one password as for another.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > MAX_PASSWORD {
            return false;
        }
        if is_bcrypt(&self.0) {
            return bcrypt::verify(password, &self.0).unwrap_or(false);
        }
        let hash = Argon2Hash::new(&self.0);
        hash.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }

    /// Returns the text itself, to derive keys from.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

fn is_bcrypt(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|begin| text.starts_with(begin))
}

fn check_bcrypt(text: &str) -> Result<(), String> {
    let parts = text.parse::<bcrypt::HashParts>();
    let parts = parts.map_err(|_| format!("begins as a hash of bcrypt, and is {NEITHER}"))?;
    let cost = parts.get_cost();
    if cost > MAX_COST {
        return Err(format!(
            "a hash of cost {cost}, which takes too long; {MAX_COST} is the most"
        ));
    }
    Ok(())
}

fn check_argon2(text: &str) -> Result<(), String> {
    let wrong = |_| format!("begins as a hash of Argon2, and is {NEITHER}");
    let hash = Argon2Hash::new(text).map_err(wrong)?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err("a hash of Argon2 without its salt or its end".to_owned());
    }
    let params = Params::try_from(&hash).map_err(wrong)?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if memory > MAX_MEMORY || passes > MAX_PASSES || lanes > MAX_LANES {
        return Err(format!(
            "a hash of m={memory},t={passes},p={lanes}, which takes too much; the most is \
             m={MAX_MEMORY},t={MAX_PASSES},p={MAX_LANES}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bcrypt_of(password: &str) -> String {
        let hash = bcrypt::hash_with_salt(password, 4, [7; 16]);
        hash.unwrap().to_string()
    }

    fn argon2_of(password: &str) -> String {
        use argon2::PasswordHasher;
        use argon2::password_hash::SaltString;
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let hash = argon2.hash_password(password.as_bytes(), &salt);
        hash.unwrap().to_string()
    }

    #[test]
    fn the_password_of_a_hash_is_known_and_no_other() {
        let (bcrypt, argon2) = (bcrypt_of("s3cret"), argon2_of("s3cret"));
        // As htpasswd and PHP write it.
        let other = bcrypt.replacen("$2b$", "$2y$", 1);
        for hash in [&bcrypt, &argon2, &other] {
            let hash = PasswordHash::parse(hash).unwrap();
            assert!(hash.verify(b"s3cret"));
            for wrong in [&b""[..], b"s3cre", b"s3cret ", b"S3cret", &[b'x'; 5000]] {
                assert!(!hash.verify(wrong), "{wrong:?}");
            }
            assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
        }
    }

    #[test]
    fn known_hashes_of_others_are_taken() {
        // From the tests of OpenBSD's and of the reference implementation.
        let bcrypt = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        PasswordHash::parse(bcrypt).unwrap();
        let argon2 = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let argon2 = PasswordHash::parse(argon2).unwrap();
        assert!(argon2.verify(b"password") && !argon2.verify(b"Password"));
    }

    #[test]
    fn what_is_no_hash_or_takes_too_much_is_refused_and_not_repeated() {
        let costly = bcrypt_of("x").replacen("$04$", "$15$", 1);
        for (text, expected) in [
            ("hunter2hunter2", "a password itself is never set"),
            ("", "a password itself is never set"),
            ("$2b$10$hunter2", "neither a hash of bcrypt"),
            ("$argon2id$hunter2", "without its salt or its end"),
            (
                "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
                "without its salt or its end",
            ),
            (
                &costly,
                "a hash of cost 15, which takes too long; 14 is the most",
            ),
            (
                "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "which takes too much",
            ),
        ] {
            let said = PasswordHash::parse(text).unwrap_err();
            assert!(said.contains(expected), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
