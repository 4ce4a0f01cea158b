//! `ziggurat explain`: the way of a request through the pipeline.

mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{FAILURE, File, MISUSE, color_on, complain, control, load, print, with};
use crate::pipeline::{Explanation, Question, Registry};

/// The widest that text is, where the terminal is wider or there is none.
const WIDTH: usize = 100;

#[derive(clap::Args)]
pub(super) struct Explain {
    /// The pipeline file (by default `pipeline.json`), the method (by default GET), and the URL or path.
    #[arg(value_name = "REQUEST", num_args = 1..=3, required = true)]
    request: Vec<String>,

    /// A header of the request, as `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,

    /// A cookie of the request, as `name=value`; may be repeated.
    #[arg(long = "cookie", value_name = "COOKIE")]
    cookies: Vec<String>,

    /// The size of the request's body, for instance `12MiB`.
    #[arg(long, value_name = "SIZE")]
    body_size: Option<String>,

    /// The peer of the connection: an IP address, or `unix`. By default the client is on this machine.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,

    /// A user name, or name and password with a colon between them, for HTTP Basic.
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// The subject of the client's certificate, for instance `CN=ann,O=Example`.
    #[arg(long, value_name = "SUBJECT")]
    client_cert: Option<String>,

    /// Asks the running server, over the control socket of the file: the explanation is that of the file that it runs, with how full limits are and which servers are healthy.
    #[arg(long)]
    live: bool,

    /// Prints the explanation as JSON.
    #[arg(long)]
    json: bool,
}

/// Explains the way of a request.
pub(super) fn explain(options: &Explain, registry: &Registry) -> u8 {
    let (path, question) = match options.question() {
        Ok(question) => question,
        Err(message) => return complain(&format!("error: {message}"), MISUSE),
    };
    if options.live {
        return control::explain_live(&File { path }, &question).map_or_else(|code| code, |explanation| show(&explanation, options.json));
    }
    with(load(&File { path }, registry), |pipeline| match pipeline.explain(&question) {
        Ok(explanation) => show(&explanation, options.json),
        Err(message) => complain(&format!("error: {message}"), MISUSE),
    })
}

fn show(explanation: &Explanation, json: bool) -> u8 {
    if !json {
        return print(&text::render(explanation, width(), color_on(&std::io::stdout())));
    }
    match serde_json::to_string_pretty(explanation) {
        Ok(json) => print(&format!("{json}\n")),
        Err(error) => complain(&format!("error: {error}"), FAILURE),
    }
}

/// How wide the terminal is.
fn width() -> usize {
    let terminal = if std::io::stdout().is_terminal() { terminal_size::terminal_size() } else { None };
    terminal.map_or(WIDTH, |(width, _)| usize::from(width.0).min(WIDTH))
}

impl Explain {
    /// The file and what is asked about it.
    fn question(&self) -> Result<(PathBuf, Question), String> {
        let (file, method, url) = match self.request.as_slice() {
            [url] => (None, None, url),
            [method, url] if is_method(method) => (None, Some(method), url),
            [file, url] => (Some(file), None, url),
            [file, method, url] => (Some(file), Some(method), url),
            _ => return Err("the URL is missing".to_owned()),
        };
        let mut question = Question {
            method: method.map_or("GET", String::as_str).to_owned(),
            url: url.clone(),
            body_size: self.body_size.clone(),
            from: self.from.clone(),
            user: self.user.clone(),
            client_cert: self.client_cert.clone(),
            ..Question::default()
        };
        self.headers.iter().try_for_each(|header| question.add_header(header))?;
        self.cookies.iter().for_each(|cookie| question.add_cookie(cookie));
        Ok((file.map_or_else(|| Path::new("pipeline.json").to_owned(), PathBuf::from), question))
    }
}

/// Whether this is a method and no file: methods in use are in capitals.
fn is_method(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'-')
}
