//! Every case, by area: a file each, in the order a reader would meet them.

use crate::case::Case;

mod access;
mod address;
#[cfg(test)]
mod contract;
mod cookies;
mod crash;
mod credentials;
mod csrf;
mod errors;
mod forms;
mod guard;
mod hosts;
mod introspect;
mod json;
mod keys;
mod login;
mod logout;
mod me;
mod metadata;
mod nodes;
mod pages;
mod password;
mod races;
mod register;
mod revoke;
mod rotation;
mod script;
mod secrets;
mod sessions;
mod throttle;
mod token;
mod wire;

/// The areas and their cases; an area's name is its file's and the first half of its cases' ids.
const AREAS: &[(&str, &[Case])] = &[
    ("login", login::CASES),
    ("register", register::CASES),
    ("token", token::CASES),
    ("rotation", rotation::CASES),
    ("logout", logout::CASES),
    ("revoke", revoke::CASES),
    ("introspect", introspect::CASES),
    ("me", me::CASES),
    ("sessions", sessions::CASES),
    ("password", password::CASES),
    ("metadata", metadata::CASES),
    ("script", script::CASES),
    ("errors", errors::CASES),
    ("json", json::CASES),
    ("forms", forms::CASES),
    ("access", access::CASES),
    ("credentials", credentials::CASES),
    ("cookies", cookies::CASES),
    ("csrf", csrf::CASES),
    ("pages", pages::CASES),
    ("guard", guard::CASES),
    ("throttle", throttle::CASES),
    ("address", address::CASES),
    ("races", races::CASES),
    ("nodes", nodes::CASES),
    ("crash", crash::CASES),
    ("keys", keys::CASES),
    ("hosts", hosts::CASES),
    ("wire", wire::CASES),
    ("secrets", secrets::CASES),
];

/// All cases.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    AREAS.iter().flat_map(|(_, cases)| cases.iter())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_id_is_a_slug_of_its_area_and_stands_once() {
        let mut seen = BTreeSet::new();
        for (area, cases) in AREAS {
            for case in *cases {
                let slug = case.id.strip_prefix(area).and_then(|rest| rest.strip_prefix('/'));
                let slug = slug.unwrap_or_else(|| panic!("{} is not in {area}", case.id));
                let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(!slug.is_empty() && slug.chars().all(letters), "{}", case.id);
                assert!(seen.insert(case.id), "{} stands twice", case.id);
            }
        }
    }

    #[test]
    fn every_case_requires_one_sentence_and_says_where_it_is_written() {
        for case in cases() {
            assert!(case.requires.ends_with('.'), "{}", case.id);
            assert!(!case.spec.is_empty(), "{}", case.id);
        }
    }
}
