//! How often a request allocates: exactly so often, counted by an allocator.
//!
//! Who makes it more says why in the commit; who makes it fewer lowers the number here.

use allocation_counter::measure;
use gatekey_counts::CASES;

/// What one more time costs, after everything that is made once was made.
fn allocations(name: &str) -> (u64, i64) {
    let case = CASES.iter().find(|case| case.name == name).expect("a case");
    let mut once = case.prepare(100);
    once();
    let counted = measure(&mut once);
    (counted.count_total, counted.count_current)
}

#[test]
fn a_token_is_verified_with_two_allocations_and_recognised_with_none() {
    for (name, expected) in [
        // The claims, and what shares them.
        ("verify-cold-hs256", 2),
        ("verify-new-hs256", 2),
        // Those again; and the token itself, to be compared with.
        ("verify-twice-hs256", 5),
        ("verify-hot-hs256", 0),
        ("verify-hot-eddsa", 0),
        ("verify-forged-hs256", 0),
    ] {
        assert_eq!(allocations(name).0, expected, "{name}");
    }
}

#[test]
fn a_guard_adds_nothing_to_them() {
    for (name, expected) in
        [("guard-cold-hs256", 2), ("guard-new-hs256", 2), ("guard-hot-hs256", 0), ("guard-role-hot-hs256", 0)]
    {
        assert_eq!(allocations(name).0, expected, "{name}");
    }
}

#[test]
fn what_tokens_leave_behind_is_bounded_by_the_cache() {
    // Four places: a thousand good tokens, each seen once or twice, leave no more than what was replaced for them.
    for (name, each) in [("verify-new-hs256", 2), ("verify-twice-hs256", 5)] {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        let mut verify = case.prepare(2000);
        (0..1000).for_each(|_| verify());
        let thousand = measure(|| (0..1000).for_each(|_| verify()));
        assert_eq!(thousand.count_total, each * 1000);
        // Each place holds a token of the same length as before it.
        assert!(thousand.count_current <= 0, "{name}: {thousand:?}");
    }

    // And what is no token of ours leaves nothing at all.
    assert_eq!(allocations("verify-forged-hs256"), (0, 0));
}
