//! Checks passwords on the blocking pool, a few at a time, and caches the correct ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::credentials::Credentials;
use super::turns::Turns;
use super::users::{UserFile, Users};
use crate::{ClientShare, Problem};

/// How long a correct password is not checked again.
const CACHE_TIME: Duration = Duration::from_secs(60);

/// How many correct passwords are cached.
const CACHE_SIZE: usize = 4096;

/// How many checks of one client may wait for each that runs, and of all clients.
const WAITING_PER_RUNNING: usize = 64;
const ALL_WAITING_PER_RUNNING: usize = 1024;

/// Checks passwords.
pub(super) struct Verifier {
    file: Arc<UserFile>,
    cache: PasswordCache,
    turns: Arc<Turns>,
}

impl Verifier {
    pub(super) fn new(file: UserFile) -> Self {
        // Half the cores: guesses then cannot take the whole machine.
        let running = available_parallelism().map_or(1, |cores| usize::from(cores).div_ceil(2));
        let turns = Turns::new(running, running * WAITING_PER_RUNNING, running * ALL_WAITING_PER_RUNNING);
        Self { file: Arc::new(file), cache: PasswordCache::new(), turns: Arc::new(turns) }
    }

    /// Whether the password is correct; 503 if too many checks wait already, or the users are not known.
    pub(super) async fn verify(&self, credentials: Credentials, client: ClientShare) -> Result<bool, Problem> {
        let unavailable = |detail, seconds: &'static str| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail);
            problem.header(RETRY_AFTER, HeaderValue::from_static(seconds))
        };
        let Some(users) = self.file.current().await else { return Err(unavailable("the users cannot be read", "10")) };
        let key = self.cache.key(&credentials);
        if self.cache.contains(&key, &users) {
            return Ok(true);
        }
        let Some(turn) = self.turns.wait(client).await else { return Err(unavailable("too many passwords wait to be checked", "1")) };
        // A browser sends several requests at once: the first check serves all.
        if self.cache.contains(&key, &users) {
            return Ok(true);
        }
        let checked = Arc::clone(&users);
        let check = move || {
            // Held here, because the check continues if the client disconnects.
            let _turn = turn;
            checked.verify(&credentials.user, &credentials.password)
        };
        let right = spawn_blocking(check).await.map_err(Problem::internal)?;
        if right {
            self.cache.insert(key, &users);
        }
        Ok(right)
    }
}

/// Correct passwords, as digests with a random key. An entry is valid for the version of the file that it was checked against.
struct PasswordCache {
    secret: [u8; 16],
    entries: Mutex<HashMap<[u8; 32], CacheEntry>>,
}

struct CacheEntry {
    users: Weak<Users>,
    since: Instant,
}

impl CacheEntry {
    fn is_valid(&self, users: &Arc<Users>) -> bool {
        self.users.as_ptr() == Arc::as_ptr(users) && self.since.elapsed() < CACHE_TIME
    }
}

impl PasswordCache {
    fn new() -> Self {
        Self { secret: *uuid::Uuid::new_v4().as_bytes(), entries: Mutex::default() }
    }

    fn key(&self, credentials: &Credentials) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.secret);
        // A name contains no colon, so the digest is unambiguous.
        digest.update(&credentials.user);
        digest.update(b":");
        digest.update(&credentials.password);
        digest.finalize().into()
    }

    fn contains(&self, key: &[u8; 32], users: &Arc<Users>) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).is_some_and(|entry| entry.is_valid(users))
    }

    fn insert(&self, key: [u8; 32], users: &Arc<Users>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHE_SIZE {
            entries.retain(|_, entry| entry.is_valid(users));
        }
        if entries.len() < CACHE_SIZE {
            entries.insert(key, CacheEntry { users: Arc::downgrade(users), since: Instant::now() });
        }
    }
}
