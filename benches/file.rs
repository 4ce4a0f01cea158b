//! What reading a pipeline file costs: text to spanned tree, variables, names, types, checks; and building the stack from it.
#![allow(clippy::expect_used)]

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use divan::Bencher;
use divan::counter::BytesCount;
use ziggurat::builtin;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::Lifecycle;

/// Routes of the file, each with two layers.
const ROUTES: [usize; 3] = [1, 50, 1000];

fn main() {
    divan::main();
}

/// As `check` does it.
#[divan::bench(args = ROUTES)]
fn read(bencher: Bencher<'_, '_>, routes: usize) {
    let text = file(routes);
    let registry = builtin();
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        Pipeline::from_text("pipeline.json", black_box(&text), Path::new("."), &registry, &|_| Some("128KiB".into())).expect("it is sound")
    });
}

/// The stack from a file already read.
#[divan::bench(args = ROUTES)]
fn build(bencher: Bencher<'_, '_>, routes: usize) {
    let text = file(routes);
    let pipeline =
        Pipeline::from_text("pipeline.json", &text, Path::new("."), &builtin(), &|_| Some("128KiB".into())).expect("it is sound");
    bencher.bench(|| pipeline.build(&Lifecycle::default()).expect("nothing has to be acquired"));
}

/// A file with this many routes.
fn file(routes: usize) -> String {
    let mut text = r#"{ "listen": "127.0.0.1:8000", "layers": ["request_id", "security_headers"], "app": { "routes": ["#.to_owned();
    for route in 0..routes {
        let comma = if route == 0 { "" } else { "," };
        let written = write!(
            text,
            r#"{comma}
  {{ "match": {{ "host": "www.example.com", "path": "/section/{route}/*" }},
     "layers": [{{ "body_limit": "${{LIMIT:-1MiB}}" }}, {{ "timeout": "30s" }}],
     "app": {{ "respond": 204 }} }}"#
        );
        written.expect("a string takes everything");
    }
    text + "\n] } }\n"
}
