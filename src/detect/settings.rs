//! What the command line or the configuration of another server says of processes, threads, times and addresses.

use serde_json::{Map, Value, json};

use super::python::{Line, literal};

/// Options of the pipeline file that stand for those of another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The value of `listen`.
    pub(super) listen: Option<String>,
    /// Options of the `wsgi` app.
    pub(super) wsgi: Map<String, Value>,
    /// Options that have no counterpart, as they are written.
    pub(super) dropped: Vec<String>,
}

impl Settings {
    /// Reads the words of a command line.
    pub(super) fn of_words(words: &[&str]) -> Self {
        let mut settings = Self::default();
        let mut rest = words.iter().peekable();
        while let Some(word) = rest.next() {
            let Some(name) = word.strip_prefix('-') else { continue };
            let name = name.trim_start_matches('-');
            let value = rest.next_if(|next| !next.starts_with('-')).copied();
            settings.set(name, value.unwrap_or_default());
        }
        settings
    }

    /// Reads the assignments of a `gunicorn.conf.py`.
    pub(super) fn of_python(lines: &[Line]) -> Self {
        let mut settings = Self::default();
        for (name, value) in lines.iter().filter(|line| line.indent == 0).filter_map(Line::assignment) {
            match literal(value) {
                Some(text) => settings.set(name, text),
                None if name == "workers" && value.contains("cpu_count") => settings.set(name, "auto"),
                None if value.bytes().all(|octet| octet.is_ascii_digit()) => settings.set(name, value),
                None if is_known(name) => settings.dropped.push(format!("{name} = {value}")),
                None => {}
            }
        }
        settings
    }

    /// Adds what is not said yet.
    pub(super) fn complete(&mut self, other: Self) {
        self.listen = self.listen.take().or(other.listen);
        for (name, value) in other.wsgi {
            self.wsgi.entry(name).or_insert(value);
        }
        self.dropped.extend(other.dropped);
    }

    /// Takes over an option. Those of gunicorn, uWSGI, waitress, Granian and mod_wsgi-express do not contradict each other.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let name = name.replace('_', "-");
        let is_number = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
        let number = || value.parse::<u64>().map_or_else(|_| reference(value).map(Value::from), |number| Some(json!(number)));
        match name.as_str() {
            "w" | "workers" | "processes" | "p" => match (value, number()) {
                ("auto", _) => drop(self.wsgi.insert("workers".to_owned(), json!("auto"))),
                (_, Some(number)) if number != json!(0) => drop(self.wsgi.insert("workers".to_owned(), number)),
                _ => self.drop_option(&name, value),
            },
            "threads" => match number() {
                Some(number) if number != json!(0) => drop(self.wsgi.insert("threads".to_owned(), number)),
                _ => self.drop_option(&name, value),
            },
            "t" | "timeout" | "harakiri" | "request-timeout" if is_number && value != "0" => {
                self.wsgi.insert("deadline".to_owned(), json!(format!("{value}s")));
            }
            "max-requests" | "maximum-requests" if is_number && value != "0" => {
                self.wsgi.insert("recycle".to_owned(), json!({ "requests": value.parse::<u64>().unwrap_or(u64::MAX) }));
            }
            "b" | "bind" | "listen" | "http" | "http-socket" => match address(value) {
                Some(address) => self.listen = Some(address),
                None => self.drop_option(&name, value),
            },
            "preload" | "preload-app" => drop(self.wsgi.insert("preload".to_owned(), json!(true))),
            other if is_known(other) => self.drop_option(&name, value),
            _ => {}
        }
    }

    fn drop_option(&mut self, name: &str, value: &str) {
        self.dropped.push(format!("{name} {value}").trim_end().to_owned());
    }
}

/// Options that change how an app is served, and that the file cannot say in the same way.
fn is_known(name: &str) -> bool {
    matches!(
        name.replace('_', "-").as_str(),
        "k" | "worker-class"
            | "worker-connections"
            | "workers"
            | "threads"
            | "timeout"
            | "bind"
            | "b"
            | "t"
            | "w"
            | "max-requests"
            | "certfile"
            | "keyfile"
            | "user"
            | "group"
            | "umask"
            | "forwarded-allow-ips"
            | "limit-request-line"
            | "harakiri"
            | "gevent"
            | "env"
            | "raw-env"
    )
}

/// An address that `listen` takes; a variable of the shell becomes a reference.
fn address(text: &str) -> Option<String> {
    let text = text.trim_start_matches("tcp://").trim_start_matches("http://");
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty() && !path.contains('$')).then(|| format!("unix:{path}"));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = if host == "*" { "" } else { host };
    let is_port = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
    let port = if is_port { port.to_owned() } else { reference(port)? };
    (!host.contains('$')).then(|| format!("{host}:{port}"))
}

/// `$NAME` or `${NAME:-default}` of a shell, as the pipeline file writes it.
fn reference(text: &str) -> Option<String> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let (variable, default) = name.split_once(":-").map_or((name, None), |(variable, default)| (variable, Some(default)));
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (!variable.is_empty() && is_plain(variable) && default.is_none_or(is_plain)).then(|| format!("${{{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_servers_become_ours() {
        let settings = |line: &str| Settings::of_words(&line.split(' ').collect::<Vec<_>>());
        let found = settings("gunicorn -w 4 --threads 8 -t 60 --max-requests 1000 -b 0.0.0.0:$PORT --preload shop:app");
        assert_eq!(found.listen.as_deref(), Some("0.0.0.0:${PORT}"));
        assert_eq!(
            Value::Object(found.wsgi),
            json!({ "workers": 4, "threads": 8, "deadline": "60s", "recycle": { "requests": 1000 }, "preload": true })
        );
        assert_eq!(settings("gunicorn --workers ${WEB_CONCURRENCY:-2} a").wsgi["workers"], "${WEB_CONCURRENCY:-2}");
        assert_eq!(settings("gunicorn -k gevent --bind unix:/run/a.sock a").dropped, ["k gevent"]);
        assert_eq!(settings("waitress-serve --listen *:80 a").listen.as_deref(), Some(":80"));
        for odd in ["-b", "-w", "-w -1 -t x", "--bind $A:$B", "--bind a"] {
            assert!(settings(odd).wsgi.is_empty() && settings(odd).listen.is_none(), "{odd}");
        }
    }
}
