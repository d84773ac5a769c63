//! Who is in scope: by containers and by groups, which are followed wherever they go.

use super::Stage;
use crate::suite;

/// Containers are renamed, moved and deleted; people move between them.
pub async fn containers(stage: &mut Stage) {
    let all = ["OU=Units", "OU=In,OU=Units", "OU=Nested,OU=In,OU=Units", "OU=Not,OU=In,OU=Units", "OU=Out,OU=Units"];
    stage.add_containers(0, &all).await;
    for (name, parent) in [("ann", all[1]), ("ben", all[2]), ("cat", all[3]), ("dan", all[4])] {
        stage.add_user(0, name, parent, &[]).await;
    }
    let source = stage.source(0, &["OU=In,OU=Units"], &["OU=Not,OU=In,OU=Units"]);
    let mut show = stage.open(&[source], "").await;
    show.people("who is in the container", &["ann", "ben"]).await;
    let ann = show.id("ann");

    let directory = &mut stage.directories[0];
    directory.rename(&directory.dn("OU=In,OU=Units"), "OU=Renamed").await;
    stage.relocate(0, "CN=dan,OU=Out,OU=Units", "OU=Nested,OU=Renamed,OU=Units").await;
    show.people("one comes into the renamed container", &["ann", "ben", "dan"]).await;

    stage.relocate(0, "OU=Renamed,OU=Units", "OU=Out,OU=Units").await;
    let inside = "OU=Renamed,OU=Out,OU=Units";
    stage.add_user(0, "eva", &format!("OU=Nested,{inside}"), &[]).await;
    show.people("one is added below the moved container", &["ann", "ben", "dan", "eva"]).await;

    // what is not in scope stays so under another name, and outside of what is
    let directory = &mut stage.directories[0];
    directory.rename(&directory.dn(&format!("OU=Not,{inside}")), "OU=Never").await;
    stage.relocate(0, &format!("CN=ben,OU=Nested,{inside}"), &format!("OU=Never,{inside}")).await;
    show.people("one goes into the renamed excluded container", &["ann", "dan", "eva"]).await;
    assert_eq!(show.deleted(), ["ben"]);
    stage.relocate(0, &format!("OU=Never,{inside}"), "OU=Units").await;
    stage.add_user(0, "fay", inside, &[]).await;
    show.people("the excluded container moves out", &["ann", "dan", "eva", "fay"]).await;
    stage.relocate(0, "CN=ben,OU=Never,OU=Units", inside).await;
    show.people("who returns is restored", &["ann", "ben", "dan", "eva", "fay"]).await;
    assert!(show.deleted().is_empty(), "it is not a second one");
    assert_eq!(show.id("ann"), ann, "who stayed in scope stayed the same");

    let directory = &mut stage.directories[0];
    directory.delete_tree(&directory.dn(inside)).await;
    show.status_says("scope_container_missing").await;
    assert!(show.deleted().is_empty(), "a lost container deletes nobody");

    let instead = ["OU=Out,OU=Units", "OU=Small,OU=Units"];
    stage.add_containers(0, &instead[1..]).await;
    for (name, parent) in [("guy", instead[0]), ("hew", instead[1])] {
        stage.add_user(0, name, parent, &[]).await;
    }
    show.pipeline.stop().await;
    let rest = suite::WIDE_GUARD;
    show.pipeline.configure(&[stage.source(0, &instead, &[])], &show.access, suite::AT_ONCE, rest);
    show.pipeline.start();
    show.people("with other containers in its place the others go", &["guy", "hew"]).await;

    stage.relocate(0, "CN=hew,OU=Small,OU=Units", "OU=Units").await;
    show.status_says("scope_empty").await;
    assert!(!show.deleted().contains(&"hew".to_owned()), "one container of several that is emptied deletes nobody");
    stage.relocate(0, "CN=hew,OU=Units", instead[1]).await;
    stage.add_user(0, "ivy", instead[0], &[]).await;
    show.people("with somebody in it again it goes on", &["guy", "hew", "ivy"]).await;
    show.pipeline.stop().await;
}

/// A group decides: its members come and go at any depth, and it is renamed, moved, emptied and deleted.
pub async fn groups(stage: &mut Stage) {
    let people = "OU=People,OU=Teams";
    stage.add_containers(0, &["OU=Teams", people, "OU=Groups,OU=Teams", "OU=Old,OU=Teams"]).await;
    for name in ["gil", "hal", "ida", "joe"] {
        stage.add_user(0, name, people, &[]).await;
    }
    let (groups, old) = ("OU=Groups,OU=Teams", "OU=Old,OU=Teams");
    stage.add_group(0, "inner", groups, &[&format!("CN=hal,{people}")]).await;
    let (inner, gil) = (format!("CN=inner,{groups}"), format!("CN=gil,{people}"));
    stage.add_group(0, "cloud", groups, &[&inner, &gil]).await;
    let named = |stage: &Stage, name: &str| vec![stage.directories[0].dn(&format!("CN={name},{people}"))];

    let cloud = stage.directories[0].dn(&format!("CN=cloud,{groups}"));
    let forest = stage.directories[0].access.name.clone();
    let rules =
        format!("[scope]\nclasses = [\"user\"]\n[[scope.groups]]\nforest = \"{forest}\"\ngroup = \"{cloud}\"\n");
    let mut show = stage.open(&[stage.source(0, &["OU=Teams"], &[])], &rules).await;
    show.people("members and members of members", &["gil", "hal"]).await;
    let gil = show.id("gil");

    let ida = named(stage, "ida");
    let directory = &mut stage.directories[0];
    directory.rename(&cloud, "CN=renamed").await;
    let cloud = directory.dn(&format!("CN=renamed,{groups}"));
    directory.add_values(&cloud, "member", &ida).await;
    show.people("one becomes a member of the renamed group", &["gil", "hal", "ida"]).await;

    stage.relocate(0, &format!("CN=renamed,{groups}"), old).await;
    stage.add_group(0, "innermost", groups, &[&format!("CN=joe,{people}")]).await;
    let directory = &mut stage.directories[0];
    let (inner, innermost) = (directory.dn(&inner), directory.dn(&format!("CN=innermost,{groups}")));
    directory.add_values(&inner, "member", &[innermost]).await;
    show.people("another group is nested below the moved one", &["gil", "hal", "ida", "joe"]).await;

    let cloud = stage.directories[0].dn(&format!("CN=renamed,{old}"));
    stage.directories[0].remove_values(&cloud, "member", std::slice::from_ref(&inner)).await;
    show.people("a nested group is taken out", &["gil", "ida"]).await;
    let mut gone = show.deleted();
    gone.sort();
    assert_eq!(gone, ["hal", "joe"]);
    stage.directories[0].add_values(&cloud, "member", &[inner]).await;
    show.people("and comes back", &["gil", "hal", "ida", "joe"]).await;
    assert!(show.deleted().is_empty(), "restored, not made again");

    stage.directories[0].clear(&cloud, "member").await;
    show.status_says("scope_empty").await;
    assert!(show.deleted().is_empty(), "an emptied group deletes nobody");
    let gil_dn = named(stage, "gil");
    stage.directories[0].add_values(&cloud, "member", &gil_dn).await;
    show.people("with a member again it decides again", &["gil"]).await;
    assert_eq!(show.id("gil"), gil);

    stage.directories[0].delete(&cloud).await;
    show.status_says("scope_group_missing").await;
    assert_eq!(show.id("gil"), gil, "a deleted group deletes nobody");
    show.pipeline.stop().await;
}
