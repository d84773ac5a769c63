//! The report as one page that needs nothing else.

use jiff::Timestamp;

use super::{Findings, rows};

/// No script, nothing from elsewhere.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <style>body{font:14px/1.4 sans-serif;margin:2em}table{border-collapse:collapse;margin:.5em 0 2em}\
    th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}th{background:#eee}\
    td.n{text-align:right}pre{margin:0;white-space:pre-wrap}</style>\n";

/// Text within markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn table(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| {
        let cell = |text: &String| ["<", tag, "><pre>", &escaped(text), "</pre></", tag, ">"].concat();
        ["<tr>", &row.iter().map(cell).collect::<String>(), "</tr>\n"].concat()
    };
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let body = match rows {
        [] => "<p>None.</p>\n".to_owned(),
        rows => {
            let rows = rows.iter().map(|row| cells("td", row)).collect::<String>();
            ["<table>", &cells("th", &header), &rows, "</table>\n"].concat()
        }
    };
    ["<h2>", &escaped(title), "</h2>\n", &body].concat()
}

/// The whole page.
pub(super) fn page(configuration: &str, period: &str, made_at: Timestamp, found: &Findings) -> String {
    let title = format!("Audit of {configuration}");
    let counts: Vec<Vec<String>> = found
        .counts
        .iter()
        .map(|((day, stream, kind), n)| vec![day.clone(), stream.clone(), kind.clone(), n.to_string()])
        .collect();
    let offset = |offset: Option<u64>| offset.map(|offset| offset.to_string()).unwrap_or_default();
    let covered: Vec<Vec<String>> = found
        .covered
        .iter()
        .map(|(stream, c)| vec![stream.clone(), offset(c.first_offset), offset(c.last_offset), c.records.to_string()])
        .collect();
    let editions: Vec<Vec<String>> = found
        .configurations
        .iter()
        .map(|edition| {
            let what = edition.revision.map(|n| format!("revision {n}")).or(edition.reason.clone()).unwrap_or_default();
            vec![
                edition.time.to_string(),
                edition.kind.clone(),
                edition.actor.clone(),
                what,
                edition.changed.join("\n"),
            ]
        })
        .collect();
    let header = ["time", "record", "event", "object", "by", "reason", "detail"];
    [
        HEAD,
        "<title>",
        &escaped(&title),
        "</title></head><body>\n<h1>",
        &escaped(&title),
        "</h1>\n<p>",
        &escaped(&format!(
            "Covers {period}. Made on {made_at}. manifest.json names the records, SHA256SUMS the digests."
        )),
        "</p>\n",
        &table("Decisions of people", &header, &rows(&found.decisions)),
        &table("Deletions", &header, &rows(&found.deletions)),
        &table("Configurations", &["time", "event", "by", "what", "difference"], &editions),
        &table("Events by day", &["day", "stream", "event", "count"], &counts),
        &table("Records covered", &["stream", "first", "last", "records"], &covered),
        "</body></html>\n",
    ]
    .concat()
}
