//! The syntax of addresses to listen on.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on: `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`, `:8000` (every interface), `unix:run/site.sock`, `fd:3`,
/// `systemd`, `systemd:http`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP. The host is an IP address or a name; `None` means every interface. Port 0 means any free port.
    Tcp {
        /// An IP address without brackets, or a name to be resolved.
        host: Option<String>,
        /// 0 to 65535.
        port: u16,
    },
    /// A Unix socket. A relative path starts at the folder of the pipeline file.
    Unix(PathBuf),
    /// A listening socket that the parent process left open, by its descriptor number.
    Inherited(i32),
    /// Listening sockets that systemd passed (sd_listen_fds(3)): those of one `FileDescriptorName=`, or all.
    Systemd(Option<String>),
}

impl Address {
    /// Whether another process opened the socket and may use it again.
    pub(super) const fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited(_) | Self::Systemd(_))
    }
}

const HINT: &str = "write `\"127.0.0.1:8000\"`, `\":8000\"` for every interface, `\"unix:run/site.sock\"`, `\"fd:3\"` or `\"systemd\"`";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(text, path);
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return match number.parse().ok().filter(|_| is_digits(number)) {
                Some(number @ 3..) => Ok(Self::Inherited(number)),
                Some(_) => Err(format!("`{text}` is standard input, output or error\nhint: inherited sockets start at `fd:3`")),
                None => Err(format!("`{text}` names no file descriptor\nhint: write a number, as in `\"fd:3\"`")),
            };
        }
        if text == "systemd" {
            return Ok(Self::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return systemd(text, name);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!("`{text}` is a URL, not an address\nhint: leave `{scheme}://` out: `\"{}\"`", rest.trim_end_matches('/')));
        }
        tcp(text)
    }
}

fn unix(text: &str, path: &str) -> Result<Address, String> {
    if path.is_empty() {
        return Err(format!("`{text}` names no file\nhint: write a path, as in `\"unix:run/site.sock\"`"));
    }
    if let Some(rest) = path.strip_prefix("//") {
        return Err(format!("`{text}` is a URL, not an address\nhint: write `\"unix:{rest}\"`"));
    }
    if path.contains('\0') {
        return Err(format!("`{}` holds a NUL octet\nhint: write a path, as in `\"unix:run/site.sock\"`", text.escape_debug()));
    }
    Ok(Address::Unix(path.into()))
}

/// The names that systemd allows: printable ASCII without colons, up to 255.
fn systemd(text: &str, name: &str) -> Result<Address, String> {
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|octet| matches!(octet, b' '..=b'~') && octet != b':') {
        let hint = "write the `FileDescriptorName=` of the socket unit, as in `\"systemd:http\"`, or `\"systemd\"` for every socket";
        return Err(format!("`{}` names no socket of systemd\nhint: {hint}", text.escape_debug()));
    }
    Ok(Address::Systemd(Some(name.to_owned())))
}

fn tcp(text: &str) -> Result<Address, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, rest.strip_prefix(':')),
            _ => return Err(format!("`{text}` holds no IPv6 address in its brackets\nhint: write it as in `\"[::1]:8000\"`")),
        },
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            return Err(format!("`{text}` has no port\nhint: an IPv6 address stands in brackets: `\"[{text}]:8000\"`"));
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None if is_digits(text) => {
                return Err(format!("`{text}` is only a port\nhint: write `\"127.0.0.1:{text}\"`, or `\":{text}\"` for every interface"));
            }
            None => (text, None),
        },
    };
    let Some(port) = port else {
        return Err(format!("`{text}` has no port\nhint: {HINT}"));
    };
    let Some(port) = port.parse().ok().filter(|_| is_digits(port)) else {
        return Err(format!("`{port}` is not a port\nhint: ports are numbers up to 65535; 0 takes any free one"));
    };
    if host == "*" {
        return Err(format!("`*` is not an address\nhint: write `\":{port}\"` for every interface"));
    }
    if host.is_empty() && !text.starts_with('[') {
        return Ok(Address::Tcp { host: None, port });
    }
    if host.parse::<IpAddr>().is_err() && !is_name(host) {
        return Err(format!("`{host}` is neither an IP address nor a host name\nhint: {HINT}"));
    }
    Ok(Address::Tcp { host: Some(host.to_owned()), port })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Letters, digits, hyphens, underscores and dots, but no mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_'))
        && !text.starts_with(['.', '-'])
        && !text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.')
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp { host: Some(host), port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(number) => write!(f, "fd:{number}"),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        text.parse()
    }

    #[test]
    fn addresses_print_as_they_are_written() {
        for text in [
            "127.0.0.1:8000",
            ":8000",
            "[::1]:0",
            "localhost:8000",
            "my-host.example:1",
            "unix:run/x.sock",
            "unix:/run/x.sock",
            "fd:3",
            "systemd",
            "systemd:ziggurat.socket",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_mistake_is_answered_with_how_to_mend_it() {
        for (text, hint) in [
            ("8000", "\"127.0.0.1:8000\""),
            ("127.0.0.1", "\"127.0.0.1:8000\""),
            ("http://127.0.0.1:8000/", "\"127.0.0.1:8000\""),
            ("unix:///run/x.sock", "\"unix:/run/x.sock\""),
            ("unix:", "a path"),
            ("fd:x", "\"fd:3\""),
            ("fd:0", "fd:3"),
            ("systemd:", "FileDescriptorName="),
            ("systemd:a:b", "\"systemd:http\""),
            ("systemd:\u{e4}", "`\"systemd\"` for every"),
            ("::1", "\"[::1]:8000\""),
            ("[::1]", "\"127.0.0.1:8000\""),
            ("[::g]:80", "[::1]:8000"),
            ("localhost:http", "65535"),
            ("localhost:70000", "65535"),
            ("localhost:+80", "65535"),
            ("*:8000", "\":8000\""),
            ("a b:80", "unix:"),
            ("127.0.0.256:80", "unix:"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("\nhint: ") && error.contains(hint), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_prints_back(text in "(unix:|fd:|systemd:?|\\[)?[a-z0-9.:*\\[\\]/ -]{0,20}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }
    }
}
