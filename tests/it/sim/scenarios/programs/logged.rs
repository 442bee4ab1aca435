//! What programs give is written down nowhere, whatever they do.

use super::super::super::identities::Identities;
use super::super::super::identities::programs::SECRET;
use super::*;
use crate::support::finest::Finest;

#[tokio::test(start_paused = true)]
async fn what_programs_give_and_say_is_in_no_log_and_on_no_page() {
    // S032, S033
    let preset = registries().remove(0);
    for (protocol, life) in BOTH {
        let log = Finest::begin();
        let (desk, program) = Desk::with_one(&preset, protocol, life);
        let ways = [
            Mode::GivesAndFails,
            Mode::Garbage,
            Mode::OtherVersion,
            Mode::Hangs,
            Mode::NotToBeKept,
            Mode::HasNone,
            Mode::Fails,
        ];
        let mut pull = 0;
        // Given, to be had no more, revoked.
        for mode in ways {
            for mode in [Mode::Gives, mode] {
                program.does(mode);
                for _ in 0..3 {
                    pull += 1;
                    desk.pulls(pull).await;
                    tokio::time::sleep(MINUTE * 21).await;
                }
            }
            desk.shop.sim.identities(Identities::revoke);
            pull += 1;
            desk.pulls(pull).await;
            desk.during(log.assert_hides(&[SECRET.to_owned()], &desk.shop.seawall, program.name()))
                .await;
        }
        assert!(program.runs() > 20, "{}", program.runs());
    }
}
