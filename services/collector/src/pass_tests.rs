use super::*;

#[test]
fn only_some_codes_blame_the_cookie() {
    for code in [1, 2, 12, 53, 80] {
        assert!(blames_the_cookie(code), "{code}");
    }
    for code in [8, 32, 49, 50, 51, 52] {
        assert!(!blames_the_cookie(code), "{code}");
    }
}

#[test]
fn what_lies_in_another_naming_context_is_foreign() {
    let dn = |text: &str| text.parse::<Dn>().unwrap();
    let root = RootDse {
        dns_host_name: String::new(),
        default_naming_context: dn("DC=x"),
        naming_contexts: ["DC=x", "CN=Configuration,DC=x", "DC=y"].map(dn).to_vec(),
        schema_naming_context: String::new(),
        configuration_naming_context: String::new(),
        supports_dirsync: true,
    };
    let borders = Borders::new(&dn("DC=x"), &root);
    let foreign = |text: &str, nc_head| {
        let set = forestsync_domain::Attributes::new();
        let (cleared, links, withheld) = (Vec::new(), Vec::new(), Vec::new());
        let object = forestsync_domain::ObjectGuid::from_bytes([1; 16]);
        let (dn, parent, life) = (dn(text), None, Life::Unstated);
        borders.is_foreign(&Changes { object, dn, parent, nc_head, life, set, cleared, links, withheld })
    };
    assert!(!foreign("dc=X", true) && !foreign("CN=a,DC=x", false));
    assert!(foreign("cn=configuration,DC=x", false) && foreign("CN=a,CN=Configuration,DC=x", false));
    assert!(foreign("DC=child,DC=x", true) && foreign("CN=a,DC=y", false));
    assert!(foreign("CN=Deleted Objects,DC=x", false));
    assert!(!foreign(r"CN=a\0ADEL:1,CN=Deleted Objects,DC=x", false));
}

#[test]
fn removals_that_are_not_told_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let controllers = vec!["ldaps://dc01".parse().unwrap()];
    let config = crate::ForestConfig::new("f", controllers, "a", "b".to_owned().into());
    let (nc, stream): (Dn, _) = ("DC=x".parse().unwrap(), "changes.f.x".parse().unwrap());
    let status = crate::status::StatusBoard::new("f", &[]).line(0);
    let log = std::sync::Arc::new(forestsync_log::EmbeddedLog::open(folder.path()).unwrap());
    let forest = crate::Forest::new(config).unwrap();
    let mut reader = Reader::new(&forest, log, nc.clone(), stream, status, std::sync::Arc::default());
    let links = crate::entry::Links { attribute: "member".into(), whole: true, ..Default::default() };
    let group = Changes {
        object: forestsync_domain::ObjectGuid::from_bytes([1; 16]),
        dn: nc.clone(),
        parent: None,
        nc_head: false,
        life: Life::Unstated,
        set: forestsync_domain::Attributes::new(),
        cleared: Vec::new(),
        links: vec![links],
        withheld: Vec::new(),
    };
    let passed_over = reader.notice(&group, Mode::Delta);
    assert!(passed_over);
    // as it is found in the log at the next start
    let controller = forestsync_schemas::changes::Controller {
        dns_name: "dc".into(),
        invocation_id: forestsync_domain::InvocationId(group.object),
    };
    let cursor = Cursor {
        controller,
        highest_committed_usn: Usn(1),
        naming_context: nc,
        flags: 0,
        attributes: Vec::new(),
        cookie: Cookie::new(vec![1]),
        snapshot: None,
        complete: true,
        passed_over,
    };
    let read: Cursor = serde_json::from_slice(&serde_json::to_vec(&cursor).unwrap()).unwrap();
    reader.position.cursor = Some(read);
    assert!(reader.wishes().overdue);
    reader.position.cursor = Some(Cursor { passed_over: false, ..cursor });
    assert!(!reader.wishes().overdue);
}
