//! Which new passwords are taken.

use std::{fmt, sync::Arc, sync::OnceLock};

use unicode_normalization::UnicodeNormalization;

use crate::{
    store::StoreError,
    user::{BreachCheck, Rule, Username},
};

/// Which new passwords are taken; those already stored are never judged by it.
///
/// In this order ([NIST SP 800-63B-4, 3.1.1.2][nist]; OWASP ASVS 5.0, 6.2.1 to 6.2.12):
///
/// 1. **Length**, counted in Unicode code points: 15 to 256 by default, and at most 1024 bytes of UTF-8. Longer is
///    refused, never cut ([`Rule::TooShort`], [`Rule::TooLong`]).
/// 2. **Not a common one**: not on the built-in list of some 9,000 ([`Rule::Common`]). Compared after NFKC and
///    lower-casing, so `PASSWORD…` and full-width letters are found; disguises (`p4ssw0rd…`) only where the list has
///    them.
/// 3. **Not made of the user name**, nor of the [context words](Self::context_words) ([`Rule::ContainsUsername`]). In
///    the same form, every occurrence of the name, of its parts between punctuation, and of each context word is taken
///    out, words of fewer than three code points aside. If any was there, and what is left has less than half the
///    minimum of code points, it is refused.
/// 4. **Not from a known breach**, if the host brings a [check](Self::breach_check), by [`Self::is_breached`].
///
/// There are no composition rules: all lower case, all digits, spaces and emoji are fine. The password itself is kept
/// and compared byte for byte; nothing is normalised, trimmed or folded before it is hashed.
///
/// ```
/// use gatekey_core::password::PasswordPolicy;
/// use gatekey_core::user::{Rule, Username};
///
/// let policy = PasswordPolicy::default().context_words(["Example Shop"]);
/// let alice = Username::new("alice@example.com")?;
/// assert_eq!(policy.check("alice likes trains", &alice), Ok(()));
/// assert_eq!(policy.check("14 code points", &alice), Err(Rule::TooShort));
/// assert_eq!(policy.check("PasswordPassword", &alice), Err(Rule::Common));
/// assert_eq!(policy.check("Alice@Example.com1", &alice), Err(Rule::ContainsUsername));
/// assert_eq!(policy.check("example shop 2026", &alice), Err(Rule::ContainsUsername));
/// # Ok::<(), Rule>(())
/// ```
///
/// [nist]: https://pages.nist.gov/800-63-4/sp800-63b.html
#[derive(Clone, Debug)]
pub struct PasswordPolicy {
    min: usize,
    max: usize,
    context: Vec<String>,
    breach: Option<Arc<dyn BreachCheck>>,
}

/// The shortest word that is looked for in a password: shorter ones are in every other password by chance.
const SHORTEST_WORD: usize = 3;

impl PasswordPolicy {
    /// The lowest minimum, in code points (ASVS 6.2.1).
    pub const LOWEST_MIN: usize = 8;
    /// The lowest maximum, in code points (ASVS 6.2.9).
    pub const LOWEST_MAX: usize = 64;
    /// The most bytes of UTF-8 a password may have, whatever the maximum in code points.
    pub const MAX_BYTES: usize = 1024;

    /// Takes passwords of `min` to `max` code points. Default: 15 to 256.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] if `min` is below 8, `max` below 64 or above 1024, or `min` above `max`.
    pub fn new(min: usize, max: usize) -> Result<Self, PolicyError> {
        if min >= Self::LOWEST_MIN && (Self::LOWEST_MAX..=Self::MAX_BYTES).contains(&max) && min <= max {
            Ok(Self { min, max, context: Vec::new(), breach: None })
        } else {
            Err(PolicyError { min, max })
        }
    }

    /// Adds words that a password must not be made of, as the user name: those of the application and the organisation
    /// (ASVS 6.1.2). Words of fewer than three code points are never looked for.
    #[must_use]
    pub fn context_words<W: AsRef<str>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.context.extend(words.into_iter().map(|word| folded(word.as_ref())));
        self
    }

    /// Asks this check as well (ASVS 6.2.12).
    #[must_use]
    pub fn breach_check(mut self, check: Arc<dyn BreachCheck>) -> Self {
        self.breach = Some(check);
        self
    }

    /// The fewest code points.
    #[must_use]
    pub fn min(&self) -> usize {
        self.min
    }

    /// The most code points.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// Judges a new password of this user, breaches aside.
    ///
    /// # Errors
    ///
    /// The first rule it breaks: [`Rule::TooShort`], [`Rule::TooLong`], [`Rule::Common`] or
    /// [`Rule::ContainsUsername`].
    pub fn check(&self, password: &str, username: &Username) -> Result<(), Rule> {
        // Bytes first: what follows is work in proportion to them.
        if password.len() > Self::MAX_BYTES {
            return Err(Rule::TooLong);
        }
        let len = password.chars().count();
        if len < self.min {
            return Err(Rule::TooShort);
        }
        if len > self.max {
            return Err(Rule::TooLong);
        }
        let folded = folded(password);
        if common().binary_search(&folded.as_str()).is_ok() {
            return Err(Rule::Common);
        }
        if self.is_made_of_words(&folded, username.canonical()) {
            return Err(Rule::ContainsUsername);
        }
        Ok(())
    }

    /// Whether the host's check knows the password from a breach; `false` without a check. A hit is [`Rule::Common`].
    ///
    /// # Errors
    ///
    /// The check's own.
    pub async fn is_breached(&self, password: &str) -> Result<bool, StoreError> {
        match &self.breach {
            Some(check) => check.is_breached(password).await,
            None => Ok(false),
        }
    }

    fn is_made_of_words(&self, password: &str, username: &str) -> bool {
        let parts = username.split(|c: char| !c.is_alphanumeric());
        let mut words: Vec<&str> = [username]
            .into_iter()
            .chain(parts)
            .chain(self.context.iter().map(String::as_str))
            .filter(|word| word.chars().count() >= SHORTEST_WORD)
            .collect();
        // Long ones first: a part taken out of the middle would hide the whole.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let mut rest = password.to_owned();
        for word in words {
            if rest.contains(word) {
                rest = rest.replace(word, "");
            }
        }
        rest.len() < password.len() && rest.chars().count() * 2 < self.min
    }
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min: 15, max: 256, context: Vec::new(), breach: None }
    }
}

/// A password policy that would take passwords too short, or refuse ones that must be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError {
    min: usize,
    max: usize,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "password length {} to {} code points: the minimum must be at least {}, the maximum {} to {} and not below \
             the minimum",
            self.min,
            self.max,
            PasswordPolicy::LOWEST_MIN,
            PasswordPolicy::LOWEST_MAX,
            PasswordPolicy::MAX_BYTES
        )
    }
}

impl std::error::Error for PolicyError {}

/// The form in which passwords are compared with words, as [`Username::canonical`] is made.
fn folded(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// The list, sorted by byte.
fn common() -> &'static [&'static str] {
    static LIST: OnceLock<Vec<&str>> = OnceLock::new();
    LIST.get_or_init(|| include_str!("common.txt").lines().collect())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    fn alice() -> Username {
        Username::new("alice").unwrap()
    }

    fn check(password: &str) -> Result<(), Rule> {
        PasswordPolicy::default().check(password, &alice())
    }

    #[test]
    fn length_is_counted_in_code_points() {
        for (password, verdict) in [
            ("", Err(Rule::TooShort)),
            ("fourteen chars", Err(Rule::TooShort)),
            ("fifteen chars !", Ok(())),
            // 15 code points of one, two, three and four bytes; 14 of them are too few however many bytes.
            ("zyxwvutsrqpomkj", Ok(())),
            ("éèêëàâäîïôöùûüç", Ok(())),
            ("日月火水木金土日月火水木金土曜", Ok(())),
            ("🔑🔒🔓🔏🔐🗝🛡🧱🚪🏰🔑🔒🔓🔏", Err(Rule::TooShort)),
            ("🔑🔒🔓🔏🔐🗝🛡🧱🚪🏰🔑🔒🔓🔏🔐", Ok(())),
        ] {
            assert_eq!(check(password), verdict, "{password}");
        }
        assert_eq!(check(&"é🔒".repeat(128)), Ok(()));
        assert_eq!(check(&format!("{}x", "é🔒".repeat(128))), Err(Rule::TooLong));
        assert_eq!(check(&"🔒".repeat(256)), Ok(()), "1024 bytes");
    }

    #[test]
    fn no_password_has_more_than_1024_bytes() {
        let policy = PasswordPolicy::new(15, 1024).unwrap();
        assert_eq!(policy.check(&"yx".repeat(512), &alice()), Ok(()));
        assert_eq!(policy.check(&"🔒".repeat(257), &alice()), Err(Rule::TooLong));
    }

    #[test]
    fn there_are_no_composition_rules() {
        for password in [
            "gmdkfhsywbqxjvp",
            "GMDKFHSYWBQXJVP",
            "730194628519473",
            "?!%&()[]{}+-*/~",
            " leading and trailing ",
            "control \u{7} and \0 characters",
        ] {
            assert_eq!(check(password), Ok(()), "{password:?}");
        }
    }

    #[test]
    fn common_passwords_are_found_in_any_case_and_width() {
        for password in ["passwordpassword", "PASSWORDpassword", "ｐａｓｓｗｏｒｄpassword"] {
            assert_eq!(check(password), Err(Rule::Common), "{password}");
        }
        assert_eq!(check("passwordpassword of mine"), Ok(()));
        let policy = PasswordPolicy::new(8, 64).unwrap();
        assert_eq!(policy.check("Bluebell", &alice()), Err(Rule::Common));
    }

    #[test]
    fn the_list_is_long_enough_at_both_minimums_and_can_be_searched() {
        let list = common();
        assert!(list.is_sorted());
        let at_least = |n| list.iter().filter(|p| p.chars().count() >= n).count();
        assert!(at_least(8) >= 3000, "{}", at_least(8));
        assert!(at_least(15) >= 3000, "{}", at_least(15));
        for entry in list {
            assert_eq!(folded(entry), *entry, "an entry not in the form that is looked for is never found");
        }
    }

    #[test]
    fn a_password_made_of_the_user_name_is_refused() {
        let policy = PasswordPolicy::default().context_words(["Gatekey Demo", "go"]);
        for (name, password, refused) in [
            ("alice", "alicealicealice", true),
            ("alice", "ALICE-Alice-alice", true),
            ("alice", "alice1234567alice", true),
            ("alice", "alice12345678 alice", false),
            ("alice", "alice in wonderland", false),
            ("alice", "my name is alice", false),
            ("alice", "no such name here", false),
            ("Élodie.Martin", "e\u{301}lodiemartin2026", true),
            ("alice@example.com", "alice@example.com", true),
            ("alice@example.com", "alice+example+2026", true),
            ("alice@example.com", "example of alice, the cook", false),
            // A name of two letters is in half of all passwords.
            ("al", "alalalalalalalal", false),
            ("bob", "gatekey demo 2026", true),
            ("bob", "bob's gatekey demo", true),
            // The longer word first: without its middle it would not be found.
            ("key", "gatekey demo 2026", true),
            ("bob", "gogogo and further", false),
            // Nothing of the name in it: not this rule's business, however short the rest.
            ("zoe", "0000000zzzzzzzz", false),
            // As here: 15 code points typed, 5 after NFKC.
            (
                "zoe",
                "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}\u{1106}\u{1161}\u{11af}\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}",
                false,
            ),
        ] {
            let username = Username::new(name).unwrap();
            let expected = if refused { Err(Rule::ContainsUsername) } else { Ok(()) };
            assert_eq!(policy.check(password, &username), expected, "{name} {password}");
        }
    }

    #[test]
    fn a_lower_minimum_leaves_less_beside_the_user_name() {
        let policy = PasswordPolicy::new(8, 64).unwrap();
        assert_eq!(policy.check("alice987", &alice()), Err(Rule::ContainsUsername));
        assert_eq!(policy.check("alice9876", &alice()), Ok(()));
    }

    #[test]
    fn a_policy_outside_the_bounds_is_refused() {
        for (min, max, allowed) in [
            (8, 64, true),
            (7, 256, false),
            (0, 256, false),
            (15, 63, false),
            (15, 1024, true),
            (15, 1025, false),
            (100, 100, true),
            (101, 100, false),
        ] {
            assert_eq!(PasswordPolicy::new(min, max).is_ok(), allowed, "{min} {max}");
        }
        assert_eq!(
            PasswordPolicy::new(7, 256).unwrap_err().to_string(),
            "password length 7 to 256 code points: the minimum must be at least 8, the maximum 64 to 1024 and not below \
             the minimum"
        );
    }

    #[tokio::test]
    async fn a_breach_check_is_asked_and_its_failure_is_not_an_answer() {
        #[derive(Debug)]
        struct Known;
        #[async_trait]
        impl BreachCheck for Known {
            async fn is_breached(&self, password: &str) -> Result<bool, StoreError> {
                match password {
                    "down" => Err(StoreError::unavailable("down")),
                    password => Ok(password == "seen"),
                }
            }
        }
        assert!(!PasswordPolicy::default().is_breached("seen").await.unwrap());
        let policy = PasswordPolicy::default().breach_check(Arc::new(Known));
        assert!(policy.is_breached("seen").await.unwrap());
        assert!(!policy.is_breached("unseen").await.unwrap());
        assert!(policy.is_breached("down").await.is_err());
    }
}
