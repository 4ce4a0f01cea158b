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
    // Sockets that the parent process left open are known by their number alone.
    let inherited = Path::new("src/server/listener.rs");
    for source in sources("src").chain(sources("middleware/src")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !(code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")) {
                continue;
            }
            assert!(
                source.is_under("src/wsgi") || source.path == inherited,
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
        for foreign in ["crate::pipeline", "crate::wsgi", "crate::cli", "crate::apps"] {
            source.must_not_name(foreign, "the server receives a finished stack");
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

    fn must_not_name(&self, name: &str, reason: &str) {
        for (at, line) in self.text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            assert!(!code.contains(name), "{}:{}: names `{name}`: {reason}", self.path.display(), at + 1);
        }
    }
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
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
