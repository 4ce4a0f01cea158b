//! What a layer or an app does with the options that it has, as data with values: the order lints compare them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, StatusCode};

/// One thing that a layer or an app does: [`Middleware::effects`](crate::Middleware::effects) and [`App::effects`](crate::App::effects) list them.
///
/// [`Behavior`](crate::Behavior) says what every layer of a kind does. An effect depends on the options of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Acts on the client's address. Other layers of the kind do not, so it is no [`Behavior`](crate::Behavior).
    NeedsClient,
    /// Acts on the user that an authentication layer above has determined.
    NeedsUser,
    /// Believes no proxy.
    TrustsNobody,
    /// Believes what every client says about itself.
    TrustsEverybody,
    /// Lets requests through by the address of their client.
    AdmitsClients,
    /// Lets in everybody by address but for clients that it names.
    AdmitsEverybody,
    /// Passes every request on, although layers of its kind answer some ([`Behavior::AnswersEarly`](crate::Behavior::AnswersEarly)).
    PassesEverything,
    /// Refuses some requests with this status.
    RefusesWith(StatusCode),
    /// Gives errors with these statuses a page.
    GivesPages(RangeInclusive<u16>),
    /// Answers every request with an error while the site is closed.
    ClosesSite,
    /// Takes passwords from requests.
    TakesPasswords,
    /// Takes keys or tokens from requests: whoever reads one on the way can use it, and nobody can guess one.
    TakesTokens,
    /// Bounds how many requests of one client pass in a time.
    LimitsRate,
    /// Leaves some clients out of what it limits.
    ExemptsClients,
    /// Keeps counts in the memory of one process.
    CountsPerProcess,
    /// Answers the preflight requests of CORS.
    AnswersPreflights,
    /// Lets pages of these origins call from a browser (CORS); `None` for all.
    LetsOriginsCall(Option<Vec<String>>),
    /// Refuses what pages of other origins would change, but for these origins.
    RefusesOtherOrigins(Vec<String>),
    /// Shows figures about the program or the site.
    ShowsFigures,
    /// Asks browsers to use https from now on (RFC 6797).
    SendsHsts,
    /// Acts on this request header.
    ReadsRequestHeader(HeaderName),
    /// Removes this request header.
    RemovesRequestHeader(HeaderName),
    /// Gives requests this header, or another value of it.
    SetsRequestHeader(HeaderName),
    /// Adds this response header where it is missing.
    AddsHeader(HeaderName),
    /// Sets this response header, or removes it, whatever the layers below have set.
    SetsHeader(HeaderName),
    /// Sets this response header to what is true of one request only, such as its id, its time or what is left of a limit.
    SetsMoment(HeaderName),
    /// Sends links to every client, before the layers below have decided anything.
    SendsLinks,
    /// Gives each response a secret of its own, which its page holds too.
    MakesNonces,
    /// Refuses request bodies of more octets.
    BoundsBody(u64),
    /// Takes the content coding off request bodies: what is above counts coded octets.
    DecodesBody,
    /// Refuses request bodies that are of more octets without their coding.
    BoundsDecodedBody(u64),
    /// Sends copies of requests to another server.
    MirrorsRequests,
    /// Calls what is below while the request body still arrives.
    StreamsBody,
    /// Answers at the latest after this time.
    AnswersWithin(Duration),
    /// Lets requests wait in a queue for so long.
    WaitsUpTo(Duration),
    /// Serves the files of a folder.
    ServesFolder(ServedFolder),
    /// Sends files of this folder where the app says so.
    SendsFolder(PathBuf),
    /// Runs the programs in this folder.
    RunsFolder(PathBuf),
    /// Uses a file that clients must not read.
    UsesPrivateFile(PathBuf),
    /// Redirects all requests to this address, as the file writes it.
    RedirectsTo(String),
    /// Redirects to the path with a slash at its end (`true`), or to the one without (`false`).
    EndsPathsWithSlash(bool),
    /// Gives requests this path, as the file writes it.
    RewritesTo(String),
    /// Calls this Python object: `package.module:object`.
    CallsPython(String),
}

/// A folder whose files clients can get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedFolder {
    /// The path of the URL below which the files are.
    pub at: String,
    /// The folder.
    pub root: PathBuf,
    /// Whether files are served whose names begin with a dot.
    pub dotfiles: bool,
    /// The name of the file that is served for its folder, at a path that ends in a slash: the path without is redirected.
    pub index: Option<String>,
    /// Whether paths without a file are answered, too.
    pub has_fallback: bool,
}

/// The effects of one layer or app, each with the option that it comes from.
///
/// ```
/// use ziggurat_middleware::{Effect, Effects};
///
/// let mut effects = Effects::default();
/// effects.add(Effect::LimitsRate);
/// effects.by("at_most", Effect::BoundsBody(1024));
/// assert!(effects.iter().any(|effect| *effect == Effect::LimitsRate));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Effects(Vec<(Effect, Option<&'static str>)>);

impl Effects {
    /// Adds an effect.
    pub fn add(&mut self, effect: Effect) {
        self.0.push((effect, None));
    }

    /// Adds an effect that has its value from this option; `queue.wait` is an option within an option. Where the file leaves the option to its default, no lint is about the value.
    pub fn by(&mut self, option: &'static str, effect: Effect) {
        self.0.push((effect, Some(option)));
    }

    /// Adds a refusal with each of these statuses.
    pub fn refuse_with<const N: usize>(&mut self, statuses: [StatusCode; N]) {
        self.0.extend(statuses.map(|status| (Effect::RefusesWith(status), None)));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter().map(|(effect, _)| effect)
    }

    /// Removes those whose option is not among these.
    pub fn retain_given(&mut self, is_given: impl Fn(&str) -> bool) {
        self.0.retain(|(_, option)| option.is_none_or(&is_given));
    }
}
