//! The terminal: it is restored however the program ends.

use std::io::{self, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::screen::{Row, Style};

/// A terminal whose screen is this program's. Dropping it restores the terminal.
pub(super) struct Terminal {
    has_color: bool,
    /// The signal that has come, or 0.
    signal: Arc<AtomicU8>,
    /// Listens for signals.
    _signals: Runtime,
}

impl Terminal {
    /// Takes the screen.
    pub(super) fn open() -> io::Result<Self> {
        let (signals, signal) = listen()?;
        // A panic prints its message to the terminal as it was before.
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            shown(panic);
        }));
        enable_raw_mode()?;
        let has_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Self { has_color, signal, _signals: signals };
        let mut out = stdout().lock();
        queue!(out, EnterAlternateScreen, Hide)?;
        out.flush()?;
        drop(out);
        Ok(terminal)
    }

    /// The signal that is to end the program.
    pub(super) fn signal(&self) -> Option<u8> {
        Some(self.signal.load(Relaxed)).filter(|signal| *signal != 0)
    }

    /// Draws rows for a number of columns and lines, in one write.
    pub(super) fn draw(&mut self, rows: impl FnOnce((usize, usize)) -> Vec<Row>) -> io::Result<()> {
        let (columns, lines) = size()?;
        let rows = rows((columns.into(), lines.into()));
        let mut out = Vec::with_capacity(8 << 10);
        for (line, row) in (0..lines).zip(&rows) {
            queue!(out, MoveTo(0, line))?;
            match row.style {
                Style::Plain => {}
                Style::Title => queue!(out, SetAttribute(Attribute::Bold))?,
                Style::Head => queue!(out, SetAttribute(Attribute::Reverse))?,
                Style::Dim if self.has_color => queue!(out, SetForegroundColor(Color::DarkGrey))?,
                Style::Bad if self.has_color => queue!(out, SetForegroundColor(Color::Red))?,
                Style::Dim | Style::Bad => {}
            }
            let text: String = row.text.chars().take(columns.into()).collect();
            queue!(out, Print(text), SetAttribute(Attribute::Reset))?;
            if self.has_color {
                queue!(out, ResetColor)?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        if rows.len() < usize::from(lines) {
            queue!(out, MoveTo(0, u16::try_from(rows.len()).unwrap_or_default()), Clear(ClearType::FromCursorDown))?;
        }
        let mut terminal = stdout().lock();
        terminal.write_all(&out)?;
        terminal.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the screen back. Where that fails, the terminal is gone.
fn restore() {
    let mut out = stdout();
    let _ = queue!(out, Show, LeaveAlternateScreen).and_then(|()| out.flush());
    let _ = disable_raw_mode();
}

/// Notes the signals that end programs. (In raw mode, Ctrl-C is a key.)
fn listen() -> io::Result<(Runtime, Arc<AtomicU8>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let noted = Arc::new(AtomicU8::new(0));
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)] {
        let _entered = runtime.enter();
        let (mut signals, noted) = (signal(kind)?, Arc::clone(&noted));
        runtime.spawn(async move {
            signals.recv().await;
            noted.store(number, Relaxed);
        });
    }
    Ok((runtime, noted))
}
