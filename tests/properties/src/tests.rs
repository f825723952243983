use super::*;

#[test]
fn every_vector_is_judged_by_the_model_as_its_file_says() {
    for test in seeds::VECTORS.iter() {
        let key = model::ACCESS.iter().find(|key| test["key"] == key.alg).unwrap();
        let accepted = model::accepts_access(key, test["token"].as_str().unwrap());
        assert_eq!(accepted, test["result"] == "accepted", "{}", test["comment"]);
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n.max(1) as u64).unwrap()
    }
}

/// A seed, changed a little, and perhaps with a part of another.
fn drawn(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(dice.below(256)).unwrap()),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                let to = from + dice.below((other.len() - from).min(40) + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let words = [
                    "\"exp\":", "null", "1e400", "\\u0061", "[", "{\"a\":", "-0", "crit", "\u{e9}", "=",
                    "Bearer ",
                ];
                bytes.splice(at..at, words[dice.below(words.len())].bytes());
            }
        }
    }
    bytes
}

fn holds(name: &str) {
    let seeds: Vec<Vec<u8>> = seeds::inputs(name).into_values().collect();
    assert!(seeds.len() >= 3, "{name} has no seeds");
    let target = target(name);
    seeds.iter().for_each(|seed| (target.run)(seed));
    let mut dice = Dice(2718);
    (0..400).for_each(|_| (target.run)(&drawn(&mut dice, &seeds)));
}

macro_rules! properties {
    ($($name:ident)*) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn every_target_is_a_test_here() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

properties! {
    access_token signed_access_token refresh_token json credentials address body stored_hash key_setting key_set
}
