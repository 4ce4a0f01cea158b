//! The app in worker processes: turns the options into the configuration of a pool. Uses no Python.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use ziggurat_middleware::{Context, Finding};

use super::executor::Callee;
use super::existing;
use super::options::{Inherit, Recycle, Wsgi};
use crate::call::bodies::BodyBudgets;
use crate::worker::Trial;
use crate::worker::admission::{Admission, Capacity};
use crate::worker::boot::{Boot, Refusal};
use crate::worker::descriptors::DescriptorLimit;
use crate::worker::launcher::Launcher;
use crate::worker::link::frame::VERSION;
use crate::worker::pool::{CurrentPool, ExitNotices, PREFETCH, PoolConfig, Recycling};
use crate::worker::spawner::Spawners;

impl Wsgi {
    /// Starts the workers, and returns their queue.
    pub(super) fn worker_pool(
        &self,
        context: &Context,
        callee: &Callee<'_>,
        workers: usize,
        threads: usize,
        bodies: BodyBudgets,
    ) -> Result<Arc<Admission>, Refusal> {
        let admission = self.admission(context);
        let config = self.pool_config(context, callee, workers, threads)?;
        let pool = context.keep(CurrentPool::default).replace(config, admission, &context.retired())?;
        let admission = pool.admission();
        let hook = Arc::clone(&pool);
        context.on_shutdown(move || hook.stop());
        let hook = Arc::clone(&pool);
        context.on_stacks(move || hook.stacks());
        if callee.stack.is_some() {
            let hook = Arc::clone(&pool);
            context.on_reopen(move || hook.reopen());
        }
        let hook = Arc::clone(&pool);
        context.on_status(move || {
            let mut status = hook.status();
            if let Value::Object(fields) = &mut status {
                fields.insert("waiting bodies".to_owned(), bodies.status());
            }
            status
        });
        context.on_scrape(move |metrics| pool.scrape(metrics));
        Ok(admission)
    }

    fn pool_config(&self, context: &Context, callee: &Callee<'_>, workers: usize, threads: usize) -> Result<PoolConfig, Finding> {
        let boot = Boot {
            version: VERSION,
            place: context.place().to_string(),
            nth: 0,
            app: callee.name.to_owned(),
            args: self.args.clone(),
            kwargs: self.kwargs.clone(),
            path: self.folders(context)?,
            threads,
            takes_websockets: self.websockets.limit > 0,
            is_multiprocess: workers > 1,
            descriptors: context.host::<DescriptorLimit>().and_then(|limit| limit.of_worker(self.websockets.limit)),
            chdir: self.working_folder(context)?,
            user: self.user.clone(),
            group: self.group.clone(),
            worker_exit: self.worker_exit.clone(),
            preload: None,
            is_timed: context.place().is_timed(),
            stack: callee.stack.clone(),
        };
        // Never `current_exe` as a default: another program would start itself again and again.
        let launcher = context.host::<Launcher>().cloned().ok_or_else(|| {
            let finding = Finding::new("worker processes are started by the program `ziggurat`, and this is another one").at("workers");
            finding.hint("set `\"workers\": 0` to call the app in this process")
        })?;
        let spawner = match context.host::<Spawners>() {
            Some(spawners) => spawners.of(self.user.as_deref(), self.group.as_deref())?,
            None => None,
        };
        let preload = self.preload.0.as_ref().map(|preload| preload.warm_up.clone());
        let capacity = Capacity { threads, prefetch: PREFETCH };
        Ok(PoolConfig {
            launcher,
            spawner,
            boot,
            workers: if context.host::<Trial>().is_some() { 1 } else { workers },
            capacity,
            inherited: Inherit::of(self.inherit.as_ref(), context.withheld()),
            env: self.env.clone(),
            preload,
            recycling: self.recycle.limits(),
            linger: context.drain(),
            start_timeout: self.start_timeout.0,
            old_first: self.ends_old_first(context.is_watched()),
            exit_notices: self.worker_exit.as_ref().map(|_| context.keep(ExitNotices::default)),
            is_watched: context.is_watched(),
        })
    }

    fn working_folder(&self, context: &Context) -> Result<Option<PathBuf>, Finding> {
        self.chdir.as_deref().map(|folder| existing(context, folder).map_err(|finding| finding.at("chdir"))).transpose()
    }
}

impl Recycle {
    fn limits(&self) -> Recycling {
        Recycling {
            requests: self.requests.map(|requests| (requests, self.jitter.unwrap_or(requests / 10))),
            age: self.age.map(|age| age.0),
            memory: self.memory.map(|memory| memory.0),
        }
    }
}
