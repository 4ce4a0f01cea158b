//! A web server that starts this program for one request (RFC 3875): the environment has the variables, standard input the body, and standard output takes
//! the response.

use bytes::BytesMut;
use percent_encoding::percent_decode;

use super::{Event, Front, content_length};
use crate::cgi::Variable;
use crate::gateway::{Malformed, StatusForm, Variables};

/// The only request.
#[derive(Debug)]
pub(crate) struct CgiFront(State);

#[derive(Debug)]
enum State {
    Head(Variables),
    /// So much of the body is to come.
    Body(u64),
    Over,
}

impl CgiFront {
    /// A request with the variables of the environment.
    ///
    /// - Without `PATH_INFO`, nothing is below the program: `SCRIPT_NAME` is its path (section 4.1.5).
    /// - If the server has rewritten the path, `SCRIPT_NAME` is what stands before `PATH_INFO` in the path of the client, who has not asked for the program.
    pub(crate) fn new(mut variables: Variables) -> Self {
        if variables.get(Variable::PathInfo.name()).is_none() {
            variables.push(Variable::PathInfo.name(), "");
        }
        if let Some(script) = script_before_rewriting(&variables) {
            variables.replace(Variable::ScriptName.name(), script);
        }
        Self(State::Head(variables))
    }

    /// How many octets of standard input are the body of the request.
    pub(crate) fn length(&self) -> u64 {
        match &self.0 {
            State::Head(variables) => match stated_length(variables) {
                Ok(length) => length,
                // It is refused, and the web server sends it to its end.
                Err(Malformed::NoLength(_)) => u64::MAX,
                Err(_) => 0,
            },
            State::Body(left) => *left,
            State::Over => 0,
        }
    }
}

/// The mount in the path that the client asked for, if that is not the path of the program.
fn script_before_rewriting(variables: &Variables) -> Option<Vec<u8>> {
    let get = |variable: Variable| variables.get(variable.name());
    let target = get(Variable::RequestUri).filter(|target| target.starts_with(b"/"))?;
    let path: Vec<u8> = percent_decode(target.split(|octet| *octet == b'?').next()?).collect();
    let script = get(Variable::ScriptName)?;
    if path.strip_prefix(script).is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))) {
        return None;
    }
    let mount = path.strip_suffix(get(Variable::PathInfo).filter(|below| !below.is_empty())?)?;
    (!mount.ends_with(b"/")).then(|| mount.to_vec())
}

/// The length of the body. Apache passes on what a client sends in chunks without one: the end of standard input would be that of the body then, and a body
/// that breaks off would look whole.
fn stated_length(variables: &Variables) -> Result<u64, Malformed> {
    match content_length(variables)? {
        Some(length) => Ok(length),
        None if variables.get("HTTP_TRANSFER_ENCODING").is_some_and(|coding| !coding.is_empty()) => Err(NO_LENGTH),
        None => Ok(0),
    }
}

const NO_LENGTH: Malformed = Malformed::NoLength("the body has come in chunks, and the web server does not say how long it is");

impl Front for CgiFront {
    fn form(&self) -> StatusForm {
        StatusForm::Field
    }

    fn take(&mut self, octets: &mut BytesMut) -> Result<Option<Event>, Malformed> {
        match &mut self.0 {
            State::Head(variables) => {
                let length = stated_length(variables)?;
                let variables = std::mem::take(variables);
                self.0 = State::Body(length);
                Ok(Some(Event::Request(variables, Some(length))))
            }
            State::Body(0) => {
                self.0 = State::Over;
                Ok(Some(Event::End))
            }
            State::Body(left) if !octets.is_empty() => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                *left -= length as u64;
                Ok(Some(Event::Data(octets.split_to(length).freeze())))
            }
            // Standard input may go on behind the body (section 4.2).
            State::Body(_) | State::Over => Ok(None),
        }
    }

    fn answers_behind_end(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::read_request;
    use crate::gateway::testing::variables;

    fn front(pairs: &[(&'static str, &'static str)]) -> CgiFront {
        CgiFront::new(variables(pairs))
    }

    /// The path of the mount and the path below it.
    fn paths(pairs: &[(&'static str, &'static str)]) -> (String, String) {
        let mut front = front(&[pairs, &[("REQUEST_METHOD", "GET")]].concat());
        let Some(Event::Request(variables, _)) = front.take(&mut BytesMut::new()).unwrap() else { panic!("no request") };
        let parts = read_request(&variables).unwrap();
        let mount = parts.extensions.get::<ziggurat_middleware::Mount>().map(|mount| mount.prefix.to_string());
        (mount.unwrap_or_default(), parts.uri.path().to_owned())
    }

    #[test]
    fn the_body_is_as_long_as_its_length_says_whatever_follows() {
        let mut front = front(&[("CONTENT_LENGTH", "5")]);
        assert_eq!(front.length(), 5);
        let mut octets = BytesMut::from(&b"abc"[..]);
        assert!(matches!(front.take(&mut octets), Ok(Some(Event::Request(_, Some(5))))));
        assert_eq!(front.take(&mut octets), Ok(Some(Event::Data("abc".into()))));
        assert_eq!(front.take(&mut octets), Ok(None));
        octets.extend_from_slice(b"de and more");
        assert_eq!(front.take(&mut octets), Ok(Some(Event::Data("de".into()))));
        assert_eq!([front.take(&mut octets), front.take(&mut octets)], [Ok(Some(Event::End)), Ok(None)]);
    }

    #[test]
    fn a_body_in_chunks_without_a_length_is_refused() {
        let chunked = ("HTTP_TRANSFER_ENCODING", "chunked");
        for pairs in [&[chunked][..], &[chunked, ("CONTENT_LENGTH", "")]] {
            let mut front = front(pairs);
            assert!(matches!(front.take(&mut BytesMut::new()), Err(Malformed::NoLength(_))) && front.length() == u64::MAX, "{pairs:?}");
        }
        // Some servers receive the chunks first, and say how much they were.
        assert_eq!(front(&[chunked, ("CONTENT_LENGTH", "5")]).length(), 5);
    }

    #[test]
    fn lengths_that_are_none_are_refused() {
        for value in ["-1", "+1", "1 ", "0x1", "1,1", "9999999999999999999"] {
            let mut front = front(&[("CONTENT_LENGTH", value)]);
            assert!(front.take(&mut BytesMut::new()).is_err() && front.length() == 0, "{value}");
        }
        assert!(front(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]).take(&mut BytesMut::new()).is_err());
    }

    #[test]
    fn the_program_is_the_mount_unless_the_path_was_rewritten() {
        let program = ("SCRIPT_NAME", "/cgi-bin/site.cgi");
        for (pairs, mount, path) in [
            (vec![program], "/cgi-bin/site.cgi", "/"),
            (vec![program, ("PATH_INFO", "/a b"), ("REQUEST_URI", "/cgi-bin/site.cgi/a%20b?x")], "/cgi-bin/site.cgi", "/a%20b"),
            (vec![program, ("PATH_INFO", "/a b"), ("REQUEST_URI", "/a%20b?x")], "", "/a%20b"),
            (vec![program, ("PATH_INFO", "/a"), ("REQUEST_URI", "/shop/a")], "/shop", "/a"),
            (vec![program, ("PATH_INFO", "/"), ("REQUEST_URI", "/")], "", "/"),
            // The client has not asked for any such path.
            (vec![program, ("PATH_INFO", "/a"), ("REQUEST_URI", "//a")], "/cgi-bin/site.cgi", "/a"),
            (vec![program, ("PATH_INFO", "/other"), ("REQUEST_URI", "/a")], "/cgi-bin/site.cgi", "/other"),
            (vec![("SCRIPT_NAME", ""), ("PATH_INFO", "/a"), ("REQUEST_URI", "/a")], "", "/a"),
        ] {
            assert_eq!(paths(&pairs), (mount.to_owned(), path.to_owned()), "{pairs:?}");
        }
    }
}
