//! Keeps a connection to Redis open. While there is none, questions fail at once.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};
use ziggurat_middleware::store::StoreError;

use super::connection::Connection;
use super::figures::{Failure, Figures};
use super::options::StoreOptions;
use super::resp::{Reply, command};
use super::script::Question;
use crate::upstream::{Address, Host, Stream, TlsClient, dial};

/// The first pause before a connection is opened anew, and the longest. A connection that has answered resets it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The connection to a Redis, from one to the next.
pub(super) struct Link {
    options: StoreOptions,
    /// The folder of a relative path to a socket.
    base: PathBuf,
    current: ArcSwapOption<Connection>,
    pub(super) figures: Figures,
}

impl Link {
    pub(super) fn new(options: StoreOptions, base: PathBuf) -> Self {
        let figures = Figures::new(options.url.to_string());
        Self { options, base, current: ArcSwapOption::empty(), figures }
    }

    /// Opens connections for ever.
    pub(super) async fn run(self: Arc<Self>, tls: Option<TlsClient>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let answered = self.figures.answered();
            let reason = match self.connect(tls.as_ref()).await {
                Ok(reason) | Err(reason) => self.without_secrets(&reason),
            };
            self.current.store(None);
            self.figures.went_down(reason);
            if self.figures.answered() > answered {
                pause = FIRST_PAUSE;
            }
            // Not all processes at the same time.
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Sends a question, now. The future gives the answer, or why there is none in time.
    pub(super) fn ask(self: &Arc<Self>, question: Question) -> impl Future<Output = Result<Reply, StoreError>> + Send + use<> {
        let since = Instant::now();
        let sent = self.send(question.short());
        let link = Arc::clone(self);
        async move {
            let (connection, reply) = sent?;
            let answer = async {
                match reply.await {
                    // It was restarted, or told to forget its scripts.
                    Ok(Reply::Error(error)) if error.starts_with("NOSCRIPT") => connection.send(question.whole())?.await.ok(),
                    reply => reply.ok(),
                }
            };
            match timeout(link.options.timeout.0, answer).await {
                Ok(Some(Reply::Error(error))) => {
                    let error = link.without_secrets(&error);
                    connection.fail(error.clone());
                    Err(link.failed(Failure::Refused, error))
                }
                Ok(Some(reply)) => {
                    link.figures.observe(since.elapsed());
                    Ok(reply)
                }
                Ok(None) => Err(link.failed(Failure::Unreachable, link.figures.why())),
                Err(_) => {
                    let error = format!("no answer within {}", link.options.timeout);
                    connection.fail(error.clone());
                    Err(link.failed(Failure::Timeout, error))
                }
            }
        }
    }

    /// Sends a command whose answer nobody waits for. It is lost if there is no connection.
    pub(super) fn tell(&self, words: &[Bytes]) {
        drop(self.send(command(words)));
    }

    pub(super) fn under_way(&self) -> usize {
        self.current.load().as_ref().map_or(0, |connection| connection.under_way())
    }

    fn send(&self, octets: Vec<u8>) -> Result<(Arc<Connection>, tokio::sync::oneshot::Receiver<Reply>), StoreError> {
        let current = self.current.load_full().filter(|connection| !connection.is_given_up());
        let connection = current.ok_or_else(|| self.failed(Failure::Unreachable, self.figures.why()))?;
        match connection.send(octets) {
            Some(reply) => Ok((connection, reply)),
            None => Err(self.failed(Failure::Full, "too many requests wait for it")),
        }
    }

    fn failed(&self, failure: Failure, why: impl Into<std::borrow::Cow<'static, str>>) -> StoreError {
        self.figures.count(failure);
        StoreError::new(why)
    }

    /// Opens a connection, and serves it until it is given up. Both results say why.
    async fn connect(&self, tls: Option<&TlsClient>) -> Result<String, String> {
        let limit = self.options.connect_timeout;
        let late = |_| format!("no connection within {limit}");
        let stream = timeout(limit.0, self.open(tls)).await.map_err(late)??;
        let (connection, run) = Connection::over(stream);
        let mut run = pin!(run);
        tokio::select! {
            error = &mut run => return Err(error.to_string()),
            greeted = timeout(limit.0, self.greet(&connection)) => greeted.map_err(late)??,
        }
        self.connected(&connection);
        Ok(tokio::select! {
            error = run => error.to_string(),
            reason = connection.failure() => reason,
        })
    }

    /// Questions go through this connection from now on.
    pub(super) fn connected(&self, connection: &Arc<Connection>) {
        self.current.store(Some(Arc::clone(connection)));
        self.figures.came_up();
    }

    async fn open(&self, tls: Option<&TlsClient>) -> Result<Box<dyn Stream>, String> {
        let (addresses, host) = match &self.options.url.host {
            Host::Unix(path) => (vec![Address::Unix(self.base.join(path).into())], String::new()),
            Host::Ip(address) => (vec![Address::Ip(*address)], address.ip().to_string()),
            Host::Name(name, port) => {
                let found = lookup_host((&**name, *port)).await.map_err(|error| error.to_string())?;
                (found.map(Address::Ip).collect(), name.to_string())
            }
        };
        let mut refused = "its name has no address".to_owned();
        for address in addresses {
            match dial(&address, b"", tls.map(|tls| (tls, host.as_str()))).await {
                Ok(dialed) => return Ok(dialed.io.into_inner()),
                Err(failure) => refused = failure.to_string(),
            }
        }
        Err(refused)
    }

    /// Says who asks and for which database, and tries whether entries can be written: not on a replica, not without memory, not without the right to.
    async fn greet(&self, connection: &Connection) -> Result<(), String> {
        let (user, password) = self.options.credentials();
        if let Some(password) = password {
            let words = [Some("AUTH"), user, Some(password)];
            let words: Vec<&str> = words.into_iter().flatten().collect();
            self.demand(connection, command(&words)).await?;
        }
        let database = self.options.url.database;
        if database != 0 {
            self.demand(connection, command(&["SELECT", &database.to_string()])).await?;
        }
        let probe = format!("{}probe", self.options.prefix);
        let probe = self.demand(connection, command(&["SET", &probe, "1", "PX", "1000"]));
        timeout(self.options.timeout.0, probe).await.map_err(|_| format!("no answer within {}", self.options.timeout))?
    }

    async fn demand(&self, connection: &Connection, octets: Vec<u8>) -> Result<(), String> {
        let reply = connection.send(octets).ok_or("too many commands are under way")?;
        match reply.await {
            Ok(Reply::Error(error)) => Err(error),
            Ok(_) => Ok(()),
            Err(_) => Err("it has closed the connection".to_owned()),
        }
    }

    /// What it says, as part of a log line. An error of Redis may repeat the arguments of a command.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        const MOST: usize = 200;
        let (user, password) = self.options.credentials();
        let text = [user, password]
            .into_iter()
            .flatten()
            .filter(|secret| secret.len() > 2)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        text.chars().filter(|c| !c.is_control()).take(MOST).collect()
    }
}
