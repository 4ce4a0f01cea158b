//! What the compiler says of the usual mistakes: sentences of ours, which name the culprit and how to mend it.
//!
//! Each file of `compile_fail/` is compiled against the library that this test is linked with, so that nothing is built a second time. Its lines
//! `//~ ...` have to occur in what the compiler says; rustc's own, which change, are not looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn the_usual_mistakes_are_explained() {
    for fixture in fixtures("compile_fail") {
        let compiled = compile(&fixture);
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(!compiled.status.success(), "{} compiles", fixture.display());
        let source = fs::read_to_string(&fixture).unwrap();
        let sentences: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        assert!(!sentences.is_empty(), "{} expects nothing", fixture.display());
        for sentence in sentences {
            assert!(said.contains(sentence), "{}: `{sentence}` is not said in\n{said}", fixture.display());
        }
    }
}

/// The mistakes above are the mistakes that are meant: without them the same code compiles.
#[test]
fn what_has_no_mistake_compiles() {
    for fixture in fixtures("compile_pass") {
        let compiled = compile(&fixture);
        assert!(compiled.status.success(), "{}: {}", fixture.display(), String::from_utf8_lossy(&compiled.stderr));
    }
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let fixtures: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!fixtures.is_empty());
    fixtures
}

fn compile(fixture: &Path) -> Output {
    let library = library();
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "-A",
            "warnings",
            "--out-dir",
            env!("CARGO_TARGET_TMPDIR"),
        ])
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .arg("--extern")
        .arg(format!("ziggurat_middleware={}", library.display()))
        .arg(fixture)
        .output()
        .unwrap()
}

/// The library that this test is linked with: the newest beside it that is not newer than the test itself.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let beside = fs::read_dir(test.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libziggurat_middleware-") && name.ends_with(".rlib")
    };
    beside.filter(is_library).filter(|path| built(path) <= built(&test)).max_by_key(|path| built(path)).unwrap()
}
