//! A generation before it serves. Everything that can fail happens here, and is undone if it fails.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ziggurat_middleware::{Lifecycle, Next};

use super::{print_message, privilege};
use crate::pipeline::{Pipeline, Report};
use crate::server::{Address, Listen, Listener};

/// A stack that is built, and the sockets that it needs in addition to those that are bound.
pub(super) struct PreparedPipeline {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) stack: Next,
    /// What to listen on.
    pub(super) listen: Vec<Listen>,
    /// Those that are not listened on yet.
    pub(super) listeners: Vec<Listener>,
    pub(super) control: ControlSocket,
    /// The error that the stack shows instead of serving the site.
    pub(super) mistake: Option<Report>,
}

/// The control socket of the next generation.
pub(super) enum ControlSocket {
    None,
    /// The current one.
    Keep,
    Bind(PathBuf, Box<Listener>),
}

/// What the current generation has bound, and its pipeline.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) listening: Vec<Listen>,
    /// The addresses of TCP listeners: as written, and as bound.
    pub(super) addresses: Vec<(Address, SocketAddr)>,
    pub(super) control: Option<PathBuf>,
    pub(super) pipeline: Option<Arc<Pipeline>>,
}

/// What is opened for an entry of `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing: its sockets are kept.
    None,
    /// The socket of HTTP/3; that of TCP is kept.
    Http3,
    All,
}

impl Bound {
    /// What the next generation opens for an entry.
    pub(super) fn opening(&self, listen: &Listen) -> Opening {
        match self.listening.iter().find(|now| now.address == listen.address) {
            None => Opening::All,
            Some(now) if listen.http.has_http3() && !now.http.has_http3() => Opening::Http3,
            Some(_) => Opening::None,
        }
    }

    /// The path of the control socket that a pipeline names, and whether it has to be bound.
    pub(super) fn control(&self, pipeline: &Pipeline) -> Option<(PathBuf, bool)> {
        let path = pipeline.base().join(pipeline.server().control.as_ref()?);
        let is_new = self.control.as_ref() != Some(&path);
        Some((path, is_new))
    }
}

impl PreparedPipeline {
    /// Builds and binds. Blocks; must be called within a runtime. If it fails, it shuts down what it has started.
    ///
    /// Where the server has to become another user, it first binds and reads keys, and does the rest as that user.
    pub(super) fn prepare(pipeline: Arc<Pipeline>, lifecycle: &Lifecycle, bound: &Bound) -> Result<Self, Report> {
        if bound.pipeline.is_none()
            && let Some(identity) = privilege::wanted(&pipeline)?
        {
            let end = |_: &Report| lifecycle.shutdown();
            let sockets = Sockets::open(&pipeline, lifecycle, bound).inspect_err(end)?;
            privilege::give_up(identity, &pipeline).inspect_err(end)?;
            let stack = pipeline.build(lifecycle).inspect_err(end)?;
            return Ok(Self::new(pipeline, stack, sockets));
        }
        let stack = pipeline.build(lifecycle)?;
        // After the build, so that a port that accepts connections means a stack that serves.
        match Sockets::open(&pipeline, lifecycle, bound) {
            Ok(sockets) => Ok(Self::new(pipeline, stack, sockets)),
            Err(report) => {
                drop(stack);
                lifecycle.shutdown();
                Err(report)
            }
        }
    }

    fn new(pipeline: Arc<Pipeline>, stack: Next, sockets: Sockets) -> Self {
        let Sockets { listen, listeners, control } = sockets;
        Self { pipeline, stack, listen, listeners, control, mistake: None }
    }

    /// A stack that shows an error instead of serving `pipeline`.
    pub(super) fn error_page(
        pipeline: Arc<Pipeline>,
        stack: Next,
        mistake: Report,
        lifecycle: &Lifecycle,
        bound: &Bound,
    ) -> Result<Self, Report> {
        let Sockets { listen, listeners, control } = Sockets::open(&pipeline, lifecycle, bound)?;
        Ok(Self { pipeline, stack, listen, listeners, control, mistake: Some(mistake) })
    }
}

struct Sockets {
    listen: Vec<Listen>,
    listeners: Vec<Listener>,
    control: ControlSocket,
}

impl Sockets {
    /// Reads certificates, and binds what is not bound.
    fn open(pipeline: &Pipeline, lifecycle: &Lifecycle, bound: &Bound) -> Result<Self, Report> {
        let (listen, warnings) = pipeline.listeners(lifecycle)?;
        let listeners = bind(pipeline, &listen, bound)?;
        let control = bind_control(pipeline, bound)?;
        if !warnings.is_empty() {
            print_message(&warnings.render(false));
        }
        Ok(Self { listen, listeners, control })
    }
}

fn bind(pipeline: &Pipeline, listen: &[Listen], bound: &Bound) -> Result<Vec<Listener>, Report> {
    let mut listeners = Vec::new();
    let mut entries: Vec<_> = listen.iter().enumerate().collect();
    // `[::]` takes what the others leave.
    entries.sort_by_key(|(_, listen)| matches!(&listen.address, Address::Tcp { host: Some(host), .. } if host == "::"));
    for (index, listen) in entries {
        let refused = |error| pipeline.report_at_listen(index, &explain(&error, listen, bound));
        let opening = bound.opening(listen);
        if opening != Opening::All {
            Listener::update_access(listen, pipeline.base()).map_err(refused)?;
        }
        match opening {
            Opening::None => {}
            Opening::Http3 => {
                for (_, address) in bound.addresses.iter().filter(|(address, _)| *address == listen.address) {
                    listeners.push((index, Listener::bind_http3(listen, *address).map_err(refused)?));
                }
            }
            Opening::All => {
                listeners.extend(Listener::bind(listen, pipeline.base()).map_err(refused)?.into_iter().map(|listener| (index, listener)));
            }
        }
    }
    listeners.sort_by_key(|(index, _)| *index);
    Ok(listeners.into_iter().map(|(_, listener)| listener).collect())
}

/// The error of the system, with a hint if this server has the port.
fn explain(error: &io::Error, wanted: &Listen, bound: &Bound) -> String {
    let mine = bound.listening.iter().find(|mine| match (&mine.address, &wanted.address) {
        (Address::Tcp { port, .. }, Address::Tcp { port: wanted, .. }) => port == wanted && *port != 0,
        _ => false,
    });
    match mine {
        _ if error.kind() == io::ErrorKind::PermissionDenied && bound.pipeline.is_some() && is_low(&wanted.address) => {
            format!("{error}\nhint: ports below 1024 are root's, which the server is not any more: a restart opens them")
        }
        Some(mine) if error.kind() == io::ErrorKind::AddrInUse => {
            format!("{error}\nhint: the running server listens on `{mine}`; an address with the same port takes a restart")
        }
        _ => error.to_string(),
    }
}

const fn is_low(address: &Address) -> bool {
    matches!(address, Address::Tcp { port: 1..1024, .. })
}

fn bind_control(pipeline: &Pipeline, bound: &Bound) -> Result<ControlSocket, Report> {
    let path = match bound.control(pipeline) {
        None => return Ok(ControlSocket::None),
        Some((_, false)) => return Ok(ControlSocket::Keep),
        Some((path, true)) => path,
    };
    let listener = Listener::bind_private(&path).map_err(|error| pipeline.report_at_control(&error.to_string()))?;
    Ok(ControlSocket::Bind(path, Box::new(listener)))
}
