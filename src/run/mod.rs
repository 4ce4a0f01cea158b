//! The life of the process: builds a pipeline, binds its listeners, serves until a signal, reloads, drains, ends.

mod cgi;
mod control;
pub(crate) mod init;
mod live_tests;
mod main_loop;
mod memory;
mod plan;
mod prepared;
mod privilege;
mod reload;
mod signals;
mod source;
mod status;
mod steps;
mod systemd;
mod watch;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use http::Extensions;
use tokio::runtime::{Builder, Runtime};
use ziggurat_middleware::{Context, Lifecycle};

use crate::apps::dashboard::ProcessSource;
use crate::log;
use crate::pipeline::{Pipeline, Report};
use crate::worker::Trial;
use crate::worker::descriptors::DescriptorLimit;
use crate::wsgi;
pub(crate) use cgi::CgiRequest;
pub(crate) use live_tests::answers;
use main_loop::MainLoop;
use prepared::{Bound, PreparedPipeline};
use signals::{EarlySignals, Signals};
pub(crate) use source::PipelineSource;
use watch::Watch;

/// Serves `pipeline`, which was loaded from `source`, until SIGTERM or SIGINT, then drains. Layers and apps find the values of `host` in their context.
///
/// # Errors
///
/// What cannot be bound, acquired or imported, with its place in the file.
pub(crate) fn run(source: PipelineSource, pipeline: Pipeline, host: &Extensions) -> Result<(), Report> {
    log::start();
    let mut host = host.clone();
    host.insert(DescriptorLimit::raise());
    host.insert(ProcessSource::default());
    let runtime = runtime(&pipeline)?;
    let entered = runtime.enter();
    privilege::start_helpers(&pipeline, &mut host)?;
    drop(entered);
    let source = source.hosted(host.clone());
    let prepare = |_: &PipelineSource, lifecycle: &Lifecycle| PreparedPipeline::prepare(Arc::new(pipeline), lifecycle, &Bound::default());
    let outcome = serve(source, None, &runtime, Lifecycle::hosted(host), prepare);
    end(runtime);
    outcome
}

/// Serves for development: loads the pipeline of `source`, and reloads it when its file or its code changes. While it cannot be built, every
/// response shows the reason.
///
/// # Errors
///
/// If there is no address to listen on.
pub(crate) fn watch(source: PipelineSource, host: &Extensions) -> Result<(), Report> {
    log::start();
    let mut host = host.clone();
    host.insert(DescriptorLimit::raise());
    host.insert(ProcessSource::default());
    let first = source.load().or_else(|_| source.placeholder())?;
    if !first.warnings().is_empty() {
        print_message(&first.warnings().render(false));
    }
    let runtime = runtime(&first)?;
    let entered = runtime.enter();
    privilege::start_helpers(&first, &mut host)?;
    drop(entered);
    let watch = Watch::start(&source);
    host.insert(watch.watcher());
    let source = source.hosted(host.clone());
    let prepare = |source: &PipelineSource, lifecycle: &Lifecycle| watch.prepare(source, lifecycle, &Bound::default());
    let outcome = serve(source, Some(watch.clone()), &runtime, Lifecycle::hosted(host), prepare);
    end(runtime);
    outcome
}

fn serve(
    source: PipelineSource,
    watch: Option<Watch>,
    runtime: &Runtime,
    lifecycle: Lifecycle,
    prepare: impl FnOnce(&PipelineSource, &Lifecycle) -> Result<PreparedPipeline, Report>,
) -> Result<(), Report> {
    let begin = Instant::now();
    let _entered = runtime.enter();
    let early = EarlySignals::install();
    let prepared = prepare(&source, &lifecycle)?;
    let (main_loop, signals) = open(source, watch, prepared, lifecycle.clone(), early).inspect_err(|_| lifecycle.shutdown())?;
    if let Some(source) = Context::new("server", main_loop.active.pipeline.base(), lifecycle.clone()).host::<ProcessSource>() {
        main_loop.answer(source);
    }
    // The first generation owns it now.
    drop(lifecycle);
    if let Some(watch) = &main_loop.watch {
        watch.describe();
    }
    print_message(&format!("ready after {} ms, process {}", begin.elapsed().as_millis(), std::process::id()));
    systemd::start_watchdog();
    systemd::ready(&main_loop.active.pipeline.summary());
    runtime.block_on(main_loop.run(signals));
    Ok(())
}

fn open(
    source: PipelineSource,
    watch: Option<Watch>,
    prepared: PreparedPipeline,
    lifecycle: Lifecycle,
    early: io::Result<EarlySignals>,
) -> Result<(MainLoop, Signals), Report> {
    let signals = early.and_then(Signals::install).map_err(|error| prepared.pipeline.report(&format!("cannot handle signals: {error}")))?;
    Ok((MainLoop::open(source, watch, prepared, lifecycle)?, signals))
}

/// Builds everything as [`run`] does, and drops it. Returns warnings about files.
///
/// # Errors
///
/// What cannot be acquired or imported, with its place in the file.
pub(crate) fn try_build(pipeline: &Pipeline, host: &Extensions) -> Result<Report, Report> {
    let runtime = runtime(pipeline)?;
    let entered = runtime.enter();
    let mut host = host.clone();
    host.insert(Trial);
    privilege::start_helpers(pipeline, &mut host)?;
    let lifecycle = Lifecycle::hosted(host);
    // Keys are read first, and code is imported as the user that the server becomes.
    let built = pipeline.listeners(&lifecycle).and_then(|(_, warnings)| {
        let doubt = privilege::try_to_give_up(pipeline)?;
        pipeline.build(&lifecycle)?;
        // Another user than that of the server would judge wrongly.
        let doubt = doubt.unwrap_or_else(|| pipeline.obstacles());
        Ok(warnings.with(doubt))
    });
    drop(entered);
    lifecycle.shutdown();
    end(runtime);
    built
}

fn runtime(pipeline: &Pipeline) -> Result<Runtime, Report> {
    let mut builder = Builder::new_multi_thread();
    // An app without threads of its own runs on these.
    builder.enable_all().thread_name("ziggurat-io").thread_stack_size(wsgi::STACK).on_thread_start(wsgi::run_in_batches);
    if let Some(threads) = pipeline.server().threads {
        builder.worker_threads(threads.get());
    }
    builder.build().map_err(|error| pipeline.report(&format!("cannot start the runtime: {error}")))
}

/// Ends the runtime, then the interpreter.
fn end(runtime: Runtime) {
    // Blocking tasks, such as file reads and password checks, are not waited for: no request needs them any more.
    runtime.shutdown_background();
    wsgi::finalize();
}

fn print_message(line: &str) {
    // A closed standard error does not end the server.
    let _ = writeln!(std::io::stderr(), "{}", line.trim_end());
}
