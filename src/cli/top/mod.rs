//! `ziggurat top`: what the running server does, every second.

mod figures;
mod screen;
mod terminal;

use std::io::{IsTerminal, stdin, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::figures::{Figures, Order};
use self::screen::{View, rows};
use self::terminal::Terminal;
use super::{FAILURE, File, SUCCESS, complain, control, print};

#[derive(clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    file: File,

    /// Prints the figures since the start of the server, and ends.
    #[arg(long)]
    once: bool,

    /// Prints them as JSON.
    #[arg(long)]
    json: bool,
}

/// How often the figures are asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often signals are looked at.
const STEP: Duration = Duration::from_millis(250);

/// Shows the server that runs this file, until a key or a signal ends it; with `once`, or without a terminal, its figures since the start.
pub(super) fn top(Top { file, once, json }: &Top) -> u8 {
    if *json {
        return control::status(file, true);
    }
    let socket = match control::socket(&file.path) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let first = match control::ask_status(&socket) {
        Ok(status) => Figures::new(status, Instant::now()),
        Err(message) => return complain(&message, FAILURE),
    };
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if *once || is_dumb || !stdout().is_terminal() || !stdin().is_terminal() {
        let text: String = rows(&first, None, Order::Stack).iter().map(|row| format!("{}\n", row.text.trim_end())).collect();
        return print(&format!("{}\n{text}", first.title(None)));
    }
    match watch(&socket, first) {
        Ok(None) => SUCCESS,
        // As a shell reports it.
        Ok(Some(signal)) => 128_u8.saturating_add(signal),
        Err(error) => complain(&format!("error: the terminal cannot be used: {error}"), FAILURE),
    }
}

/// Draws until a key (`None`) or a signal ends it.
fn watch(socket: &Path, first: Figures) -> std::io::Result<Option<u8>> {
    let mut terminal = Terminal::open()?;
    let mut view = View::default();
    let (mut before, mut now, mut problem) = (None, first, None);
    loop {
        terminal.draw(|size| view.screen(&now, before.as_ref(), problem.as_deref(), size))?;
        let until = Instant::now() + INTERVAL;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(signal) = terminal.signal() {
                return Ok(Some(signal));
            }
            if !crossterm::event::poll(left.min(STEP))? {
                continue;
            }
            match crossterm::event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if !press(&mut view, key) {
                        return Ok(None);
                    }
                }
                Event::Resize(..) => {}
                _ => continue,
            }
            terminal.draw(|size| view.screen(&now, before.as_ref(), problem.as_deref(), size))?;
        }
        match control::ask_status(socket) {
            Ok(status) => {
                let next = Figures::new(status, Instant::now());
                // The counters of another process begin at 0.
                before = Some(std::mem::replace(&mut now, next)).filter(|before| before.is_of(&now));
                problem = None;
            }
            Err(message) => problem = Some(message.lines().next().unwrap_or_default().to_owned()),
        }
    }
}

/// What a key does. Returns whether the program goes on.
fn press(view: &mut View, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('o') => view.sort(Order::Stack),
        KeyCode::Char('r') => view.sort(Order::Rate),
        KeyCode::Char('e') => view.sort(Order::Errors),
        KeyCode::Char('t') => view.sort(Order::Time),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::PageDown => view.scroll(10),
        KeyCode::Home => view.scroll(isize::MIN),
        _ => {}
    }
    true
}
