//! `cgi`: runs a program for each request (RFC 3875).

mod limit;
mod options;
mod process;
mod program;
mod service;

use std::path::Path;

use http::StatusCode;
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{App, Context, Deadline, Effect, Effects, Explain, Finding, Findings, IntoApp};

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

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let (limit, queue, timeout) = (self.limit, self.queue, self.timeout);
        match self.programs(explain.context())?.0.of_path(explain.request().uri().path()) {
            Ok(program) => explain.note(format!("runs `{}`, PATH_INFO is `{}`", program.file.display(), program.path_info)),
            Err(problem) => {
                explain.refuse(problem);
                return Ok(());
            }
        }
        let deadline = explain.request().extensions().get::<Deadline>().map_or(timeout.0, |deadline| deadline.0.min(timeout.0));
        explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, format!("if {limit} programs run, and {} requests wait already", queue.limit));
        explain.may_answer(StatusCode::BAD_GATEWAY, "if the program gives no valid response");
        explain.may_answer(StatusCode::GATEWAY_TIMEOUT, format!("if it has not begun its response after {}", Duration(deadline)));
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.by("timeout", Effect::AnswersWithin(self.timeout.0));
        if let Some(root) = &self.root {
            effects.add(Effect::RunsFolder(root.into()));
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let (programs, options) = self.programs(context)?;
        let rules = Rules {
            programs,
            env: options.env,
            timeout: options.timeout.0,
            idle: options.idle.0,
            place: context.place().clone(),
            retired: context.retired(),
        };
        let limit = Limit::new(context, options.limit, options.queue);
        Ok(service(CgiService::new(rules, limit), CgiService::serve))
    }
}

impl Cgi {
    /// The programs, and the options.
    fn programs(mut self, context: &Context) -> Result<(Programs, Self), Finding> {
        let programs = match (&self.program, &self.root) {
            (Some(program), _) => {
                // The program runs in its own folder.
                let path = std::path::absolute(context.resolve(program)).map_err(Finding::from)?;
                if !program::is_executable(&path) {
                    return Err(not_there(&path, "is not a program that can be run").at("program"));
                }
                Programs::One(path, std::mem::take(&mut self.arguments))
            }
            (None, root) => {
                let path = context.resolve(root.as_deref().unwrap_or_default());
                let path =
                    path.canonicalize().ok().filter(|path| path.is_dir()).ok_or_else(|| not_there(&path, "is not a folder").at("root"))?;
                Programs::Folder(path)
            }
        };
        Ok((programs, self))
    }
}

fn not_there(path: &Path, what: &str) -> Finding {
    Finding::new(format!("`{}` {what}", path.display()))
}
