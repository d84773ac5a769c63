//! `forestsync drift`: what others changed and deleted in the tenant, and what becomes of it.

use anyhow::Result;
use forestsync_schemas::desired::CloudValue;

use crate::cli::DriftArgs;
use crate::config;
use crate::exit::Exit;
use crate::output::{self, printable};
use crate::status::{self, DriftFinding, Drifting, LISTED, seconds};

/// The most characters of a name and of a value in the table.
const NAME: usize = 44;
const VALUE: usize = 20;

/// Lists what there is. Something that waits for a person leads to [`Exit::Held`].
pub async fn drift(args: DriftArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let drifting = status::drifting(log.as_ref(), &settings.configuration).await?;
    if args.json {
        output::json(&drifting)?;
    } else {
        output::text(&render(&drifting, args.all))?;
        if settings.drift.is_none() {
            output::note("hint: the configuration has no [drift] table: nobody looks for what others do");
        }
    }
    let is_open = drifting.found.iter().any(|finding| finding.policy == "report");
    Ok(if is_open { Exit::Held } else { Exit::Done })
}

fn render(drifting: &Drifting, all: bool) -> String {
    let compared = match &drifting.compared {
        Some(at) => format!("the tenant was compared at {}, and since", seconds(at)),
        None => "the tenant was never compared".to_owned(),
    };
    if drifting.found.is_empty() {
        return format!("nothing that others did is left; {compared}\n");
    }
    let shown = if all { drifting.found.len() } else { LISTED };
    let mut table = output::table(&["object", "what", "expected", "found", "policy", "since"]);
    for finding in drifting.found.iter().take(shown) {
        let (expected, found) = sides(finding);
        let name = finding.dn.as_deref().unwrap_or(&finding.anchor);
        let what = finding.attribute.clone().unwrap_or_else(|| finding.what.replace('_', " "));
        let since = seconds(&finding.since);
        table.add_row([clip(name, NAME), what, expected, found, finding.policy.clone(), since]);
    }
    let more = drifting.found.len().saturating_sub(shown);
    let more = if more > 0 { format!("  and {more} more: use --all\n") } else { String::new() };
    let title = format!("What others did in the tenant: {}; {compared}\n", drifting.found.len());
    title + &output::render(&table) + &more
}

/// What is expected and what is found, in words.
fn sides(finding: &DriftFinding) -> (String, String) {
    let member = finding.member_dn.as_ref().or(finding.member.as_ref());
    match (finding.what, member) {
        ("member_added", Some(member)) => ("-".to_owned(), clip(member, VALUE)),
        ("member_removed", Some(member)) => (clip(member, VALUE), "-".to_owned()),
        ("deleted", _) => ("there".to_owned(), "-".to_owned()),
        _ => (value(finding.expected.as_ref()), value(finding.found.as_ref())),
    }
}

fn value(value: Option<&CloudValue>) -> String {
    match value {
        None => "-".to_owned(),
        Some(CloudValue::Bool(value)) => value.to_string(),
        Some(CloudValue::Integer(value)) => value.to_string(),
        Some(CloudValue::Text(text)) => clip(text, VALUE),
        Some(CloudValue::List(values)) => clip(&values.join(", "), VALUE),
    }
}

/// The text as far as there is room for it.
fn clip(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(clip("Bern", 4), "Bern");
        assert_eq!(clip("Lausanne", 4), "Lau\u{2026}");
        assert_eq!(clip("a\u{1b}b", 9), "a\u{fffd}b");
    }

    #[test]
    fn nothing_is_said_as_such() {
        assert_eq!(
            render(&Drifting::default(), false),
            "nothing that others did is left; the tenant was never compared\n"
        );
    }
}
