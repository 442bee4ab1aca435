//! What an import leaves: nothing twice, nothing that is not whole, and what later starts go by.

use seawall::cache::{ImportError, Wanted};

use super::*;
use crate::support::world::names;

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_imported_again_lists_its_referrers_once() {
    let world = world(Choices::default());
    let (index, ..) = rich(&world.registry);
    warm(&world, json!(["app:many"])).await;
    let bundle = bundle(&world.seawall, "reference=app:many").await;
    let island = island();
    for _ in 0..2 {
        imported(&island.seawall, "", bundle.clone()).await;
        let path = format!("/v2/library/app/referrers/{index}");
        let list: Value = serde_json::from_slice(&island.seawall.get(&path).await.body).unwrap();
        assert_eq!(list["manifests"].as_array().unwrap().len(), 1, "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_named_of_which_a_file_went_away_before_the_end() {
    let good = good().await;
    let island = island();
    let mut importer = island.seawall.cache.import();
    importer.take(archive(&good).into()).await.unwrap();
    let (_, layer) = good.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let file = blob_file(island.directory.path(), &Digest::sha256(layer));
    std::fs::remove_file(file).unwrap();
    let names = names(Offer::default());
    let settled = importer.settle(None, |name| Wanted::named(name, &names)).await;
    let Err(ImportError::Disk(why)) = settled else {
        panic!("{settled:?}")
    };
    assert!(why.to_string().contains("it did not stay"), "{why}");
    assert!(island.seawall.cache.catalog().await.unwrap().tags.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_imported_is_trusted_by_its_length_where_the_operator_does_without_hashing() {
    let choices = Choices {
        verify_first_serve: false,
        ..Choices::default()
    };
    let good = good().await;
    let island = crate::support::world::world(choices.clone());
    imported(&island.seawall, "", archive(&good)).await;
    let (registry, directory) = island.stop().await;
    registry.go_down();
    let (_, layer) = good.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let layer = Digest::sha256(layer);
    // A wrong byte shows that nobody has looked.
    flip(&blob_file(directory.path(), &layer), 7);
    let seawall = Seawall::start(directory.path(), &registry, choices);
    assert!(seawall.get(&blob_path(&layer)).await.is_good());
    assert!(!is_quarantined(directory.path(), &layer));
}
