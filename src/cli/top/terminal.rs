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

use super::screen::{Row, Style, cut};

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
            queue!(out, Print(cut(&row.text, columns.into())), SetAttribute(Attribute::Reset))?;
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

    use super::*;

    #[test]
    #[ignore = "the next test runs it in a terminal"]
    fn panics() {
        let _terminal = Terminal::open().unwrap();
        panic!("a mistake in the program");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let path = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
        let terminal: OwnedFd = File::options().read(true).write(true).open(path).unwrap().into();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "cli::top::terminal::tests::panics", "--ignored", "--nocapture"]).env("RUST_BACKTRACE", "0");
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let status = program.stdin(end()).stdout(end()).stderr(end()).status().unwrap();
        assert!(!status.success());
        let main = File::from(main);
        let shown = shown(&main);
        let (left, said) = (shown.find("\u{1b}[?1049l"), shown.find("a mistake in the program"));
        assert!(left.is_some() && left < said && shown.contains("\u{1b}[?25h"), "{shown:?}");
        let modes = |terminal: &Termios| (terminal.input_modes, terminal.output_modes, terminal.control_modes, terminal.local_modes);
        assert_eq!(modes(&tcgetattr(&terminal).unwrap()), modes(&before));
    }

    /// What was written to a terminal.
    fn shown(mut main: &File) -> String {
        let (mut shown, mut octets) = (Vec::new(), [0; 4096]);
        while poll(&mut [PollFd::new(main, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0 {
            let count = main.read(&mut octets).unwrap();
            shown.extend_from_slice(&octets[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}
