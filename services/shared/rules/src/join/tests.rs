use proptest::prelude::*;

use super::*;
use crate::tests::attributes;

fn rules(text: &str) -> JoinRules {
    #[derive(Deserialize)]
    struct File {
        joins: Vec<JoinForm>,
    }
    let file: File = toml::from_str(text).unwrap();
    JoinRules::compile(&file.joins).unwrap()
}

fn candidate(rules: &JoinRules, forest: usize, class: DirectoryClass, values: &[(&str, &[&str])]) -> Candidate {
    let attributes = attributes(values);
    let keys = rules.keys(class, |name| attributes.get(name).map(Vec::as_slice).unwrap_or_default());
    Candidate { forest, keys }
}

const USER: DirectoryClass = DirectoryClass::User;
const CONTACT: DirectoryClass = DirectoryClass::Contact;

/// The parts, each as the candidates that are in it.
fn parts(partition: &Partition, of: usize) -> Vec<Vec<usize>> {
    let all: BTreeSet<Vec<usize>> = (0..of).map(|at| partition.together_with(at)).collect();
    all.into_iter().collect()
}

#[test]
fn an_account_and_its_mailbox_are_one_person_whichever_side_is_looked_at() {
    let rules = rules("[[joins]]\nrule = \"object_sid\"\n");
    let account = candidate(&rules, 0, USER, &[("objectSid", &["S-1"])]);
    let mailbox = candidate(&rules, 1, USER, &[("objectSid", &["S-2"]), ("msExchMasterAccountSid", &["s-1"])]);
    let stranger = candidate(&rules, 1, USER, &[("objectSid", &["S-3"])]);
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let all = [&account, &mailbox, &stranger];
        let candidates: Vec<Candidate> = order.iter().map(|at| all[*at].clone()).collect();
        let partition = rules.partition(&candidates);
        let [account, mailbox] = [0, 1].map(|of| order.iter().position(|at| *at == of).unwrap());
        assert!(partition.together_with(account).contains(&mailbox), "{order:?}");
        assert_eq!(parts(&partition, 3).len(), 2);
        assert_eq!(rules.name(partition.rule(account).unwrap()), "object_sid");
    }
    // equal SIDs do not meet: both stand on the same side
    let twin = candidate(&rules, 1, USER, &[("objectSid", &["S-1"])]);
    assert_eq!(parts(&rules.partition(&[account, twin]), 2).len(), 2);
}

#[test]
fn several_hits_in_one_forest_join_nobody_and_are_told() {
    let rules = rules("[[joins]]\nrule = \"mail\"\n");
    let ann = |forest, class| candidate(&rules, forest, class, &[("mail", &["Ann@a.example"])]);
    let candidates = [ann(0, USER), ann(1, CONTACT), ann(1, CONTACT), ann(2, CONTACT)];
    let partition = rules.partition(&candidates);
    assert_eq!(parts(&partition, 4).len(), 4);
    assert!((0..4).all(|at| matches!(partition.doubt(at), Some(JoinDoubt::Ambiguous(_)))));
    // two in one forest and none elsewhere are no match at all
    let alone = rules.partition(&[ann(1, CONTACT), ann(1, USER)]);
    assert_eq!((alone.doubt(0), parts(&alone, 2).len()), (None, 2));
    let mesh = rules.partition(&[ann(0, USER), ann(1, CONTACT), ann(2, CONTACT)]);
    assert_eq!(parts(&mesh, 3), [vec![0, 1, 2]]);
}

#[test]
fn an_earlier_rule_wins_where_two_contradict() {
    let rules =
        rules("[[joins]]\nrule = \"object_sid\"\n[[joins]]\nrule = \"mail\"\n[[joins]]\nattribute = \"employeeID\"\n");
    let account = candidate(&rules, 0, USER, &[("objectSid", &["S-1"]), ("employeeID", &["7"])]);
    let mailbox = candidate(&rules, 1, USER, &[("msExchMasterAccountSid", &["S-1"]), ("mail", &["ann@a.example"])]);
    let other = candidate(&rules, 0, USER, &[("mail", &["ann@a.example"])]);
    let third = candidate(&rules, 2, USER, &[("employeeID", &["7"])]);
    let partition = rules.partition(&[account, mailbox, other, third]);
    assert_eq!(parts(&partition, 4), [vec![0, 1, 3], vec![2]]);
    assert!(matches!(partition.doubt(2), Some(JoinDoubt::Contradicting(_))));
    assert_eq!(rules.name(partition.rule(3).unwrap()), "employeeID");
}

#[test]
fn values_are_compared_as_people_mean_them() {
    let rules =
        rules("[[joins]]\nattribute = \"proxyAddresses\"\nwith = \"mail\"\nclasses = [\"user\", \"contact\"]\n");
    let user = candidate(&rules, 0, USER, &[("proxyAddresses", &["X400:c=de", " smtp:Ann@A.example "])]);
    let contact = candidate(&rules, 1, CONTACT, &[("mail", &["ann@a.EXAMPLE"])]);
    assert_eq!(parts(&rules.partition(&[user.clone(), contact]), 2), [vec![0, 1]]);
    let blank = candidate(&rules, 1, CONTACT, &[("mail", &["  "])]);
    assert!(blank.keys.is_empty());
    let group = candidate(&rules, 1, DirectoryClass::Group, &[("mail", &["ann@a.example"])]);
    assert!(group.keys.is_empty());
    assert!(!user.keys.is_empty());
}

#[test]
fn a_rule_that_cannot_be_meant_is_refused_with_a_hint() {
    let form = |rule: Option<&str>, attribute: Option<&str>, classes: Option<&[&str]>| JoinForm {
        rule: rule.map(Into::into),
        name: None,
        attribute: attribute.map(Into::into),
        with: None,
        classes: classes.map(|c| c.iter().map(|&c| c.to_owned()).collect()),
    };
    for (form, says) in [
        (form(Some("sid"), None, None), "is no rule"),
        (form(Some("mail"), Some("mail"), None), "more than one"),
        (form(None, None, None), "names no rule"),
        (form(None, Some(" "), None), "is empty"),
        (form(None, Some("mail"), Some(&["person"])), "is no class"),
        (form(None, Some("mail"), Some(&[])), "for no class"),
        (form(None, Some("mail"), Some(&["user", "group"])), "groups join groups only"),
    ] {
        let problems = JoinRules::compile(&[form]).unwrap_err();
        assert!(problems[0].message.contains(says), "{problems:?}");
    }
    let twice = [form(Some("mail"), None, None), form(Some("mail"), None, None)];
    assert_eq!(JoinRules::compile(&twice).unwrap_err()[0].rule, 1);
}

proptest! {
    /// Parts have one object of a forest at most, and no order of candidates or keys changes them.
    #[test]
    fn parts_have_no_order(
        objects in proptest::collection::vec(
            (0usize..4, proptest::collection::vec((0usize..3, 0u8..5), 0..4)), 0..9,
        ),
        seed in any::<u64>(),
    ) {
        let rules = rules(
            "[[joins]]\nattribute = \"a\"\n[[joins]]\nattribute = \"b\"\n[[joins]]\nattribute = \"c\"\nwith = \"d\"\n",
        );
        let candidates: Vec<Candidate> = objects
            .iter()
            .map(|(forest, values)| {
                let names = ["a", "b", "c"];
                let texts: Vec<(&str, String)> =
                    values.iter().map(|(name, value)| (names[*name], value.to_string())).collect();
                let mut map: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                for (name, text) in &texts {
                    map.entry(name).or_default().push(text);
                    if *name == "c" {
                        map.entry("d").or_default().push(text);
                    }
                }
                let list: Vec<(&str, &[&str])> = map.iter().map(|(name, texts)| (*name, texts.as_slice())).collect();
                candidate(&rules, *forest, USER, &list)
            })
            .collect();
        let partition = rules.partition(&candidates);
        for at in 0..candidates.len() {
            let together = partition.together_with(at);
            prop_assert!(!is_ambiguous(&candidates, &together));
            prop_assert!(together.contains(&at));
        }
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let mut state = seed;
        for at in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let shuffled: Vec<Candidate> = order.iter().map(|at| candidates[*at].clone()).collect();
        let again = rules.partition(&shuffled);
        for (new, old) in order.iter().enumerate() {
            let mut together: Vec<usize> = again.together_with(new).into_iter().map(|at| order[at]).collect();
            together.sort_unstable();
            prop_assert_eq!(together, partition.together_with(*old));
            prop_assert_eq!(again.doubt(new).is_some(), partition.doubt(*old).is_some());
        }
    }
}
