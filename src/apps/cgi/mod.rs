//! `cgi`: runs a program for each request (RFC 3875).

mod limit;
mod options;
mod process;
mod program;
mod service;

use std::path::Path;

use ziggurat_middleware::{App, Context, Finding, Findings, IntoApp};

use self::limit::Limit;
pub use self::options::Cgi;
use self::program::Programs;
use self::service::{CgiService, Rules};
use crate::apps::gateway::check_params;
use crate::apps::service::service;

impl App for Cgi {
    const NAME: &'static str = "cgi";
    const SHORTHAND: Option<&'static str> = Some("program");

    fn validate(&self, findings: &mut Findings) {
        if self.program.is_some() == self.root.is_some() {
            let finding = Finding::new("`cgi` needs either `program` or `root`");
            findings.push(finding.hint("name one program, or a folder of programs"));
        }
        if self.root.is_some() && !self.arguments.is_empty() {
            findings.push(Finding::new("`arguments` are for one `program`").at("arguments").hint("remove them"));
        }
        check_params(&self.env, "env", findings);
        if self.limit == 0 {
            findings.push(Finding::new("a `limit` of 0 lets no program run").at("limit").hint("write 1 or more"));
        }
        self.queue.validate(findings);
        for (option, time) in [("timeout", self.timeout), ("idle", self.idle)] {
            if time.0.is_zero() {
                findings.push(Finding::new(format!("`{option}` must be longer than 0")).at(option));
            }
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let programs = match (&self.program, &self.root) {
            (Some(program), _) => {
                // The program runs in its own folder.
                let path = std::path::absolute(context.resolve(program)).map_err(Finding::from)?;
                if !program::is_executable(&path) {
                    return Err(not_there(&path, "is not a program that can be run").at("program"));
                }
                Programs::One(path, self.arguments)
            }
            (None, root) => {
                let path = context.resolve(root.as_deref().unwrap_or_default());
                let path =
                    path.canonicalize().ok().filter(|path| path.is_dir()).ok_or_else(|| not_there(&path, "is not a folder").at("root"))?;
                Programs::Folder(path)
            }
        };
        let rules = Rules {
            programs,
            env: self.env,
            timeout: self.timeout.0,
            idle: self.idle.0,
            place: context.place().clone(),
            retired: context.retired(),
        };
        let limit = Limit::new(context, self.limit, self.queue);
        Ok(service(CgiService::new(rules, limit), CgiService::serve))
    }
}

fn not_there(path: &Path, what: &str) -> Finding {
    Finding::new(format!("`{}` {what}", path.display()))
}
