//! Where keys come from: a file, or another server that changes them from time to time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Uri;

use super::keys::KeySet;
use crate::auth::{CredentialFile, Refreshed, get};
use crate::{BoxError, Client, Context, Result};

/// The keys of a layer.
pub(super) enum KeySource {
    File(Arc<CredentialFile<KeySet>>),
    Server(Arc<Refreshed<KeySet>>),
}

impl KeySource {
    /// Keys in a file.
    pub(super) fn file(context: &Context, path: PathBuf) -> Result<Self> {
        let file = Arc::new(CredentialFile::<KeySet>::open(path)?);
        file.show(context);
        Ok(Self::File(file))
    }

    /// Keys at a URL, which are fetched again after each `every`.
    pub(super) fn server(context: &Context, client: Client, url: Uri, every: Duration) -> Result<Self> {
        let from = url.clone();
        let fetch = move || {
            let (client, from) = (client.clone(), from.clone());
            async move { fetch_keys(&client, &from).await }.boxed()
        };
        Ok(Self::Server(Refreshed::start(context, url, every, Box::new(fetch))))
    }

    /// The keys, if there are any.
    pub(super) async fn current(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::File(file) => file.current().await,
            Self::Server(server) => server.current().await,
        }
    }

    /// The keys after those that do not have the key of a token, if they have changed.
    pub(super) async fn renewed(&self, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        match self {
            Self::File(_) => None,
            Self::Server(server) => server.renewed(known).await,
        }
    }
}

/// The keys at a URL.
pub(crate) async fn fetch_keys(client: &Client, url: &Uri) -> Result<KeySet, BoxError> {
    let keys = KeySet::parse(&get(client, url).await?, false)?;
    if keys.len() == 0 { Err("there is no key that verifies signatures".into()) } else { Ok(keys) }
}
