//! Entries as a table, as JSON lines, or as CSV.

use anyhow::Result;
use comfy_table::ContentArrangement;

use crate::cli::FormArgs;
use crate::history::entry::{Entry, Values, text};
use crate::output::{self, count, printable, quoted};

/// The columns of the CSV.
const COLUMNS: &str = "time,stream,offset,type,by,forest,object,dn,anchor,actor,reason,controller,invocation_id,usn,revision,\
                       request_id,status,cloud_id,attribute,before,after,rule,summary\n";

/// Shows entries one by one as they come; a table only once all are there.
#[derive(Debug)]
pub struct Sheet {
    form: FormArgs,
    rows: Vec<Entry>,
    /// Whether each row is about another object, so that it says which.
    names_objects: bool,
    began: bool,
    is_read: bool,
}

impl Sheet {
    /// An empty one.
    pub fn new(form: FormArgs, names_objects: bool) -> Self {
        Self { form, rows: Vec::new(), names_objects, began: false, is_read: true }
    }

    /// One more; false once nobody reads any more.
    pub fn add(&mut self, mut entry: Entry) -> Result<bool> {
        if self.form.values == Values::Hidden {
            entry.hide();
        }
        if self.form.json {
            self.is_read = output::line(&serde_json::to_string(&entry)?)?;
        } else if self.form.csv {
            let header = if self.began { "" } else { COLUMNS };
            self.is_read = output::line([header, &csv(&entry)].concat().trim_end())?;
        } else {
            self.rows.push(entry);
        }
        self.began = true;
        Ok(self.is_read)
    }

    /// The end.
    pub fn end(self) -> Result<()> {
        if self.form.csv && !self.began {
            output::text(COLUMNS)?;
        }
        if self.form.json || self.form.csv {
            return Ok(());
        }
        let mut header = vec!["time", "event", "by", "what"];
        if self.names_objects {
            header.insert(3, "object");
        }
        let mut table = output::table(&header);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for entry in &self.rows {
            let time = entry.time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string();
            let place = printable(&format!("[{}]", entry.place()));
            let what: Vec<String> = entry.lines(self.form.values).into_iter().chain([place]).collect();
            let mut cells = vec![time, entry.kind.clone(), entry.by(), what.join("\n")];
            if self.names_objects {
                let name = entry.dn.as_ref().or(entry.object.as_ref()).or(entry.anchor.as_ref());
                cells.insert(3, printable(name.map_or("", String::as_str)));
            }
            table.add_row(cells);
        }
        let rows = if self.rows.is_empty() { String::new() } else { output::render(&table) };
        output::text(&format!("{rows}{}\n", count(self.rows.len() as u64, "event")))
    }
}

/// One line for each attribute and link, or one where there are none.
fn csv(entry: &Entry) -> String {
    let some = |value: &Option<String>| value.clone().unwrap_or_default();
    let number = |value: Option<u64>| value.map(|n| n.to_string()).unwrap_or_default();
    let front = [
        entry.time.to_string(),
        entry.stream.clone(),
        entry.offset.to_string(),
        entry.kind.clone(),
        entry.by(),
        some(&entry.forest),
        some(&entry.object),
        some(&entry.dn),
        some(&entry.anchor),
        some(&entry.actor),
        some(&entry.reason),
        some(&entry.controller),
        some(&entry.invocation_id),
        number(entry.usn),
        number(entry.revision),
        some(&entry.request_id),
        number(entry.status.map(u64::from)),
        some(&entry.cloud_id),
    ];
    let front: Vec<String> = front.iter().map(|field| quoted(field)).collect();
    let value = |value: &Option<serde_json::Value>| value.as_ref().map(|value| text(Some(value))).unwrap_or_default();
    let mut parts: Vec<[String; 4]> = entry
        .changes
        .iter()
        .map(|change| [change.attribute.clone(), value(&change.before), value(&change.after), some(&change.rule)])
        .collect();
    for link in &entry.links {
        let names = |list: &[String]| {
            list.iter().map(|id| link.names.get(id).unwrap_or(id).as_str()).collect::<Vec<_>>().join("; ")
        };
        let of = link.of.as_ref().map(|of| format!(" of {}", link.names.get(of).unwrap_or(of))).unwrap_or_default();
        let (removed, added) = (names(&link.removed), names(&link.added));
        parts.push([format!("{}{of}", link.attribute), removed, added, String::new()]);
    }
    if parts.is_empty() {
        parts.push(Default::default());
    }
    let lines = parts.iter().map(|part| {
        let back: Vec<String> = part.iter().chain([&entry.summary]).map(|field| quoted(field)).collect();
        [front.join(","), back.join(",")].join(",") + "\n"
    });
    lines.collect()
}
