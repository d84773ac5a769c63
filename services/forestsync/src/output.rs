//! Writing to stdout: tables for people, JSON for programs.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Result;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

/// Writes text to stdout as it is. A reader that went away (`| head`) is no error.
pub fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a line to stdout. `false` if nobody reads any more.
pub fn line(line: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Ok(()) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// What a directory holds must not tell a terminal what to do.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Writes one value as indented JSON.
pub fn json<T: Serialize>(value: &T) -> Result<()> {
    let mut document = serde_json::to_string_pretty(value)?;
    document.push('\n');
    text(&document)
}

/// Writes a new file that only this account can read.
pub fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(content).and_then(|()| out.sync_all())
}

/// A field of a table for spreadsheets (RFC 4180); one that a spreadsheet would take for a formula is kept from it.
pub fn quoted(field: &str) -> String {
    let safe = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field.to_owned() };
    format!("\"{}\"", safe.replace('"', "\"\""))
}

/// Writes to stderr what a person should know beside the data. A closed stderr is no error.
pub fn note(text: &str) {
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

/// A table without lines: two blanks between the columns.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Aligns the columns from `first` on to the right, for numbers.
pub fn numbers_from(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A table as text: no blanks at the ends of lines, each line indented by two blanks.
pub fn render(table: &Table) -> String {
    table.to_string().lines().fold(String::new(), |text, line| text + "  " + line.trim_end() + "\n")
}

/// `1 object`, `2 objects`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_survive_a_spreadsheet() {
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(quoted("=cmd()"), "\"'=cmd()\"");
    }

    #[test]
    fn tables_are_plain() {
        let mut t = table(&["class", "desired"]);
        t.add_row(["user", "1200"]);
        t.add_row(["group", "7"]);
        numbers_from(&mut t, 1);
        assert_eq!(render(&t), "  class  desired\n  user      1200\n  group        7\n");
        assert_eq!((count(1, "object"), count(0, "object")), ("1 object".into(), "0 objects".into()));
    }
}
