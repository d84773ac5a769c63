//! Plain users and groups, to be measured with.

use forestsync_practice::population::NewObject;

/// The container of all of them.
pub(crate) const TOP: &str = "OU=Bench";

fn object(dn: String, attributes: &[(&str, &str)]) -> NewObject {
    let mut all: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    for (name, value) in attributes {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value.as_bytes().to_vec()),
            None => all.push(((*name).to_owned(), vec![value.as_bytes().to_vec()])),
        }
    }
    NewObject { dn, attributes: all }
}

/// `users` users and `groups` groups of `members` of them, in an order in which they can be added.
pub(crate) fn all(base: &str, domain: &str, users: usize, groups: usize, members: usize) -> Vec<NewObject> {
    let dn = |n: usize| format!("CN=user{n:06},{TOP},{base}");
    let mut all = vec![object(format!("{TOP},{base}"), &[("objectClass", "organizationalUnit")])];
    for n in 0..users {
        let (sam, phone) = (format!("user{n:06}"), format!("+41 44 {n:07}"));
        let (principal, display) = (format!("{sam}@{domain}"), format!("Given{} Surname{}", n % 997, n % 4999));
        all.push(object(
            dn(n),
            &[
                ("objectClass", "user"),
                ("sAMAccountName", &sam),
                ("userPrincipalName", &principal),
                ("mail", &principal),
                ("displayName", &display),
                ("givenName", &format!("Given{}", n % 997)),
                ("sn", &format!("Surname{}", n % 4999)),
                ("title", &format!("Title {}", n % 90)),
                ("department", &format!("Department {}", n % 40)),
                ("company", "AT&T Ltd"),
                ("l", "Zürich"),
                ("telephoneNumber", &phone),
                ("employeeID", &format!("{n:07}")),
                ("userAccountControl", "512"),
            ],
        ));
    }
    for g in 0..groups {
        let (sam, mut of) = (format!("group{g:05}"), Vec::new());
        of.extend((0..members.min(users)).map(|k| dn((g * members + k) % users)));
        let mut group = object(
            format!("CN={sam},{TOP},{base}"),
            &[("objectClass", "group"), ("sAMAccountName", &sam), ("groupType", "-2147483646")],
        );
        group.attributes.push(("member".into(), of.into_iter().map(String::into_bytes).collect()));
        all.push(group);
    }
    all
}
