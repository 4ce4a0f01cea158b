//! The command line: what a person types, and what each command prints.

mod control;
mod project;
mod status;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, CommandFactory, Parser, Subcommand};
use http::Extensions;

use crate::pipeline::{Pipeline, Registry, Report, WorkerStack, schema};
use crate::run::{self, PipelineSource, init};
use crate::server::Listen;
use crate::worker::launcher::Launcher;
use crate::{docs, new, wsgi};

/// Everything went well.
const SUCCESS: u8 = 0;
/// Something failed while it ran.
const FAILURE: u8 = 1;
/// The file or the command line is wrong.
const MISUSE: u8 = 2;

/// Serves WSGI applications behind a stack of native layers that one JSON file declares.
#[derive(Parser)]
#[command(
    name = "ziggurat",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    group = ArgGroup::new("site").args(["app", "django"]),
    after_help = "Examples:
  ziggurat init                    write a pipeline.json for the project in this folder
  ziggurat run                     serve ./pipeline.json
  ziggurat run --watch             the same while it is being written: changes take effect at once
  ziggurat check site.json         say all that is wrong with a file, and start nothing
  ziggurat show                    the stack as understood, defaults filled in
  ziggurat layers compress         the options of one layer
  ziggurat mysite.wsgi:application serve a WSGI app without a file, on 127.0.0.1:8000
  ziggurat new stamp               write a crate with a layer of one's own into the folder stamp

Without arguments, in a folder with a pipeline.json, it is `ziggurat run`.
Exit codes: 0 success, 1 a failure while running, 2 a wrong file or command line.
Environment: VIRTUAL_ENV names the virtual environment whose packages the app sees; ZIGGURAT_LOG sets the level of the error log (error, warn, info, debug, trace); NO_COLOR turns colour off."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// A WSGI app to serve without a file, as `pkg.mod:callable`.
    #[arg(value_name = "APP")]
    app: Option<String>,

    /// A Django site to serve without a file, by its settings module: `mysite.settings`.
    #[arg(long, value_name = "SETTINGS", conflicts_with = "app")]
    django: Option<String>,

    /// Where to listen when a site is served without a file: `HOST:PORT`, `unix:PATH` or `fd:N`.
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8000", requires = "site")]
    listen: Listen,

    /// Imports the app anew whenever its code changes, and shows mistakes in the page; see `ziggurat help run`.
    #[arg(long, requires = "site")]
    watch: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the stack that a file declares, until SIGTERM or SIGINT.
    ///
    /// The first signal stops accepting and lets requests in flight finish (`server.drain`); a second one ends at once.
    /// SIGHUP reads the file again and lets it take effect without losing a request; where it is wrong, what runs goes on. SIGUSR1 opens log
    /// files again; SIGUSR2 writes the stacks of the Python threads to the log.
    Run {
        #[command(flatten)]
        file: File,

        /// For development: reloads when Python code or the file changes.
        ///
        /// Watched are the pipeline file, what it names through `${file:...}`, and `.py` files in the folders that apps are imported from (`path` of the
        /// `wsgi` app), without hidden folders, `node_modules` and virtual environments. A mistake never ends the server, not even at its start: it
        /// is printed, and every page shows it until it is mended. The code before gets 2 seconds for the requests that it has begun.
        #[arg(long)]
        watch: bool,

        /// Listens there, and not where the file says: `HOST:PORT`, `unix:PATH` or `fd:N`.
        #[arg(long, value_name = "WHERE")]
        listen: Option<Listen>,
    },

    /// Says how the running server fares: its apps, their workers, threads and queues.
    ///
    /// The file names the socket to ask at: `"server": { "control": "run/control.sock" }`.
    Status {
        #[command(flatten)]
        file: File,

        /// Prints everything as JSON.
        #[arg(long)]
        json: bool,
    },

    /// Has the running server read its file again, and waits until that took effect.
    ///
    /// No request is lost. Where the file is wrong or its app cannot be imported, what runs goes on, and the reason is printed; the exit
    /// code is 1 then. SIGHUP does the same without a control socket.
    Reload(File),

    /// Says all that is wrong with a file, with line and column, and how to mend it.
    ///
    /// Everything is built as for `run`, Python apps are imported, and nothing listens.
    Check {
        #[command(flatten)]
        file: File,

        /// Prints findings as JSON, for editors.
        #[arg(long)]
        json: bool,
    },

    /// Prints the stack as understood: order, routes, and every option with its default filled in.
    Show {
        #[command(flatten)]
        file: File,

        /// Prints a pipeline file that means the same, with everything spelled out: defaults, and what a `django` entry stands for.
        #[arg(long)]
        json: bool,
    },

    /// Prints the JSON Schema of pipeline files, with the layers and apps of this program.
    Schema,

    /// Lists the layers and apps of this program, or the options of one.
    Layers {
        /// A layer or app.
        name: Option<String>,

        /// Writes the reference pages, one per layer and app, into this folder.
        #[arg(long, value_name = "FOLDER", conflicts_with = "name", hide = true)]
        write: Option<PathBuf>,
    },

    /// Looks at the project in a folder and writes a pipeline.json that serves it.
    ///
    /// It knows Django, Flask, Bottle, Falcon, Pyramid, web.py and plain WSGI callables by their code, and other servers' command lines (Procfile,
    /// Dockerfile). No Python runs and nothing is imported. Where it finds no app, or several, it says so and writes nothing.
    Init {
        /// The project's folder.
        #[arg(value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,

        /// The app, where it cannot be told from the code: `pkg.mod:callable`, or `pkg.mod:make()` for what a factory makes.
        #[arg(long, value_name = "APP")]
        app: Option<String>,

        /// Writes over a pipeline.json that is there.
        #[arg(long)]
        force: bool,
    },

    /// Writes a small crate with a layer of one's own: it builds, tests and runs as it is, as a program and as a Python package.
    New {
        /// What the crate, its folder and its layer are called: lower-case words, as in `api-key`.
        name: String,

        /// The folder with Ziggurat's sources that the crate builds on. By default the one that this program was built from, if it is still there, else
        /// the version of this program.
        #[arg(long, value_name = "FOLDER")]
        path: Option<PathBuf>,
    },

    /// A worker process; the server starts it, with the link to it as standard input.
    #[command(hide = true)]
    Worker {
        /// What the process list shows.
        title: String,
    },

    /// Reads the settings of a Django site; the server asks for them over standard input.
    #[command(hide = true)]
    Settings,

    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(clap::Args)]
struct File {
    /// The pipeline file: strict JSON, or JSON with comments when it ends in `.jsonc`.
    #[arg(value_name = "FILE", default_value = "pipeline.json")]
    path: PathBuf,
}

/// Runs a command line with the layers and apps of `registry`; workers are started by `launch`, if it says otherwise than [`Launcher::current`].
pub(crate) fn main(registry: &Registry, launch: Option<Launcher>, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() == 1 && Path::new("pipeline.json").is_file() {
        arguments.push("run".into());
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors to clap's users; it knows the stream and the code of each.
            let _ = error.print();
            return if error.use_stderr() { MISUSE } else { SUCCESS };
        }
    };
    let host = host(launch);
    let registry = &registry.clone().hosted(host.clone());
    let serves = matches!(cli.command, None | Some(Command::Run { .. }));
    if serves
        && init::is_needed()
        && let Some(launch) = host.get::<Launcher>()
    {
        let served = init::supervise(&mut launch.again(arguments.get(1..).unwrap_or_default()));
        return served
            .unwrap_or_else(|error| complain(&format!("error: cannot start the server as a child of process 1: {error}"), FAILURE));
    }
    match cli.command {
        Some(command) => dispatch(registry, &host, command),
        None => match (cli.app, cli.django) {
            (Some(app), _) => serve(PipelineSource::app(app, cli.listen, registry), &host, cli.watch),
            (None, Some(settings)) => serve(PipelineSource::django(settings, cli.listen, registry), &host, cli.watch),
            (None, None) => MISUSE,
        },
    }
}

fn dispatch(registry: &Registry, host: &Extensions, command: Command) -> u8 {
    match command {
        Command::Run { file, watch, listen } => serve(PipelineSource::file(&file.path, listen, registry), host, watch),
        Command::Status { file, json } => control::status(&file, json),
        Command::Reload(file) => control::reload(&file),
        Command::Check { file, json } => check(&file, registry, host, json),
        Command::Show { file, json: false } => with(load(&file, registry), |pipeline| print(&pipeline.show())),
        Command::Show { file, json: true } => with(load(&file, registry), |pipeline| print(&format!("{:#}\n", pipeline.normalized()))),
        Command::Schema => print(&format!("{:#}\n", schema(registry))),
        Command::Layers { name: Some(name), .. } => match docs::terminal_page(registry, &name) {
            Ok(page) => print(&page),
            Err(message) => complain(&message, MISUSE),
        },
        Command::Layers { write: Some(folder), .. } => match docs::write_pages(registry, &folder) {
            Ok(()) => SUCCESS,
            Err(error) => complain(&format!("error: cannot write to {}: {error}", folder.display()), FAILURE),
        },
        Command::Layers { .. } => print(&docs::listing(registry)),
        Command::Init { folder, app, force } => project::init(&folder, app.as_deref(), force),
        Command::New { name, path } => match new::create(Path::new(""), &name, path.as_deref(), registry.layers()) {
            Ok(steps) => print(&steps),
            Err(new::Trouble::Refused(message)) => complain(&message, MISUSE),
            Err(new::Trouble::Failed(path, error)) => complain(&format!("error: cannot write {}: {error}", path.display()), FAILURE),
        },
        Command::Worker { .. } => {
            match wsgi::child::run(&|stack, lifecycle, runtime| WorkerStack::build(stack, registry, lifecycle, runtime)) {
                Ok(true) => SUCCESS,
                Ok(false) => FAILURE,
                Err(message) => complain(&message, MISUSE),
            }
        }
        Command::Settings => match wsgi::child::settings::run() {
            Ok(()) => SUCCESS,
            Err(message) => complain(&message, MISUSE),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ziggurat", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// What layers and apps may know about this program.
fn host(launch: Option<Launcher>) -> Extensions {
    let mut host = Extensions::new();
    // Where the system does not tell the executable, an app that wants workers says so.
    if let Some(launch) = launch.or_else(|| Launcher::current().ok()) {
        host.insert(launch);
    }
    host
}

fn load(file: &File, registry: &Registry) -> Result<Pipeline, Report> {
    Pipeline::load(&file.path, registry, &|name| std::env::var_os(name))
}

fn with(pipeline: Result<Pipeline, Report>, then: impl FnOnce(&Pipeline) -> u8) -> u8 {
    match pipeline {
        Ok(pipeline) => then(&pipeline),
        Err(report) => complain(&report.render(colour()), MISUSE),
    }
}

fn serve(source: PipelineSource, host: &Extensions, watch: bool) -> u8 {
    let outcome = |served: Result<(), Report>| match served {
        Ok(()) => SUCCESS,
        Err(report) => complain(&report.render(colour()), FAILURE),
    };
    if watch {
        return outcome(run::watch(source, host));
    }
    let pipeline = match source.load() {
        Ok(pipeline) => pipeline,
        Err(report) => return complain(&report.render(colour()), MISUSE),
    };
    if !pipeline.warnings().is_empty() {
        complain(&pipeline.warnings().render(colour()), SUCCESS);
    }
    outcome(run::run(source, pipeline, host))
}

fn check(file: &File, registry: &Registry, host: &Extensions, json: bool) -> u8 {
    let (report, code) = match load(file, registry) {
        Err(report) => (report, MISUSE),
        Ok(pipeline) => match run::try_build(&pipeline, host) {
            Err(report) => (report, FAILURE),
            Ok(()) => (pipeline.warnings().clone(), SUCCESS),
        },
    };
    if json {
        print(&format!("{:#}\n", report.to_json()));
        return code;
    }
    let text = report.render(colour());
    if !text.is_empty() {
        complain(&text, code);
    }
    if code == SUCCESS {
        print(&format!("{}: ok\n", file.path.display()));
    }
    code
}

/// Prints to standard output. A reader that went away (`ziggurat schema | head`) is no failure.
fn print(text: &str) -> u8 {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => FAILURE,
        _ => SUCCESS,
    }
}

fn complain(text: &str, code: u8) -> u8 {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    code
}

fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}
