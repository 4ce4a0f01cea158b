//! `ziggurat cgi`: serves the request for which a web server has started the program.

use http::Extensions;

use super::{FAILURE, File, MISUSE, SUCCESS, complain};
use crate::pipeline::{Pipeline, Registry};
use crate::run::CgiRequest;
use crate::worker::launcher::Launcher;

/// How the variable of a header begins.
const HEADER: &str = "HTTP_";

/// Serves one request. What is wrong with the file is for the log of the web server, which takes standard error.
pub(super) fn serve(file: &File, registry: &Registry, host: &Extensions) -> u8 {
    let request = match CgiRequest::take() {
        Ok(Some(request)) => request,
        Ok(None) => {
            let hint = format!("to try it, run `REQUEST_METHOD=GET PATH_INFO=/ ziggurat cgi {}`", file.path.display());
            return complain(
                &format!("error: `ziggurat cgi` is started by a web server, and no request is in the environment\nhint: {hint}"),
                MISUSE,
            );
        }
        Err(error) => return complain(&format!("error: a standard stream cannot be used: {error}"), FAILURE),
    };
    // A client names the headers, so they are variables neither of the file nor of a process that reads settings.
    let environment = |name: &str| std::env::var_os(name).filter(|_| !name.starts_with(HEADER));
    let mut host = host.clone();
    if let Some(launcher) = host.remove::<Launcher>() {
        let headers = std::env::vars_os().map(|(name, _)| name).filter(|name| name.as_encoded_bytes().starts_with(HEADER.as_bytes()));
        host.insert(launcher.withholding(headers));
    }
    let registry = &registry.clone().hosted(host.clone());
    let served = match Pipeline::load(&file.path, registry, &environment) {
        Ok(pipeline) => request.serve(&pipeline, &host).map_err(|report| (report, FAILURE)),
        Err(report) => {
            request.fail();
            Err((report, MISUSE))
        }
    };
    served.map_or_else(|(report, code)| complain(&report.render(false), code), |()| SUCCESS)
}
