//! `ziggurat purge`: removes stored responses from the caches of a running server.

use clap::ArgGroup;
use ziggurat_middleware::cache::Purge as Named;

use super::{File, MISUSE, complain, control, print};

#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("what").args(["paths", "tags", "all"]).required(true).multiple(true),
    after_help = "Examples:
  ziggurat purge --path /news/ --path '/news/*'
  ziggurat purge site.json --tag article-17
  ziggurat purge --all"
)]
pub(super) struct Purge {
    #[command(flatten)]
    file: File,

    /// The path of a URL, with any query if the path has none; may be repeated. `/news/*` is all that begins so. `https://example.org/news/` is that of one site.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,

    /// A tag in the `Cache-Tag` of responses; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Removes everything.
    #[arg(long)]
    all: bool,
}

/// Removes what the options name, and prints how many responses each cache has removed.
pub(super) fn purge(options: &Purge) -> u8 {
    let wrong = options.paths.iter().find(|path| !path.starts_with('/') && !path.contains("://"));
    if let Some(path) = wrong {
        return complain(&format!("error: `{path}` is not the path of a URL\nhint: write `/{path}`"), MISUSE);
    }
    let named = Named { all: options.all, paths: options.paths.clone(), tags: options.tags.clone() };
    match control::purge(&options.file, &named) {
        Ok(caches) if caches.is_empty() => {
            let hint =
                "the layer `cache` stores responses; below a Python layer it belongs to the workers, which this command does not reach";
            complain(&format!("error: the server has no cache\nhint: {hint}"), MISUSE)
        }
        Ok(caches) => {
            let lines = caches
                .iter()
                .map(|(place, count)| format!("{place}: {count} {} removed\n", if *count == 1 { "response" } else { "responses" }));
            print(&lines.collect::<String>())
        }
        Err(code) => code,
    }
}
