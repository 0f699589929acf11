//! Scripts of what goes wrong on the way: channels that refuse for good or go, clocks that were ahead, silences that come
//! and go while something waits.

use super::{
    tests_pipeline::{HOUR, chat},
    *,
};

#[test]
fn a_repeat_that_is_refused_for_good_is_repeated_when_the_next_is_due() {
    let mut play = chat();
    play.raise("Disk", "a", &[]);
    play.run(10_000);
    play.tick = 500;
    (play.for_good, _) = (true, play.refuses.insert("chat".to_owned()));
    play.run(9 * HOUR);
    assert_eq!(play.count("send chat"), 3, "once, and once every four hours");
    play.refuses.clear();
    play.run(4 * HOUR);
    assert_eq!(play.told_to("chat").len(), 2);
}
