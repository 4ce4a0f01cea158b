//! The options of `cgi`.

use schemars::JsonSchema;
use serde::Deserialize;
use ziggurat_middleware::units::Duration;

use crate::apps::gateway::Params;
use crate::upstream::QueueOptions;

/// Runs a CGI program for each request (RFC 3875), and sends its output as the response.
///
/// With `program`, every request is for this one, and the path is in `PATH_INFO`. With `root`, the path names the program in this folder: the first part of it that is an executable file. What
/// is not there, hidden or outside of the folder is 404.
///
/// A program runs in its folder and in a process group of its own, with the variables of the request, `PATH` and `env`, and nothing else of the server's environment. When the program
/// has ended, or goes on for 5 s after its response, or the client has left, the group is killed, with what the program has put into the background. What has to go on needs a group of its own (`setsid`). The body of the request streams to standard input. What a program writes to standard error is in the log, up to 8 KiB for each request.
///
/// The client gets `502` if a program ends without the head of a response, `504` if it takes longer than `timeout`, and `503` with `Retry-After` if too many run for longer than the queue allows.
///
/// ```json
/// {
///   "app": { "cgi": {
///     "program": "/usr/lib/git-core/git-http-backend",
///     "env": { "GIT_PROJECT_ROOT": "/srv/git", "GIT_HTTP_EXPORT_ALL": "1" }
///   } }
/// }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cgi {
    /// The program. A relative path starts at the folder of the pipeline file.
    #[serde(default)]
    pub(super) program: Option<String>,
    /// The folder of the programs.
    #[serde(default)]
    pub(super) root: Option<String>,
    /// The arguments of the `program`.
    #[serde(default)]
    pub(super) arguments: Vec<String>,
    /// Further environment variables, in place of those that the request has.
    #[serde(default)]
    pub(super) env: Params,
    /// The most programs that run at the same time.
    #[serde(default = "limit")]
    #[schemars(range(min = 1))]
    pub(super) limit: usize,
    /// Where requests wait while `limit` programs run.
    #[serde(default)]
    pub(super) queue: QueueOptions,
    /// The longest time to the head of a response.
    #[serde(default = "time")]
    pub(super) timeout: Duration,
    /// The longest pause in the body of a response.
    #[serde(default = "time")]
    pub(super) idle: Duration,
}

const fn limit() -> usize {
    16
}

const fn time() -> Duration {
    Duration::secs(60)
}
