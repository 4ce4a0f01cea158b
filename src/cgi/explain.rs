//! The variables of a request that tell its way: where it was mounted, and what is left of the path.

use http::HeaderName;
use ziggurat_middleware::{Body, Request};

use super::{Variable, VariableSink, from_request};

/// `SCRIPT_NAME` and `PATH_INFO` of a request, as an app gets them.
pub(crate) fn script_and_path(request: &Request) -> String {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.extensions_mut() = request.extensions().clone();
    let mut paths = Paths::default();
    from_request(&copy.into_parts().0, None, &mut paths);
    format!("SCRIPT_NAME is `{}`, PATH_INFO is `{}`", paths.script, paths.path)
}

#[derive(Default)]
struct Paths {
    script: String,
    path: String,
}

impl VariableSink for Paths {
    fn set(&mut self, variable: Variable, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        match variable {
            Variable::ScriptName => self.script = value,
            Variable::PathInfo => self.path = value,
            _ => {}
        }
    }

    fn set_header(&mut self, _: &HeaderName, _: &[u8]) {}
}
