//! Checks of the `wsgi` app's options beyond their types.

use ziggurat_middleware::units::{Duration, Size};
use ziggurat_middleware::{Finding, Findings, Reserve};

use super::websockets::MOST_WEBSOCKETS;
use super::workers::MOST_WORKERS;
use super::{Workers, Wsgi};
use crate::wsgi::load::Target;

/// The most threads a worker may have.
const MOST_THREADS: u64 = 1024;

/// The longest queue.
const LONGEST_QUEUE: u64 = 1_000_000;

/// Python needs more memory than this, so the worker would be replaced at once.
const LEAST_MEMORY: Size = Size::mib(16);

impl Wsgi {
    pub(in crate::wsgi) fn check(&self, findings: &mut Findings) {
        match Target::parse("app", &self.app) {
            Ok(target) if !target.is_factory() && !self.arguments().is_empty() => {
                let option = if self.args.is_empty() { "kwargs" } else { "args" };
                let finding =
                    Finding::new(format!("`{option}` is for a factory, and `{}` is called with each request", self.app)).at(option);
                findings.push(finding.hint("a factory ends in `()`: `module:factory()`"));
            }
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
        if let Some(hook) = &self.worker_exit {
            match Target::parse("worker_exit", hook) {
                Ok(target) if target.is_module() => {
                    let finding = Finding::new(format!("`{hook}` names a module and nothing in it")).at("worker_exit");
                    findings.push(finding.hint(format!("name the callable: `{hook}:worker_ended`")));
                }
                Ok(_) => {}
                Err(finding) => findings.push(finding),
            }
        }
        self.check_size(findings);
        self.check_workers_only(findings);
        self.check_recycle(findings);
        self.check_env(findings);
        self.check_times(findings);
        for (nth, path) in self.preload.0.iter().flat_map(|preload| preload.warm_up.iter().enumerate()) {
            if !path.starts_with('/') {
                let finding = Finding::new(format!("`{path}` is not a path of the app")).at("preload").at("warm_up").at(nth);
                findings.push(finding.hint("a path begins with `/`, and a query may follow"));
            }
        }
    }

    /// Reports numbers of workers and threads that make no sense.
    pub(in crate::wsgi) fn check_size(&self, findings: &mut Findings) {
        if let Workers::Number(workers) = self.workers
            && workers > MOST_WORKERS
        {
            let finding = Finding::new(format!("{workers} workers are too many")).at("workers");
            findings.push(finding.hint(format!("at most {MOST_WORKERS}; more than two per core rarely help")));
        }
        if self.threads == 0 {
            let finding = Finding::new("without threads, nothing calls the app").at("threads");
            findings.push(finding.hint("1 or more; with `\"workers\": 0` they are threads of the server's process"));
        }
        if self.websockets.limit > MOST_WEBSOCKETS {
            let finding = Finding::new(format!("{} WebSockets are too many", self.websockets.limit)).at("websockets");
            findings
                .push(finding.hint(format!("at most {MOST_WEBSOCKETS}; each takes up a thread, so a service behind `proxy` suits more")));
        }
        if self.threads > MOST_THREADS {
            let finding = Finding::new(format!("{} threads are too many", self.threads)).at("threads");
            findings
                .push(finding.hint(format!("at most {MOST_THREADS}; threads share one interpreter, so more than a few dozen rarely help")));
        }
    }

    /// Reports options that have no effect without worker processes.
    fn check_workers_only(&self, findings: &mut Findings) {
        if self.workers != Workers::Number(0) {
            return;
        }
        let recycles = self.recycle.requests.is_some() || self.recycle.age.is_some() || self.recycle.memory.is_some();
        let given = [
            ("preload", self.preload.0.is_some()),
            ("replace", self.replace.is_some()),
            ("recycle", recycles || self.recycle.jitter.is_some()),
            ("worker_exit", self.worker_exit.is_some()),
            ("inherit", self.inherit.is_some()),
            ("env", !self.env.is_empty()),
            ("user", self.user.is_some()),
            ("group", self.group.is_some()),
            ("chdir", self.chdir.is_some()),
        ];
        for (option, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            let finding = Finding::new(format!("`{option}` is for worker processes, and this app has none")).at(option);
            findings.push(finding.hint("set `workers` to 1 or more, or leave it out"));
        }
    }

    fn check_recycle(&self, findings: &mut Findings) {
        let recycle = &self.recycle;
        if recycle.requests == Some(0) {
            let finding = Finding::new("a worker that is replaced after 0 requests would serve none").at("recycle").at("requests");
            findings.push(finding.hint("1 or more; usual are some thousands"));
        }
        if recycle.jitter.is_some() && recycle.requests.is_none() {
            let finding = Finding::new("`jitter` is for `requests`, which is not set").at("recycle").at("jitter");
            findings.push(finding.hint("add `requests`, or leave `jitter` out"));
        }
        if recycle.age.is_some_and(|age| age < Duration::secs(1)) {
            let finding = Finding::new("a worker has to live a second at least").at("recycle").at("age");
            findings.push(finding.hint("usual are hours, as in `\"6h\"`"));
        }
        if let Some(memory) = recycle.memory.filter(|memory| *memory < LEAST_MEMORY) {
            let finding = Finding::new(format!("`{memory}` is less than Python needs")).at("recycle").at("memory");
            findings.push(finding.hint(format!("{LEAST_MEMORY} or more; usual are some hundred MiB")));
        }
    }

    fn check_env(&self, findings: &mut Findings) {
        for (name, value) in &self.env {
            let at = |finding: Finding| finding.at("env").at(name.as_str());
            if name.is_empty() || name.contains(['=', '\0']) {
                findings.push(at(Finding::new(format!("`{}` does not name a variable", name.escape_debug()))));
            } else if value.contains('\0') {
                findings.push(at(Finding::new(format!("the value of `{name}` holds a NUL octet, which no variable can"))));
            }
        }
    }

    fn check_times(&self, findings: &mut Findings) {
        if !(1..=LONGEST_QUEUE).contains(&self.queue.limit) {
            let finding = Finding::new(format!("a queue for {} requests", self.queue.limit)).at("queue").at("limit");
            findings.push(finding.hint(format!("between 1 and {LONGEST_QUEUE}")));
        }
        let times = [(self.deadline, "deadline"), (self.slow, "slow")];
        for (_, option) in times.into_iter().filter(|(time, _)| time.is_some_and(|time| time.0.is_zero())) {
            findings.push(Finding::new(format!("`{option}` has to be longer than no time at all")).at(option));
        }
        if self.start_timeout.0.is_zero() {
            findings.push(Finding::new("`start_timeout` has to be longer than no time at all").at("start_timeout"));
        }
        if self.queue.wait.0.is_zero() {
            findings.push(Finding::new("`wait` has to be longer than no time at all").at("queue").at("wait"));
        }
        if let (Some(slow), Some(deadline)) = (self.slow, self.deadline)
            && slow >= deadline
        {
            let finding = Finding::new(format!("no request is ever `slow`: its `deadline` of {deadline} comes first")).at("slow");
            findings.push(finding.hint("`slow` has to be shorter than `deadline`"));
        }
    }

    /// Threads of each worker. Bounded here, too, for callers that did not validate.
    pub(in crate::wsgi) fn threads(&self) -> usize {
        usize::try_from(self.threads.clamp(1, MOST_THREADS)).unwrap_or(1)
    }

    /// Refuses reserves of routes that leave no thread for other requests.
    pub(in crate::wsgi) fn check_reserves(&self, reserves: &[Reserve], threads: usize) -> Result<(), Finding> {
        let reserved: usize = reserves.iter().map(|reserve| reserve.threads).sum();
        if reserved == 0 || reserved < threads {
            return Ok(());
        }
        let finding =
            Finding::new(format!("routes reserve {reserved} of the app's {threads} threads, which leaves none for other requests"));
        Err(finding.at("threads").hint(format!("{} or more threads in all, or less `reserve`", reserved + 1)))
    }
}
