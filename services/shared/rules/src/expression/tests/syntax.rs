//! How expressions are written.

use super::support::check;

#[test]
fn literals_and_operators() {
    check(&[
        (r#""a\\b\"c""#, r#""a\\b\"c""#),
        ("42", "42"),
        ("-2147483648", "-2147483648"),
        ("&HF", "15"),
        ("BitAnd(&HFF, &HF)", "15"),
        ("[c]", "\"DE\""),
        ("[co]", "Null"),
        ("True", "True"),
        ("NULL", "Null"),
        ("AuthoritativeNull", "Clear"),
        ("IgnoreThisFlow", "Ignore"),
        (r#""a" & "b" & [c]"#, "\"abDE\""),
        ("[c]&[co]", "\"DE\""),
        ("[co]&[l]", "Null"),
        (r#"[c]="DE" AND NOT [c]="FR""#, "True"),
        (r#"[c]="FR" || [c]="DE" && [co]="x""#, "False"),
        (r#"([c]="DE" OR [co]="x") && True"#, "True"),
        ("[co]=\"x\"", "False"),
        ("[co]<>\"x\"", "True"),
        ("[userAccountControl]>=514", "True"),
        ("%Domain.FQDN%", "\"corp.lab.test\""),
        ("%Connector.ID%", "NoParameter"),
    ]);
}
