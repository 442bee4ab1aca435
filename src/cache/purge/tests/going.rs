//! What a purge under way removes cannot be held, by whatever name.

use super::*;

#[test]
fn what_is_being_removed_is_going_by_each_of_its_names_and_by_no_other() {
    let held = held();
    let (keeper, digest) = (&held.shelves.keeper, held.manifest);
    let [dev, stable] = ["dev", "stable"].map(|name| Name::of_tag(&repository(), &tag(name)));
    let itself = Name {
        repository: repository(),
        reference: Reference::Digest(digest),
    };
    let going = |item| {
        let plan = Plan {
            goes: vec![Going { item, won: None }],
            ..Plan::default()
        };
        let _going = keeper.let_go(Arc::new(plan));
        [&dev, &stable, &itself].map(|name| keeper.is_going(name, &digest))
    };
    assert_eq!(going(Item::Tag(repository(), tag("dev"))), [true, false, false]);
    assert_eq!(going(Item::Manifest(Some(repository()), digest)), [true; 3]);
    // Of which nobody knows whose it is.
    assert_eq!(going(Item::Manifest(None, digest)), [true; 3]);
    assert_eq!(
        going(Item::Manifest(None, Digest::sha256(b"another"))),
        [false; 3]
    );
    assert!(!keeper.is_going(&dev, &digest), "it is over");
}
