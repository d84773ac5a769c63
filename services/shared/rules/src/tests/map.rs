//! The default map of the specification, where it lies beside the workspace, against what is implemented.

use std::path::Path;

use forestsync_domain::Attributes;
use forestsync_schemas::desired::{CloudClass, CloudValue};

use super::{attributes, dn};
use crate::classify::DirectoryClass;
use crate::flow::{flow, managed};

/// Reads comma-separated values with quoted fields.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

/// Rows that are not an attribute in a request's body, and why.
fn is_elsewhere(class: &str, property: &str) -> bool {
    match (class, property) {
        // links: their attributes are read, the projection resolves them, requests of their own write them
        ("user", "manager/$ref") => crate::attributes::requested().contains(&"manager"),
        ("group", "members/$ref") => crate::attributes::requested().contains(&"member"),
        ("group", "owners/$ref") => crate::attributes::requested().contains(&"managedBy"),
        // the source anchor
        ("user", "onPremisesImmutableId") | ("group", "uniqueName") => {
            crate::attributes::requested().contains(&"mS-DS-ConsistencyGuid")
        }
        // the photo is a request and a permission of its own, and not written so far; the others have no default source
        // in the directory: an administrator chooses one, or they stay as the tenant has them
        (
            "user",
            "photo/$value" | "usageLocation" | "preferredDataLocation" | "userType" | "extension_<appId>_<attr>",
        ) => true,
        _ => false,
    }
}

fn flowed(class: &str, object: &Attributes) -> crate::flow::Flowed {
    let class = if class == "user" { DirectoryClass::User } else { DirectoryClass::Group };
    flow(class, &dn("CN=Own Name,DC=lab,DC=local"), &dn("DC=lab,DC=local"), object)
}

/// What the map's expression makes of the samples, for the forms of expression there are.
fn expected(property: &str, expression: &str) -> Option<(&'static str, CloudValue)> {
    let text = |text: &str| CloudValue::Text(text.into());
    Some(match (property, expression) {
        ("accountEnabled", _) => ("514", CloudValue::Bool(false)),
        ("securityEnabled", _) => ("-2147483646", CloudValue::Bool(true)),
        ("mailEnabled", _) => ("SMTP:a@x.example", CloudValue::Bool(true)),
        ("mail", _) => (" a@x.example ", text("a@x.example")),
        ("userPrincipalName", _) => ("kim@x.example", text("kim@x.example")),
        ("businessPhones", _) => (" 1 2 ", CloudValue::List(vec!["1 2".into()])),
        ("description", _) => (" a b ", text("a b")),
        (_, e) if e.starts_with("Trim([") => (" a b ", text("a b")),
        (_, e) if e.starts_with('[') || e.starts_with("IIF(IsNullOrEmpty([displayName])") => ("ab", text("ab")),
        _ => return None,
    })
}

#[test]
fn every_row_with_a_graph_property_is_implemented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/spec/attribute-map.csv");
    let Ok(csv) = std::fs::read_to_string(&path) else {
        println!("skipped: ../shared/spec/attribute-map.csv does not lie beside the workspace");
        return;
    };
    let rows = rows(&csv);
    assert_eq!(
        rows[0][..5],
        ["object_class", "ad_attribute", "entra_attribute", "graph_property", "mapping_expression"]
    );
    let mut implemented = 0;
    for row in &rows[1..] {
        let [class, sources, _, property, expression] = &row[..5] else { panic!("{row:?}") };
        if !matches!(class.as_str(), "user" | "group") || property.is_empty() || is_elsewhere(class, property) {
            continue;
        }
        let source = sources.split('|').next().unwrap();
        assert!(crate::attributes::requested().contains(&source), "{class} {source} is not read");
        let (sample, value) =
            expected(property, expression).unwrap_or_else(|| panic!("{class} {property}: {expression}"));
        let object = attributes(&[(source, &[sample])]);
        assert_eq!(flowed(class, &object).attributes.get(property), Some(&value), "{class} {source} -> {property}");
        let kind = if class == "user" { CloudClass::User } else { CloudClass::Group };
        let is_managed = managed(kind).contains(property);
        assert_eq!(is_managed, row[5] == "always", "{class} {property} applies {}", row[5]);
        implemented += 1;
    }
    assert!(implemented >= 35, "only {implemented} rows were found");
}

#[test]
fn quoted_fields_are_read() {
    assert_eq!(rows("a,\"b,\"\"c\"\"\"\nd,\n"), [["a", "b,\"c\""], ["d", ""]]);
}

/// What the default flow says of a row's attribute: a rule, a request of its own, or that it cannot be written.
#[test]
fn every_row_of_the_map_is_accounted_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/spec/attribute-map.csv");
    let Ok(csv) = std::fs::read_to_string(&path) else {
        println!("skipped: ../shared/spec/attribute-map.csv does not lie beside the workspace");
        return;
    };
    let flow = crate::flow::CompiledFlow::default();
    let (by_itself, not_writable) = crate::flow::beside_rules();
    let is_named = |class: &str, attribute: &str| {
        let rows = by_itself.iter().chain(&not_writable).filter(|row| row.class == class);
        rows.flat_map(|row| &row.attributes).any(|name| name == attribute)
    };
    let reads = |class: &str, attribute: &str| {
        let of = crate::flow::FlowClass::ALL.into_iter().find(|of| of.as_str() == class);
        of.is_some_and(|of| flow.rules(of).iter().any(|rule| rule.reads().iter().any(|name| name == attribute)))
    };
    let mut missing = Vec::new();
    for row in &rows(&csv)[1..] {
        let [class, sources, entra, ..] = &row[..] else { panic!("{row:?}") };
        let attribute = sources.split('|').next().unwrap().trim();
        // what no attribute of the directory is behind: parameters, constants, what an administrator chooses, and the
        // direction from the cloud to the directory
        let is_none = attribute.starts_with(['%', '('])
            || attribute.contains(' ')
            || attribute.starts_with("cloud")
            || attribute == "sourceAnchor" && entra == "dn";
        if !is_none && !is_named(class, attribute) && !reads(class, attribute) {
            missing.push(format!("{class} {attribute} -> {entra}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
