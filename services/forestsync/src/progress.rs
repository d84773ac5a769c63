//! Progress on stderr: bars on a terminal, a plain line every few seconds elsewhere.
//!
//! Log lines and bars share stderr; [`log_writer`] hides the bars while a line is written, so that neither tears the
//! other.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::cli::Command;
use crate::output;
use crate::pipeline::View;

/// Pause between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The one set of bars of this process; hidden where stderr is no terminal.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        MultiProgress::with_draw_target(target)
    })
}

/// What is logged where `FORESTSYNC_LOG` does not say: `run` tells of its work, other commands of trouble only.
pub fn log_level(command: &Command) -> &'static str {
    match command {
        Command::Run(_) | Command::Practice(_) => "info",
        Command::Demo(_) => "error",
        Command::Activate(_)
        | Command::Check(_)
        | Command::Status(_)
        | Command::Plan(_)
        | Command::TakeOver(_)
        | Command::Apply(_)
        | Command::Drift(_)
        | Command::Held(_)
        | Command::Approve(_)
        | Command::Reject(_)
        | Command::RemoveConfiguration(_)
        | Command::Explain(_)
        | Command::SyncObject(_)
        | Command::Lint(_)
        | Command::Rules(_)
        | Command::Audit(_)
        | Command::WhatIf(_)
        | Command::State(_)
        | Command::Diff(_)
        | Command::Log(_)
        | Command::Replay(_) => "warn",
    }
}

/// A writer to stderr that keeps clear of the bars.
pub fn log_writer() -> LogWriter {
    LogWriter
}

/// See [`log_writer`].
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().lock().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Says something to the person in front, without tearing the bars.
pub fn say(text: &str) {
    bars().suspend(|| output::note(text));
}

/// When the next plain line may be written.
#[derive(Debug)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn at_once() -> Self {
        Self(Some(Instant::now()))
    }

    fn later() -> Self {
        Self(Instant::now().checked_add(PLAIN_EVERY))
    }

    /// Whether it may be written now; then not again for a while.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_some_and(|at| at <= Instant::now());
        if is_due {
            *self = Self::later();
        }
        is_due
    }
}

/// The progress of a pipeline.
#[derive(Debug)]
pub struct Progress {
    lines: Vec<ProgressBar>,
    said: String,
    plain: Seldom,
    visible: bool,
}

impl Progress {
    /// One line for each forest, one for the projection, one for the tenant.
    pub fn new(view: &View) -> Self {
        let visible = io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{spinner} {prefix:<12} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = |name: String| {
            let bar = bars().add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(name));
            if visible {
                bar.enable_steady_tick(Duration::from_millis(120));
            }
            bar
        };
        let lines = if visible { view.lines().into_iter().map(|(name, _)| line(name)).collect() } else { Vec::new() };
        Self { lines, said: String::new(), plain: Seldom::at_once(), visible }
    }

    /// Shows how things are.
    pub fn show(&mut self, view: &View) {
        let lines = view.lines();
        if self.visible {
            for (bar, (_, text)) in self.lines.iter().zip(lines) {
                bar.set_message(text);
            }
            return;
        }
        if !self.plain.is_due() {
            return;
        }
        let text = lines.iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join(" | ");
        if text != self.said {
            output::note(&text);
            self.said = text;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        for bar in &self.lines {
            bar.finish_and_clear();
        }
    }
}

/// The progress of one command that goes through records: a bar, or a plain line every few seconds.
#[derive(Debug)]
pub struct Counter {
    bar: Option<ProgressBar>,
    what: String,
    total: u64,
    done: u64,
    records: u64,
    began: Instant,
    plain: Seldom,
}

impl Counter {
    /// `what` is done to the records of `total` offsets.
    pub fn new(what: String, total: u64) -> Self {
        let began = Instant::now();
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bars().add(ProgressBar::new(total).with_style(style).with_prefix(what.clone()))
        });
        Self { bar, what, total, done: 0, records: 0, began, plain: Seldom::later() }
    }

    /// So many offsets further, with so many records: a compacted stream has gaps.
    pub fn advanced(&mut self, offsets: u64, records: u64) {
        self.reached(self.done.saturating_add(offsets), records);
    }

    /// Offset `done`, with so many records more.
    pub fn reached(&mut self, done: u64, records: u64) {
        self.done = done;
        self.records = self.records.saturating_add(records);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            // not for each record: the text costs more than the record
            if records > 1 || self.records.is_multiple_of(1024) {
                bar.set_message(self.rate());
            }
        } else if (self.records.is_multiple_of(1024) || records > 1) && self.plain.is_due() {
            output::note(&format!("{}: {done} of {}, {}", self.what, self.total, self.rate()));
        }
    }

    /// Says what is done after the last record.
    pub fn ends_with(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if self.plain.is_due() {
            output::note(&format!("{}: {text}", self.what));
        }
    }

    fn rate(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rate = format!("{:.0} records/s", self.records as f64 / seconds);
        match left(seconds, self.done, self.total) {
            Some(left) => format!("{rate}, {left} left"),
            None => rate,
        }
    }
}

/// How long the rest takes if it goes on like this; none before that can be told.
fn left(seconds: f64, done: u64, total: u64) -> Option<String> {
    let rest = total.checked_sub(done).filter(|rest| *rest > 0 && done > 0 && seconds >= 1.0)?;
    let seconds = (seconds * rest as f64 / done as f64).round() as u64;
    Some(match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    })
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The progress of a command that does not know how much there is: a spinner, or a plain line every few seconds.
#[derive(Debug)]
pub struct Tally {
    bar: Option<ProgressBar>,
    what: &'static str,
    count: u64,
    plain: Seldom,
}

impl Tally {
    /// Counts `what`.
    pub fn new(what: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {pos} {prefix}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bars().add(ProgressBar::new_spinner().with_style(style).with_prefix(what))
        });
        Self { bar, what, count: 0, plain: Seldom::later() }
    }

    /// So many more.
    pub fn add(&mut self, more: usize) {
        self.count = self.count.saturating_add(more as u64);
        if let Some(bar) = &self.bar {
            bar.set_position(self.count);
        } else if self.plain.is_due() {
            output::note(&format!("{} {}", self.count, self.what));
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_what_is_done() {
        assert_eq!(left(10.0, 100, 1_000).as_deref(), Some("1 min 30 s"));
        assert_eq!(left(10.0, 1_000, 1_500).as_deref(), Some("5 s"));
        assert_eq!(left(100.0, 1, 145).as_deref(), Some("4 h 00 min"));
        assert_eq!(left(0.5, 100, 1_000), None, "too early");
        assert_eq!((left(10.0, 0, 10), left(10.0, 10, 10)), (None, None));
    }
}
