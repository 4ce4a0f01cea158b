//! Keeps the invariants of ARCHITECTURE.md that can be read off the sources.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_middleware_crate_knows_no_python_no_sockets_no_file_and_no_command_line() {
    for source in sources("middleware/src") {
        for foreign in ["pyo3", "tokio::net", "std::net::Tcp", "std::os::unix::net", "hyper", "jsonc_parser", "clap"] {
            source.must_not_name(foreign, "the middleware crate is the vocabulary and the native layers, nothing else");
        }
    }
    assert!(read("middleware/src/lib.rs").contains("#![forbid(unsafe_code)]"));
}

#[test]
fn python_is_named_in_the_bridge_and_in_the_extension_module_only() {
    for source in sources("src").filter(|source| !source.is_under("src/wsgi") && !source.is_under("src/extension")) {
        source.must_not_name("pyo3", "pyo3 is for src/wsgi and src/extension");
    }
}

#[test]
fn every_unsafe_block_stands_in_the_bridge_and_says_why_it_is_sound() {
    // Sockets that the parent process left open are known by their number alone; no crate wraps `malloc_trim`; memory that another process writes to is no safe Rust.
    let exceptions = ["src/server/listener.rs", "src/run/memory.rs", "src/worker/link/shared_memory.rs"].map(Path::new);
    for source in sources("src").chain(sources("middleware/src")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !(code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")) {
                continue;
            }
            assert!(
                source.is_under("src/wsgi") || exceptions.contains(&&*source.path),
                "{}:{}: unsafe outside the bridge",
                source.path.display(),
                at + 1
            );
            let said = lines[at.saturating_sub(6)..=at].iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            assert!(said, "{}:{}: unsafe without `// SAFETY:` above it", source.path.display(), at + 1);
        }
    }
}

#[test]
fn the_server_knows_no_pipeline_and_no_python() {
    for source in sources("src/server") {
        for foreign in ["pipeline", "wsgi", "cli", "apps", "call", "worker", "run"] {
            source.must_not_name(&format!("crate::{foreign}"), "the server receives a finished stack");
        }
    }
}

#[test]
fn protocols_know_no_sockets() {
    let protocols =
        ["http1", "http2", "http3", "http.rs", "gateway"].into_iter().flat_map(|protocol| sources(&format!("src/server/{protocol}")));
    for source in protocols {
        for foreign in ["tokio::net", "socket2", "TcpStream", "UnixStream", "server::socket"] {
            source.must_not_name(foreign, "a protocol is served over any stream");
        }
    }
}

/// The folders and files of `src`. Each may use those before it in this list, and none behind it.
const ORDER: &[&str] = &[
    "log",
    "body_channel",
    "cgi",
    "gateway",
    "http2_frames",
    "proxy_protocol",
    "reason",
    "tunnel",
    "acme",
    "tls",
    "upstream",
    "store",
    "otlp",
    "traces",
    "metrics",
    "call",
    "worker",
    "wsgi",
    "server",
    "apps",
    "pipeline",
    "builtin",
    "testing",
    "extension",
    "run",
    "detect",
    "import",
    "new",
    "conform",
    "docs",
    "cli",
];

#[test]
fn folders_depend_on_each_other_in_one_direction() {
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(matches!(name, "lib" | "main") || rank(name).is_some(), "src/{name} is not in the list of the order");
    }
    for source in sources("src") {
        let Some(here) = source.folder().and_then(rank) else { continue };
        for there in source.uses().iter().filter_map(|name| rank(name)) {
            assert!(there <= here, "{}: {} uses {}, which is above it", source.path.display(), ORDER[here], ORDER[there]);
        }
    }
}

#[test]
fn uses_are_found_one_by_one_and_in_groups() {
    let text = "use crate::call::{Call, Reply};\nuse crate::{cgi, log::Mark};\nfn f() { crate::wsgi::g() } // crate::cli\n#[cfg(test)]\nmod tests {\n    use crate::run;\n}\n";
    let source = Source { path: PathBuf::from("src/x.rs"), text: text.to_owned() };
    assert_eq!(source.uses(), ["call", "cgi", "log", "wsgi"]);
}

#[test]
fn the_model_of_a_file_knows_neither_reader_nor_check_nor_builder() {
    for source in sources("src/pipeline/model") {
        for foreign in ["read", "check", "build", "print", "options", "diagnostic"] {
            source.must_not_name(&format!("pipeline::{foreign}"), "the model is data that readers make and builders walk over");
        }
        source.must_not_name("super::super::", "parts of the pipeline are named in full here");
    }
}

#[test]
fn reader_checks_and_printers_know_no_builder() {
    for source in ["read", "check", "print"].into_iter().flat_map(|part| sources(&format!("src/pipeline/{part}"))) {
        source.must_not_name("pipeline::build", "a file is read, checked and shown without building anything");
        source.must_not_name("super::build", "a file is read, checked and shown without building anything");
    }
    for source in sources("src/pipeline/build") {
        source.must_not_name("pipeline::read", "builders get a model");
        source.must_not_name("pipeline::print", "builders get a model");
    }
}

#[test]
fn cgi_variables_know_only_the_vocabulary() {
    for source in sources("src/cgi") {
        source.must_not_name("crate::", "gateways and the bridge to Python use the same conversion");
    }
}

#[test]
fn the_codecs_of_gateways_know_no_sockets() {
    for source in sources("src/gateway") {
        for foreign in ["tokio", "std::io", "std::os::unix"] {
            source.must_not_name(foreign, "octets in, messages out: the same codec serves both directions");
        }
    }
}

#[test]
fn no_stack_knows_a_listener() {
    for source in sources("src/apps").chain(sources("src/wsgi")) {
        source.must_not_name("crate::server", "apps and bridges work behind any server");
    }
}

#[test]
fn there_is_no_global_state() {
    // The interpreter is one per process, and so is what is known about it.
    let interpreter = Path::new("src/wsgi/interpreter.rs");
    for source in sources("src").chain(sources("middleware/src")).filter(|source| source.path != interpreter) {
        for (at, line) in source.text.lines().enumerate() {
            let line = line.trim_start();
            let global = line.starts_with("static ") || line.starts_with("pub static ") || line.starts_with("pub(crate) static ");
            let mutable = ["Mutex", "RwLock", "Atomic", "OnceLock", "LazyLock", "static mut"].iter().any(|kind| line.contains(kind));
            assert!(!(global && mutable), "{}:{}: global state: {line}", source.path.display(), at + 1);
        }
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for source in sources("src").chain(sources("middleware/src")).chain(sources("tests")) {
        let lines = source.text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines: is there a wall missing?", source.path.display());
    }
}

#[test]
fn every_source_file_says_its_purpose_first() {
    for source in sources("src").chain(sources("middleware/src")).chain(sources("tests")) {
        assert!(source.text.starts_with("//!"), "{} does not open with `//!`", source.path.display());
    }
}

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The folder of `src` that it is in, or its own name where it is directly in `src`.
    fn folder(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src").ok()?.components().next()?;
        Path::new(first.as_os_str()).file_stem()?.to_str()
    }

    /// The parts of this crate that its code names, unit tests and comments left out.
    fn uses(&self) -> Vec<String> {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
        let code = code.join("\n");
        let mut names = Vec::new();
        for used in code.split("crate::").skip(1) {
            match used.strip_prefix('{') {
                None => names.push(word(used)),
                Some(group) => {
                    let mut depth = 0_u32;
                    let mut first = true;
                    for (at, c) in group.char_indices() {
                        match c {
                            '}' if depth == 0 => break,
                            '{' => depth += 1,
                            '}' => depth -= 1,
                            ',' if depth == 0 => first = true,
                            c if c.is_alphabetic() && first => {
                                first = false;
                                names.push(word(&group[at..]));
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        names
    }

    fn must_not_name(&self, name: &str, reason: &str) {
        for (at, line) in self.text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            assert!(!code.contains(name), "{}:{}: names `{name}`: {reason}", self.path.display(), at + 1);
        }
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn sources(folder: &str) -> impl Iterator<Item = Source> + use<> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    assert!(!paths.is_empty(), "{folder} has no sources");
    paths.into_iter().map(|path| Source { text: fs::read_to_string(&path).unwrap(), path: path.strip_prefix(root()).unwrap().to_owned() })
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    if folder.is_file() {
        return paths.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
