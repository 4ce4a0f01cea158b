//! Finds the file for a request.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use rustix::io::Errno;

use super::Static;
use super::manifest::Manifest;
use super::memory::{Kept, Memory, Ranking, Versions};
use crate::encoding::{Accepted, Encoding};
use crate::files::{self, Absent, Answer, Entry, Identities, Opened, Representation, Root, Target, Unnamed, kind, reason, target};
use crate::path::without_root;
use crate::{Body, Context, Explain, Finding, OriginalUri, Place, Problem, Request, RequestSummary, Response};

/// A folder of files under a URL prefix.
#[derive(Debug)]
pub(super) struct StaticFiles {
    place: Place,
    /// Without a slash at its end.
    prefix: String,
    root: Root,
    index: Option<String>,
    fallback: Option<String>,
    precompressed: bool,
    immutable: Option<Manifest>,
    cache_control: HeaderValue,
    dotfiles: bool,
    identities: Identities,
    memory: Memory,
}

/// What a path names.
enum Lookup {
    /// A file, and the files that it was made of.
    File(Representation, Versions),
    /// The file that stands for paths without one.
    Fallback(Representation),
    /// A folder whose path needs a slash at the end.
    Folder,
    /// Nothing, for this reason.
    NotFound(&'static str),
}

/// Why a folder is not served.
const NO_INDEX: &str = "the path names a folder without an index file, or no folder (option `index`)";

impl StaticFiles {
    pub(super) fn new(options: Static, default_at: &str, context: &Context) -> Result<Self, Finding> {
        let path = context.resolve(&options.root);
        let root = files::root(path.clone(), options.symlinks, "create it, or for Django run `manage.py collectstatic`")
            .map_err(|finding| finding.at("root"))?;
        let immutable = options.immutable.then(|| Manifest::of(&root));
        let files = Self {
            place: context.place().clone(),
            prefix: options.at.as_deref().unwrap_or(default_at).trim_end_matches('/').to_owned(),
            root,
            index: options.index.0,
            fallback: options.fallback.map(|name| name.trim_start_matches('/').to_owned()),
            precompressed: options.precompressed,
            immutable,
            cache_control: match options.max_age {
                Some(age) => HeaderValue::try_from(format!("max-age={}", age.0.as_secs()))?,
                None => const { HeaderValue::from_static("no-cache") },
            },
            dotfiles: options.dotfiles,
            identities: Identities::default(),
            memory: Memory::new(usize::try_from(options.memory.0).unwrap_or(usize::MAX)),
        };
        if let Some(name) = &files.fallback
            && !matches!(files.root.open(name.as_bytes()), Ok(Entry::File(_)))
        {
            return Err(Finding::new(format!("there is no file `{name}` in `{}`", path.display())).at("fallback"));
        }
        Ok(files)
    }

    /// The response to a GET or HEAD; `None` for a path without a file.
    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        self.answer_at(request.uri().path(), request)
    }

    fn answer_at(&self, path: &str, request: &Request) -> Option<Answer> {
        let ranking = self.ranking(request);
        if let Some(kept) = self.kept(path, &ranking) {
            return Some(Answer::Now(kept.file.answer(request.method(), request.headers())));
        }
        let target = match self.target(path) {
            Ok(target) => target,
            Err(Unnamed::Elsewhere) => return None,
            Err(unnamed) => return self.not_found(unnamed.reason(), request),
        };
        match self.find(&target, &ranking) {
            Ok(Lookup::File(file, versions)) => Some(match file.identify(&self.identities) {
                Ok(file) => {
                    let kept = self.keep(Kept { file, versions }, path, ranking);
                    Answer::Now(kept.and_then(|kept| kept.file.answer(request.method(), request.headers())))
                }
                Err(file) => Answer::Later(*file),
            }),
            // Its paths have no end.
            Ok(Lookup::Fallback(file)) => Some(file.answer(&self.identities, request.method(), request.headers())),
            Ok(Lookup::Folder) => match redirect(request) {
                Some(redirect) => Some(Answer::Now(redirect)),
                // The path that the client knows ends in a slash already.
                None => self.answer_at(&format!("{path}/"), request),
            },
            Ok(Lookup::NotFound(why)) => self.not_found(why, request),
            Err(errno) => Some(Answer::Now(Err(unopened(errno)))),
        }
    }

    /// The file for a path that is in memory and has not changed.
    fn kept(&self, path: &str, ranking: &Ranking) -> Option<Arc<Kept>> {
        let kept = self.memory.get(path, ranking)?;
        kept.versions.iter().all(|(name, stamp)| self.root.is_unchanged(name, stamp)).then_some(kept)
    }

    /// Puts a file into memory if it is small.
    fn keep(&self, mut kept: Kept, path: &str, ranking: Ranking) -> Result<Arc<Kept>, Problem> {
        let is_kept = !self.memory.is_off() && kept.versions.iter().all(|(_, stamp)| stamp.tells_changes());
        let octets = if is_kept { kept.file.load()? } else { None };
        let kept = Arc::new(kept);
        if let Some(octets) = octets {
            self.memory.put(path, ranking, &kept, octets);
        }
        Ok(kept)
    }

    fn ranking(&self, request: &Request) -> Ranking {
        let mut ranking = Ranking::default();
        if self.precompressed {
            let accepted = Accepted::of(request.headers()).ranked(&Encoding::ALL);
            ranking.iter_mut().zip(accepted).for_each(|(slot, encoding)| *slot = Some(encoding));
        }
        ranking
    }

    /// Says which file a GET or HEAD is for, and answers with it if there is one.
    pub(super) fn explain(&self, explain: &mut Explain<'_>) {
        let request = explain.request();
        let mut target = match self.target(request.uri().path()) {
            Ok(target) => target,
            Err(Unnamed::Elsewhere) => return explain.note(format!("the path is not below `{}`", self.prefix)),
            Err(unnamed) => return explain.note(unnamed.reason()),
        };
        let name = self.root.path().join(OsStr::from_bytes(&target.name));
        let looked = format!("looks for `{}`", name.display());
        let ranking = self.ranking(request);
        let mut found = self.find(&target, &ranking);
        let redirected = redirect(request);
        if matches!(found, Ok(Lookup::Folder)) && redirected.is_none() {
            target.folder = true;
            found = self.find(&target, &ranking);
        }
        let what = match (&found, &self.fallback) {
            (Ok(Lookup::Fallback(_)), Some(fallback)) => format!("there is none, so the fallback `{fallback}` is served"),
            _ => "it exists".to_owned(),
        };
        match found {
            Ok(Lookup::File(file, _) | Lookup::Fallback(file)) => {
                let how = match file.encoding {
                    Some(encoding) => format!("; the client accepts `{}`, which is beside it", encoding.token()),
                    None => String::new(),
                };
                let answer = file.answer_here(&self.identities, request.method(), request.headers());
                explain.note(format!("{looked}: {what}{how}"));
                explain.answer(answer.unwrap_or_else(Problem::into_response));
            }
            Ok(Lookup::Folder) => {
                explain.note(format!("{looked}: it is a folder with an index file, and its path ends in a slash"));
                explain.answer(redirected.map_or_else(Response::default, |answer| answer.unwrap_or_else(Problem::into_response)));
            }
            Ok(Lookup::NotFound(why)) => explain.note(format!("{looked}: {why}")),
            Err(errno) => explain.refuse(unopened(errno)),
        }
    }

    fn target(&self, path: &str) -> Result<Target, Unnamed> {
        target(path.as_bytes(), self.prefix.as_bytes(), self.dotfiles)
    }

    /// Logs why there is no file.
    fn not_found(&self, why: &str, request: &Request) -> Option<Answer> {
        let summary = RequestSummary::of(request.extensions());
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        tracing::debug!(request_id, request, place = self.place.as_str(), root = %self.root.path().display(), "no file: {why}");
        None
    }

    /// The response with a file that has to be read first.
    pub(super) async fn learn(self: Arc<Self>, file: Representation, request: Request) -> Result<Response, Problem> {
        file.learn(&self.identities, request.method(), request.headers()).await
    }

    fn find(&self, target: &Target, ranking: &Ranking) -> Result<Lookup, Errno> {
        let mut name = target.name.clone();
        let why = if !target.folder {
            match self.root.open(&name)? {
                Entry::File(file) => return self.represent(file, name, ranking).map(|(file, versions)| Lookup::File(file, versions)),
                Entry::Folder if self.has_index(&name)? => return Ok(Lookup::Folder),
                Entry::Folder => NO_INDEX,
                Entry::Nothing(absent) => absent.reason(),
            }
        } else if let Some(index) = &self.index {
            join(&mut name, index);
            match self.root.open(&name)? {
                Entry::File(file) => return self.represent(file, name, ranking).map(|(file, versions)| Lookup::File(file, versions)),
                Entry::Folder | Entry::Nothing(Absent::Missing) => NO_INDEX,
                Entry::Nothing(absent) => absent.reason(),
            }
        } else {
            NO_INDEX
        };
        if let Some(fallback) = &self.fallback
            && let Entry::File(file) = self.root.open(fallback.as_bytes())?
        {
            return self.represent(file, fallback.clone().into_bytes(), ranking).map(|(file, _)| Lookup::Fallback(file));
        }
        Ok(Lookup::NotFound(why))
    }

    fn has_index(&self, folder: &[u8]) -> Result<bool, Errno> {
        let Some(index) = &self.index else { return Ok(false) };
        let mut name = folder.to_vec();
        join(&mut name, index);
        Ok(matches!(self.root.open(&name)?, Entry::File(_)))
    }

    /// The file itself, or its compressed sibling that the client prefers.
    fn represent(&self, file: Opened, name: Vec<u8>, ranking: &Ranking) -> Result<(Representation, Versions), Errno> {
        let mut versions = vec![(name.clone(), file.stamp)];
        let (file, encoding) = match self.sibling(&name, &file, ranking)? {
            Some((sibling_name, sibling, encoding)) => {
                versions.push((sibling_name, sibling.stamp));
                (sibling, Some(encoding))
            }
            None => (file, None),
        };
        let representation = Representation {
            file,
            encoding,
            vary: self.precompressed,
            media_type: kind::media_type(&name),
            cache_control: Some(self.cache_control(&name)),
        };
        Ok((representation, versions))
    }

    /// Names in the manifest never get another content. Without one, a name with a hash is taken at its word.
    fn cache_control(&self, name: &[u8]) -> HeaderValue {
        match &self.immutable {
            Some(manifest) if manifest.has(name, &self.root).unwrap_or_else(|| kind::is_hashed(name)) => {
                const { HeaderValue::from_static("public, max-age=31536000, immutable") }
            }
            _ => self.cache_control.clone(),
        }
    }

    fn sibling(&self, name: &[u8], file: &Opened, ranking: &Ranking) -> Result<Option<(Vec<u8>, Opened, Encoding)>, Errno> {
        for encoding in ranking.iter().flatten() {
            let mut name = name.to_vec();
            name.extend_from_slice(match encoding {
                Encoding::Zstd => b".zst",
                Encoding::Br => b".br",
                Encoding::Gzip => b".gz",
            });
            // One second, because archives and some compressors keep only whole seconds.
            if let Entry::File(sibling) = self.root.open(&name)?
                && sibling.stamp.modified.0.saturating_add(1) >= file.stamp.modified.0
            {
                return Ok(Some((name, sibling, *encoding)));
            }
        }
        Ok(None)
    }
}

fn unopened(errno: Errno) -> Problem {
    let cause = format!("cannot open a static file: {}", reason(errno));
    Problem::of_system(&errno.into(), cause)
}

fn join(name: &mut Vec<u8>, index: &str) {
    if !name.is_empty() {
        name.push(b'/');
    }
    name.extend_from_slice(index.as_bytes());
}

/// Redirects to the path that the client sent, with a slash at the end; `None` if it has one.
fn redirect(request: &Request) -> Option<Result<Response, Problem>> {
    let uri = OriginalUri::of(request.uri(), request.extensions());
    let path = uri.path();
    (!path.ends_with('/')).then(|| {
        let mut location = format!("/{}/", without_root(path));
        if let Some(query) = uri.query() {
            location.push('?');
            location.push_str(query);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).map_err(Problem::internal)?);
        Ok(response)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use http::Method;
    use tokio::time::advance;

    use super::*;
    use crate::Lifecycle;
    use crate::files::Stamp;

    #[tokio::test(start_paused = true)]
    async fn what_is_in_memory_is_bounded_and_forgotten_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..64).map(|number| format!("/{number}.css")).collect();
        let on_disk = |path: &str| folder.path().join(&path[1..]);
        paths.iter().for_each(|path| fs::write(on_disk(path), "x".repeat(1 << 10)).unwrap());
        fs::write(on_disk("/large.css"), "x".repeat((64 << 10) + 1)).unwrap();
        let stamp = || Stamp::of(&rustix::fs::stat(on_disk("/large.css")).unwrap());
        while !stamp().tells_changes() {
            std::thread::yield_now();
        }
        let kept = async |memory: &str, path: &str| {
            let options = Static { root: folder.path().to_owned(), memory: memory.parse().unwrap(), ..Static::default() };
            let context = Context::new("static", Path::new("/"), Lifecycle::default());
            let files = StaticFiles::new(options, "/", &context).unwrap();
            let ask = |path: &str| files.answer(&crate::request(Method::GET, path, Body::empty()));
            let has = |path: &str| files.memory.get(path, &Ranking::default()).is_some();
            paths.iter().for_each(|path| assert!(matches!(ask(path), Some(Answer::Now(Ok(_))))));
            let count = paths.iter().filter(|path| has(path)).count();
            advance(Duration::from_secs(1)).await;
            assert!(!paths.iter().any(|path| has(path)), "{memory}");
            ask(path);
            (count, has(path))
        };
        assert_eq!(kept("16KiB", "/63.css").await, (7, true));
        assert_eq!(kept("8MiB", "/large.css").await, (64, false));
        assert_eq!(kept("0B", "/63.css").await, (0, false));
    }
}
