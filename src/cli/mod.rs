//! The command line: its commands, their options and what they print.

mod acme;
mod certs;
mod cgi;
mod check;
mod conform;
mod control;
mod explain;
mod fix;
mod helper;
mod host;
mod import;
mod junit;
mod key;
mod mistyped;
mod output;
mod plan;
mod project;
mod purge;
mod reference;
mod status;
mod test;
mod top;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, CommandFactory, Parser, Subcommand};
use http::Extensions;

use crate::new;
use crate::pipeline::{Pipeline, Registry, Report, schema};
use crate::run::{self, PipelineSource, init};
use crate::server::Listen;
use crate::worker::launcher::Launcher;
use output::{color, color_on, complain, print};

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
  ziggurat run --watch             serve it and reload whenever code or the file changes
  ziggurat check site.json         report everything that is wrong with a file
  ziggurat explain GET /admin/     say what every layer does with a request, and why
  ziggurat check --fix             mend what moving or removing a line mends
  ziggurat show                    print the stack with all defaults filled in
  ziggurat layers compress         print the options of one layer
  ziggurat mysite.wsgi:application serve a WSGI app without a file, on 127.0.0.1:8000
  ziggurat new stamp               write a crate with a layer of your own into the folder stamp

Without arguments, in a folder with a pipeline.json, `ziggurat` means `ziggurat run`.
Exit codes: 0 success, 1 a failure while running, 2 a wrong file or command line.
Environment: VIRTUAL_ENV names the virtual environment of the app; ZIGGURAT_LOG sets the level of the error log (error, warn, info, debug, trace); NO_COLOR turns color off."
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

    /// The address to listen on when a site is served without a file: `HOST:PORT`, `unix:PATH` or `fd:N`.
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8000", requires = "site")]
    listen: Listen,

    /// Reloads when the code of the app changes, and shows errors in the browser; see `ziggurat help run`.
    #[arg(long, requires = "site")]
    watch: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the stack that a file declares, until SIGTERM or SIGINT.
    ///
    /// The first signal stops accepting connections and lets requests in progress finish (`server.drain`); a second one ends the server at once.
    /// SIGHUP reloads the file without losing a request; a wrong file changes nothing. SIGUSR1 reopens log files. SIGUSR2 writes the stacks of
    /// the Python threads to the log.
    Run {
        #[command(flatten)]
        file: File,

        /// For development: reloads when Python code or the file changes.
        ///
        /// It watches the pipeline file, the files of `${file:...}`, and `.py` files in the folders that apps are imported from (`path` of the `wsgi`
        /// app), except hidden folders, `node_modules` and virtual environments. An error does not end the server, not even at start: it is printed,
        /// and every page shows it until it is fixed. The old code has 2 seconds to finish its requests.
        #[arg(long)]
        watch: bool,

        /// The address to listen on, instead of those of the file: `HOST:PORT`, `unix:PATH` or `fd:N`.
        ///
        /// It is served in clear text if the file has an address in clear text, or none. Otherwise it has the `tls` of the first one. What an address in clear text says
        /// about `proxy_protocol` holds here too.
        #[arg(long, value_name = "WHERE")]
        listen: Option<Listen>,
    },

    /// Serves one request from the environment and standard input, and ends: for web servers that only run CGI programs (RFC 3875).
    ///
    /// The stack runs in this process, its apps too. `listen`, workers and what layers remember have no effect. A file that begins with a line
    /// `#!/path/of/ziggurat cgi` can be the program. Errors go to standard error, which is the error log of the web server.
    Cgi(File),

    /// Prints the status of the running server: its apps, their workers, threads and queues.
    ///
    /// The file names the control socket: `"server": { "control": "run/control.sock" }`.
    Status {
        #[command(flatten)]
        file: File,

        /// Prints everything as JSON.
        #[arg(long)]
        json: bool,
    },

    /// Shows what the running server does, every second: steps of the stack, apps, upstream servers.
    Top(top::Top),
    /// Makes the running server reload its file, and waits until that is done.
    ///
    /// No request is lost. If the file is wrong or its app cannot be imported, the running stack stays; the reason is printed and the exit code
    /// is 1. SIGHUP does the same without a control socket.
    Reload {
        #[command(flatten)]
        file: File,

        /// Prints what a reload would change, and does nothing: listeners, certificates, parts of the stack, workers. The exit code is 1 if the file is wrong.
        #[arg(long)]
        plan: bool,

        /// Prints the plan as JSON.
        #[arg(long, requires = "plan")]
        json: bool,
    },

    /// Removes stored responses from the caches of the running server: those of the layers `cache`.
    Purge(purge::Purge),

    /// Reports everything that is wrong with a file, with line, column and a hint.
    ///
    /// It builds everything as `run` does, and imports Python apps. It listens on nothing.
    Check(check::Check),

    /// Explains the way of a request through the pipeline: every layer that it meets, what the layer does with it and why, the routes that were tried, and who answers.
    ///
    /// Nothing is built, started or imported. The layers decide as they do while they serve.
    #[command(override_usage = "ziggurat explain [OPTIONS] [FILE] [METHOD] URL")]
    Explain(explain::Explain),

    /// Runs the tests in the file: requests, and what is expected to become of them.
    ///
    /// What is known without running anything is judged as `explain` tells it. With `--live`, the built stack answers. The exit code is 1 if a test fails.
    Test(test::Test),

    /// Tests a WSGI server, any one, against PEP 3333 and HTTP: more than 200 cases over sockets, each with the rule that it tests.
    ///
    /// `--write app.py` writes the app of the cases. Serve its `application` with the server under test, at the root of a port, and name that by `--against`.
    /// The exit code is 1 if a case fails whose rule is a `must`; a `should` is a notice.
    Conform(conform::Conform),

    /// Lists the certificates of a pipeline, those in files and those of authorities (ACME): their names, when they expire, and what is wrong with them.
    ///
    /// It asks nobody. The exit code is 1 if an authority's certificate is missing, has expired or could not be renewed.
    ///
    /// With `--self-signed`, it makes a certificate for development instead.
    Certs(certs::Certs),

    /// Prints the stack: its order, routes and places, and every option with its default filled in.
    Show {
        #[command(flatten)]
        file: File,

        /// Prints an equivalent pipeline file with everything written out: defaults, and what a `django` entry stands for.
        #[arg(long)]
        json: bool,
    },

    /// Prints the JSON Schema of pipeline files, with the layers and apps of this program.
    Schema,

    /// Lists the layers and apps of this program, or the options of one.
    Layers(reference::Layers),

    /// Looks at the project in a folder and writes a pipeline.json that serves it.
    ///
    /// It recognizes Django, Flask, Bottle, Falcon, Pyramid, web.py and plain WSGI callables in the code, and command lines of other servers
    /// (Procfile, Dockerfile). It runs no Python and imports nothing. If it finds no app, or several, it reports that and writes nothing.
    Init {
        /// The project's folder.
        #[arg(value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,

        /// The app, if the code does not show it: `pkg.mod:callable`, or `pkg.mod:make()` for a factory.
        #[arg(long, value_name = "APP")]
        app: Option<String>,

        /// Overwrites an existing pipeline.json.
        #[arg(long)]
        force: bool,
    },

    /// Writes the pipeline file for the configuration of gunicorn, uWSGI or NGINX Unit, and reports what became of each setting: taken, approximated or dropped.
    ///
    /// No code of the files is run: what only Python or a shell knows is dropped. The exit code is 1 if `check` would report an error in the pipeline.
    Import(import::Import),

    /// Makes a key for the layer `api_key`, and prints it with the line of the file that lets it in. The file has its hash alone, so note the key: nobody can show it again.
    Key(key::Key),

    /// Lists the order lints, what `check` warns of although every layer is sound, or explains one.
    Lints(reference::Lints),

    /// Writes a small crate with a layer of your own. It builds, tests and runs as it is, as a program and as a Python package.
    New {
        /// The name of the crate, its folder and its layer: lower-case words, as in `build-stamp`.
        name: String,

        /// The folder with Ziggurat's sources that the crate depends on. By default the one that this program was built from; if that is gone, the
        /// released version of this program.
        #[arg(long, value_name = "FOLDER")]
        path: Option<PathBuf>,
    },

    /// Runs a worker process. The server starts it, with their link as its standard input.
    #[command(hide = true)]
    Worker {
        /// The title in the process list.
        title: String,
    },

    /// Reads the settings of a Django site that the server asks for over standard input.
    #[command(hide = true)]
    Settings,

    /// Reads keys for a server that is not root any more.
    #[command(hide = true)]
    RootReader,

    /// Starts workers as their user, for a server that is not root any more.
    #[command(hide = true)]
    Spawner,

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
    if arguments.get(1).is_some_and(|command| command == "cgi") {
        // Further ones are the words of a query without `=` (RFC 3875 section 4.4): a client chooses them.
        arguments.truncate(3);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors for the user; clap knows the stream and the code of each.
            let _ = error.print();
            return if error.use_stderr() { MISUSE } else { SUCCESS };
        }
    };
    let host = host::facts(launch);
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
            (Some(app), _) => match mistyped::explain(&app) {
                Some(message) => complain(&message, MISUSE),
                None => serve(PipelineSource::app(app, cli.listen, registry), &host, cli.watch),
            },
            (None, Some(settings)) => serve(PipelineSource::django(settings, cli.listen, registry), &host, cli.watch),
            (None, None) => MISUSE,
        },
    }
}

fn dispatch(registry: &Registry, host: &Extensions, command: Command) -> u8 {
    match command {
        Command::Run { file, watch, listen } => serve(PipelineSource::file(&file.path, listen, registry), host, watch),
        Command::Cgi(file) => cgi::serve(&file, registry, host),
        Command::Status { file, json } => control::status(&file, json),
        Command::Top(options) => top::top(&options),
        Command::Reload { file, plan: true, json } => control::plan(&file, json),
        Command::Reload { file, .. } => control::reload(&file),
        Command::Purge(options) => purge::purge(&options),
        Command::Check(options) => check::check(&options, registry, host),
        Command::Test(options) => test::test(&options, registry, host),
        Command::Conform(options) => conform::conform(&options),
        Command::Explain(options) => explain::explain(&options, registry),
        Command::Certs(options) => certs::certs(&options, registry),
        Command::Show { file, json: false } => with(load(&file, registry), |pipeline| print(&pipeline.show())),
        Command::Show { file, json: true } => with(load(&file, registry), |pipeline| print(&format!("{:#}\n", pipeline.normalized()))),
        Command::Schema => print(&format!("{:#}\n", schema(registry))),
        Command::Layers(options) => reference::layers(&options, registry),
        Command::Key(options) => key::key(&options),
        Command::Lints(options) => reference::lints(&options),
        Command::Init { folder, app, force } => project::init(&folder, app.as_deref(), force),
        Command::Import(options) => import::import(&options, registry),
        Command::New { name, path } => match new::create(Path::new(""), &name, path.as_deref(), registry.layers()) {
            Ok(steps) => print(&steps),
            Err(new::Error::Refused(message)) => complain(&message, MISUSE),
            Err(new::Error::Failed(path, error)) => complain(&format!("error: cannot write {}: {error}", path.display()), FAILURE),
        },
        Command::Worker { .. } => helper::worker(registry),
        Command::Settings => helper::settings(),
        Command::RootReader => helper::root_reader(),
        Command::Spawner => helper::spawner(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ziggurat", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn load(file: &File, registry: &Registry) -> Result<Pipeline, Report> {
    Pipeline::load(&file.path, registry, &|name| std::env::var_os(name))
}

fn with(pipeline: Result<Pipeline, Report>, then: impl FnOnce(&Pipeline) -> u8) -> u8 {
    match pipeline {
        Ok(pipeline) => then(&pipeline),
        Err(report) => complain(&report.render(color()), MISUSE),
    }
}

fn serve(source: PipelineSource, host: &Extensions, watch: bool) -> u8 {
    let outcome = |served: Result<(), Report>| match served {
        Ok(()) => SUCCESS,
        Err(report) => complain(&report.render(color()), FAILURE),
    };
    if watch {
        return outcome(run::watch(source, host));
    }
    let pipeline = match source.load() {
        Ok(pipeline) => pipeline,
        Err(report) => return complain(&report.render(color()), MISUSE),
    };
    if !pipeline.warnings().is_empty() {
        complain(&pipeline.warnings().render(color()), SUCCESS);
    }
    outcome(run::run(source, pipeline, host))
}
