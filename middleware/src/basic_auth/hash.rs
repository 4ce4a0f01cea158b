//! Password hashes that an htpasswd file may hold.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use bcrypt::HashParts;
use sha_crypt::ShaCrypt;
use subtle::ConstantTimeEq;

use super::apr1::apr1;

/// A password hash, checked to be well-formed. It has no `Debug`: a hash is not for logs.
pub(super) enum Hash {
    Bcrypt(String),
    Argon2(Box<PasswordHash>),
    ShaCrypt(String),
    Apr1 { salt: String, digest: String },
}

impl Hash {
    /// Reads a hash; the error says what is wrong without repeating any of it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let id = text.strip_prefix('$').and_then(|text| text.split('$').next());
        match id {
            Some("2a" | "2b" | "2y") => {
                let sound = text.parse::<HashParts>().is_ok_and(|hash| (4..=31).contains(&hash.get_cost()));
                if sound { Ok(Self::Bcrypt(text.to_owned())) } else { Err("the bcrypt hash is malformed") }
            }
            Some("argon2id" | "argon2i" | "argon2d") => argon2(text).ok_or("the argon2 hash is malformed"),
            Some("5") => sha_crypt(text, 43),
            Some("6") => sha_crypt(text, 86),
            Some("apr1") => match text.split('$').skip(2).collect::<Vec<_>>()[..] {
                [salt, digest] if is_crypt64(salt) && salt.len() <= 8 && is_crypt64(digest) && digest.len() == 22 => {
                    Ok(Self::Apr1 { salt: salt.to_owned(), digest: digest.to_owned() })
                }
                _ => Err("the apr1 hash is malformed"),
            },
            Some(_) => Err("this kind of hash is not known"),
            None if text.starts_with("{SHA}") => Err("SHA-1 without a salt is not safe"),
            None if text.starts_with('{') => Err("this kind of hash is not known"),
            None if text.is_empty() => Err("the hash is missing"),
            None => Err("this is no password hash but plain text or traditional crypt"),
        }
    }

    /// Whether `password` is the one. Takes from a tenth of a millisecond (apr1) to a second (as the hash says).
    pub(super) fn matches(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => Argon2::default().verify_password(password.as_bytes(), hash.as_ref()).is_ok(),
            Self::ShaCrypt(hash) => ShaCrypt::default().verify_password(password.as_bytes(), hash.as_str()).is_ok(),
            Self::Apr1 { salt, digest } => apr1(password.as_bytes(), salt.as_bytes()).ct_eq(digest.as_bytes()).into(),
        }
    }
}

fn argon2(text: &str) -> Option<Hash> {
    let mut hash = PasswordHash::new(text).ok()?;
    argon2::Params::try_from(&hash).ok()?;
    // A string without a version is of the first one, 1.0.
    argon2::Version::try_from(*hash.version.get_or_insert(0x10)).ok()?;
    (hash.salt.is_some() && hash.hash.is_some()).then(|| Hash::Argon2(Box::new(hash)))
}

/// `$5$` or `$6$`, `rounds=N$` where they are not 5000, salt, digest (Drepper, "Unix crypt using SHA-256 and SHA-512").
fn sha_crypt(text: &str, digest_len: usize) -> Result<Hash, &'static str> {
    let mut fields: Vec<_> = text.split('$').skip(2).collect();
    if fields.len() == 3 {
        let rounds = fields.remove(0).strip_prefix("rounds=").and_then(|rounds| rounds.parse().ok());
        if rounds.is_none_or(|rounds| sha_crypt::Params::new(rounds).is_err()) {
            return Err("the rounds of the SHA-crypt hash are malformed or below 1000");
        }
    }
    match fields[..] {
        [salt, digest] if (1..=16).contains(&salt.len()) && is_crypt64(salt) && is_crypt64(digest) && digest.len() == digest_len => {
            Ok(Hash::ShaCrypt(text.to_owned()))
        }
        _ => Err("the SHA-crypt hash is malformed"),
    }
}

fn is_crypt64(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with `openssl passwd`, glibc's crypt(3) and the reference implementation of argon2.
    const VECTORS: &[(&str, &str)] = &[
        ("", "$apr1$saltsalt$a8ml/vK5HEjiZ5oypDWA7/"),
        ("a", "$apr1$saltsalt$OEnK0QmmvoDzFw9W2yFYT/"),
        ("open sesame", "$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ."),
        ("pässwörd", "$apr1$saltsalt$i5XfNxJNeh2E8ljXycZFm0"),
        ("0123456789abcdef", "$apr1$saltsalt$noZiBycUL1t9WTQEO7/nr1"),
        ("a password of more than sixteen characters", "$apr1$saltsalt$e4EbMvW0wpu6omlUGkVqo/"),
        ("x", "$apr1$s$bHQMM1UunWFj8XWEuTGlW."),
        ("a", "$5$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8"),
        ("pässwörd", "$5$saltstring$bWOoCRTKNT.aiY/gJjvk1HjBYuRpcYQmcc5hqf6H4T4"),
        ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        ("a", "$6$0123456789abcdef$qn2kMgR/Cs9pZI2hZfok3cbi0oHyRjH7NUyfGhPKp6EBvlZWbL3JMmASYlyEBxhP4jB3zti0119AKDkHdAVHI0"),
        (
            "a password of more than sixteen characters, even longer than thirty-two and sixty-four of them",
            "$6$0123456789abcdef$GdSQUaYz21yfP5787qVeYCv/jXyGAmYfG4HNwQYpgWI1i2blwadnoCR4sA.zqcUi2OVeG2S0/Ev/sgT5c2JHF/",
        ),
        (
            "Hello world!",
            "$6$rounds=1000$saltstring$Zu2Vknok2/f53APfN687ADnzeNBLcsEgTwvcBHMD2./07rZQAt8vsuKVufD15dyZh.LOLB/uZKf6I3GyON4bp/",
        ),
        ("open sesame", "$2a$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"),
        ("open sesame", "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"),
        ("open sesame", "$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"),
        ("pässwörd", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$5u/z8tZgsm/g6ShxFJeaGQ"),
        ("pässwörd", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$1TggwBwlOCJZoS2obQjvZg"),
        ("pässwörd", "$argon2d$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$f3S61A/GG67HP6NNqLlgUw"),
        ("open sesame", "$argon2id$v=19$m=256,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$20aI6iPfDaEq9Dl2nJC0GZWythdc54PxX2buZ8oJ0+w"),
        ("open sesame", "$argon2i$v=16$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$iyiR8kx5qgzPrKJJkPUUAw"),
        ("open sesame", "$argon2i$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$iyiR8kx5qgzPrKJJkPUUAw"),
    ];

    #[test]
    fn hashes_of_other_programs_match_their_password_and_no_other() {
        for (password, text) in VECTORS {
            let hash = Hash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.matches(password), "{password} {text}");
            assert!(!hash.matches(&format!("{password}x")), "{text}");
        }
    }

    #[test]
    fn what_is_no_good_hash_is_refused() {
        for text in [
            "",
            "secret",
            "ab3jZ/dyf9tBo",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "{SSHA}xxxx",
            "{PLAIN}secret",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$2x$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy",
            "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/c",
            "$2b$99$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy",
            "$apr1$saltsalt$",
            "$apr1$saltsalt$a8ml/vK5HEjiZ5oypDWA7",
            "$apr1$saltsaltsalt$a8ml/vK5HEjiZ5oypDWA7/",
            "$apr1$saltsalt$a8ml/vK5HEjiZ5oypDWA7/$",
            "$5$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk",
            "$5$rounds=10$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8",
            "$5$rounds=x$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8",
            "$6$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0",
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHRzYWx0$5u/z8tZgsm/g6ShxFJeaGQ",
            "$argon2id$v=18$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$5u/z8tZgsm/g6ShxFJeaGQ",
            "$argon2x$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$5u/z8tZgsm/g6ShxFJeaGQ",
            "$y$j9T$abc$def",
            "$",
        ] {
            let Err(error) = Hash::parse(text) else { panic!("`{text}` is taken") };
            assert!(text.len() < 5 || !error.contains(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(id in "(\\$(2a|2b|2y|5|6|apr1|argon2id|argon2i)\\$)?", rest in "[$a-z0-9./=,+]{0,60}") {
            let _ = Hash::parse(&format!("{id}{rest}"));
        }
    }
}
