//! Directory extensions: defined before the first value, written and read under the tenant's names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, anchor, desired, text, user, user_attributes};
use forestsync_provisioner::ExtensionApp;
use forestsync_schemas::desired::{
    AttributeFlowDeclared, CloudClass, CloudValue, DesiredEvent, ExtensionDeclared, ExtensionType,
};
use forestsync_schemas::outcomes::OutcomeEvent;
use serde_json::{Value, json};

const REGISTRATION: &str = "5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21";

fn extension(name: &str, data_type: ExtensionType, multi_valued: bool) -> ExtensionDeclared {
    ExtensionDeclared { name: name.to_owned(), data_type, multi_valued }
}

fn all() -> Vec<ExtensionDeclared> {
    vec![
        extension("badges", ExtensionType::Integer, true),
        extension("costCenter", ExtensionType::Integer, false),
        extension("floor", ExtensionType::String, false),
        extension("remote", ExtensionType::Boolean, false),
    ]
}

fn flow(class: CloudClass, extensions: Vec<ExtensionDeclared>) -> DesiredEvent {
    let mut attributes = forestsync_rules::flow::managed(class);
    attributes.extend(extensions.iter().map(|e| format!("extension.{}", e.name)));
    DesiredEvent::AttributeFlowDeclared(AttributeFlowDeclared { class, attributes, extensions })
}

/// A tenant whose application may define extensions.
async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    let client_id = lab.config.tenant.client_id.clone();
    lab.config.tenant.extension_app = Some(ExtensionApp { client_id, object_id: REGISTRATION.to_owned() });
    lab.control.grant_permission("Application.ReadWrite.All", true);
    lab
}

/// The value of an extension in the tenant.
fn held(lab: &Lab, n: u32, name: &str) -> Option<Value> {
    let prefix = lab.config.tenant.client_id.replace('-', "");
    lab.property(n, &format!("extension_{prefix}_{name}")).filter(|value| !value.is_null())
}

fn definitions(lab: &Lab) -> u64 {
    lab.tenant.counters().operations.get("extension.create").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_are_defined_and_their_values_kept() {
    let lab = lab().await;
    let values = [
        ("extension.badges", CloudValue::List(vec!["7".into(), "9".into()])),
        ("extension.costCenter", CloudValue::Integer(4_711)),
        ("extension.floor", text("3")),
        ("extension.remote", CloudValue::Bool(true)),
    ];
    lab.wish(vec![flow(CloudClass::User, all()), user(1, &values), user(2, &values[1..2]), user(3, &[])]).await;
    lab.settle().await;
    assert_eq!(definitions(&lab), 4);
    assert_eq!(held(&lab, 1, "badges"), Some(json!([7, 9])));
    assert_eq!(held(&lab, 1, "costCenter"), Some(json!(4_711)));
    assert_eq!([held(&lab, 1, "floor"), held(&lab, 1, "remote")], [Some(json!("3")), Some(json!(true))]);
    assert_eq!([held(&lab, 2, "costCenter"), held(&lab, 3, "costCenter")], [Some(json!(4_711)), None]);
    // changed and cleared
    let changed = [("extension.costCenter", CloudValue::Integer(4_712))];
    lab.wish(vec![user(1, &changed), user(2, &[])]).await;
    lab.settle().await;
    assert_eq!([held(&lab, 1, "costCenter"), held(&lab, 2, "costCenter")], [Some(json!(4_712)), None]);
    assert_eq!(held(&lab, 1, "floor"), None);
    // what is read equals what was sent: by another installation, which finds the definitions and the objects
    let mut next = Lab::new().await;
    next.config.tenant = lab.config.tenant.clone();
    lab.control.reset_counters();
    next.wish(vec![flow(CloudClass::User, all()), user(1, &changed), user(2, &[])]).await;
    next.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0);
    assert_eq!(next.types(1).await, ["ObjectAdopted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_outcome_is_lost_is_read_under_its_name() {
    let lab = lab().await;
    lab.wish(vec![flow(CloudClass::User, all()), user(1, &[])]).await;
    lab.settle().await;
    lab.control.fail_next("PATCH", "users/", 500, 1, true);
    lab.control.reset_counters();
    lab.wish(vec![user(1, &[("extension.costCenter", CloudValue::Integer(5))])]).await;
    lab.settle().await;
    assert_eq!((held(&lab, 1, "costCenter"), lab.tenant.counters().writes), (Some(json!(5)), 1));
    let last = lab.outcomes().await.pop().unwrap();
    let OutcomeEvent::ObjectUpdated(updated) = last.event else { panic!("{last:?}") };
    assert!(updated.changes.contains_key("extension.costCenter"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_another_type_concerns_those_with_a_value() {
    let lab = lab().await;
    lab.wish(vec![flow(CloudClass::User, vec![extension("costCenter", ExtensionType::String, false)])]).await;
    lab.wish(vec![user(9, &[("extension.costCenter", text("x"))])]).await;
    lab.settle().await;
    // another installation takes it for a number
    let mut next = Lab::new().await;
    next.config.tenant = lab.config.tenant.clone();
    let wishes = vec![
        flow(CloudClass::User, vec![extension("costCenter", ExtensionType::Integer, false)]),
        user(1, &[("extension.costCenter", CloudValue::Integer(5))]),
        user(2, &[]),
    ];
    next.wish(wishes).await;
    let status = next.settle().await;
    assert_eq!((status.quarantined_total, lab.id(1).is_none(), lab.id(2).is_some()), (1, true, true));
    let trouble = next.quarantined(1).await.unwrap();
    assert_eq!(
        (trouble.error.code.as_str(), trouble.error.attribute.as_deref()),
        ("extension_type", Some("extension.costCenter"))
    );
    assert!(trouble.error.detail.contains("String") && trouble.error.detail.contains("Integer"));
    // the wish without it is fulfilled
    next.wish(vec![user(1, &[])]).await;
    assert_eq!(next.settle().await.quarantined_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_concerns_those_with_a_value_and_passes() {
    let lab = lab().await;
    lab.control.revoke_permission("Application.ReadWrite.All", true);
    let wishes = vec![flow(CloudClass::User, all()), user(1, &[("extension.floor", text("3"))]), user(2, &[])];
    lab.wish(wishes).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1 && s.idle).await;
    assert_eq!(lab.quarantined(1).await.unwrap().error.code, "extension_not_permitted");
    assert!(lab.id(2).is_some());
    lab.control.grant_permission("Application.ReadWrite.All", true);
    running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(held(&lab, 1, "floor"), Some(json!("3")));
    assert_eq!(lab.types(1).await, ["ExportQuarantined", "ObjectProvisioned"], "it is said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_application_only_those_with_a_value_wait() {
    let lab = Lab::new().await;
    lab.wish(vec![flow(CloudClass::User, all()), user(1, &[("extension.floor", text("3"))]), user(2, &[])]).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, lab.dump().users.len()), (1, 1));
    assert_eq!(lab.quarantined(1).await.unwrap().error.code, "extension_app_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_not_known_everywhere_is_waited_for() {
    let mut lab = lab().await;
    lab.config.tenant.visible_within = Duration::from_hours(1);
    lab.control.fail_next("POST", "users", 400, 4, false);
    let mut wish = desired(1, CloudClass::User, user_attributes(1));
    wish.at_creation.insert("extension.floor".into(), text("3"));
    lab.wish(vec![flow(CloudClass::User, all()), DesiredEvent::ObjectDesired(wish)]).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, held(&lab, 1, "floor")), (0, Some(json!("3"))));
    assert_eq!(lab.failures(1).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_cannot_be_read_stop_nobody_else() {
    let lab = lab().await;
    lab.control.fail_next("GET", "extensionProperties", 500, u64::MAX, false);
    lab.wish(vec![flow(CloudClass::User, all()), user(1, &[("extension.floor", text("3"))]), user(2, &[])]).await;
    let running = lab.start().await;
    running.until(|s| s.managed.get(&CloudClass::User) == Some(&1)).await;
    assert!(lab.dump().user(anchor(1).as_str()).is_none());
    lab.control.fail_next("GET", "extensionProperties", 500, 0, false);
    lab.idle(&running).await;
    running.end().await;
    assert_eq!(held(&lab, 1, "floor"), Some(json!("3")));
    assert!(lab.failures(1).await.is_empty());
}
