//! Reads and checks the hashes of other software: bcrypt, scrypt and PBKDF2 in the spellings listed in the module
//! above. They are checked once, and replaced at that login; nothing here writes one.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};
use bcrypt::HashParts;

use super::{
    Fault,
    stored::{self, Stored, number, numbers},
};
use crate::secret::{Secret, equal};

/// 2^16 rounds of Blowfish key expansion: some three seconds.
const MAX_BCRYPT_COST: u32 = 16;
/// N = 2^17, which with r = 8 takes 128 MiB.
const MAX_SCRYPT_LOG_N: u32 = 17;
/// 128 × N × r bytes.
const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;
/// N × r × p: four times that of the recommended N = 2^17, r = 8, p = 1.
const MAX_SCRYPT_WORK: u64 = 1 << 22;
const MAX_PBKDF2_ITERATIONS: u32 = 2_000_000;
/// Of a salt or a tag.
const MAX_BYTES: usize = 64;

/// A hash of another algorithm, its costs below the cap.
#[derive(Debug)]
pub(super) enum Imported {
    Bcrypt {
        /// The 60 characters.
        hash: String,
        /// Django's: the password is first its SHA-256 in hexadecimal, so that all of it counts.
        prehashed: bool,
    },
    Scrypt {
        params: scrypt::Params,
        salt: Vec<u8>,
        tag: Vec<u8>,
    },
    Pbkdf2 {
        algorithm: Prf,
        iterations: NonZeroU32,
        salt: Vec<u8>,
        tag: Vec<u8>,
    },
}

/// What PBKDF2 repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prf {
    /// In old Django, passlib and Spring hashes. What breaks SHA-1 does not break HMAC-SHA-1, and the password is
    /// hashed anew at the next login.
    HmacSha1,
    HmacSha256,
    HmacSha512,
}

pub(super) fn parse(text: &str) -> Result<Stored, Fault> {
    if let Some(rest) = text.strip_prefix('{') {
        let (id, hash) = rest.split_once('}').ok_or(Fault::UnknownFormat)?;
        return spring(id, hash);
    }
    let imported = match text.split('$').collect::<Vec<_>>()[..] {
        ["", "2a" | "2b" | "2y", ..] => read_bcrypt(text, false),
        ["", "scrypt", costs, salt, tag] => {
            let [log_n, r, p] = numbers(costs, ["ln", "r", "p"]).ok_or(Fault::Malformed)?;
            read_scrypt(log_n, r, p, unpadded(salt)?, unpadded(tag)?)
        }
        ["", name, costs, salt, tag] => {
            let algorithm = match name {
                "pbkdf2" => Prf::HmacSha1,
                "pbkdf2-sha256" => Prf::HmacSha256,
                "pbkdf2-sha512" => Prf::HmacSha512,
                _ => return Err(Fault::UnknownFormat),
            };
            phc_pbkdf2(algorithm, costs, salt, tag)
        }
        ["argon2", ..] => {
            return stored::argon2(&text["argon2".len()..]).map(Stored::Argon2);
        }
        ["bcrypt_sha256", "", ..] => read_bcrypt(&text["bcrypt_sha256$".len()..], true),
        ["bcrypt", "", ..] => read_bcrypt(&text["bcrypt$".len()..], false),
        ["scrypt", n, salt, r, p, tag] => {
            let [n, r, p] = [number(n), number(r), number(p)];
            let (Some(n), Some(r), Some(p)) = (n.filter(|n| n.is_power_of_two()), r, p) else {
                return Err(Fault::Malformed);
            };
            read_scrypt(n.ilog2(), r, p, salt.as_bytes().to_vec(), padded(tag)?)
        }
        [name @ ("pbkdf2_sha256" | "pbkdf2_sha1"), iterations, salt, tag] => {
            let algorithm = if name == "pbkdf2_sha1" { Prf::HmacSha1 } else { Prf::HmacSha256 };
            let iterations = number(iterations).ok_or(Fault::Malformed)?;
            read_pbkdf2(algorithm, iterations, salt.as_bytes().to_vec(), padded(tag)?)
        }
        _ => Err(Fault::UnknownFormat),
    };
    imported.map(Stored::Imported)
}

/// What Spring Security's `DelegatingPasswordEncoder` writes: the encoder's id in braces. Of its PBKDF2 and scrypt the
/// costs are the defaults of that encoder; a host that set its own has to write them out as PHC strings when importing.
fn spring(id: &str, hash: &str) -> Result<Stored, Fault> {
    match id {
        "bcrypt" => read_bcrypt(hash, false),
        "argon2" | "argon2@SpringSecurity_v5_8" => {
            return stored::argon2(hash).map(Stored::Argon2);
        }
        "pbkdf2" => spring_pbkdf2(Prf::HmacSha1, 185_000, 8, hash),
        "pbkdf2@SpringSecurity_v5_8" => spring_pbkdf2(Prf::HmacSha256, 310_000, 16, hash),
        "scrypt" | "scrypt@SpringSecurity_v5_8" => match hash.split('$').collect::<Vec<_>>()[..] {
            // One hexadecimal number: log2 N, then r and p in a byte each.
            ["", costs, salt, tag] => {
                let costs = u32::from_str_radix(costs, 16).map_err(|_| Fault::Malformed)?;
                let (log_n, r, p) = (costs >> 16, costs >> 8 & 0xff, costs & 0xff);
                read_scrypt(log_n, r, p, padded(salt)?, padded(tag)?)
            }
            _ => Err(Fault::Malformed),
        },
        _ => Err(Fault::UnknownFormat),
    }
    .map(Stored::Imported)
}

fn spring_pbkdf2(algorithm: Prf, iterations: u32, salt: usize, hash: &str) -> Result<Imported, Fault> {
    let bytes = unhex(hash).ok_or(Fault::Malformed)?;
    let (salt, tag) = bytes.split_at_checked(salt).ok_or(Fault::Malformed)?;
    if tag.len() != 32 {
        return Err(Fault::Malformed);
    }
    read_pbkdf2(algorithm, iterations, salt.to_vec(), tag.to_vec())
}

/// With named costs as a PHC string has them, or with a bare number as passlib writes it (base64 with `.` for `+`).
fn phc_pbkdf2(algorithm: Prf, costs: &str, salt: &str, tag: &str) -> Result<Imported, Fault> {
    if let Some(iterations) = number(costs) {
        let unpadded = |text: &str| {
            if text.contains('+') {
                return Err(Fault::Malformed);
            }
            unpadded(&text.replace('.', "+"))
        };
        return read_pbkdf2(algorithm, iterations, unpadded(salt)?, unpadded(tag)?);
    }
    let tag = unpadded(tag)?;
    let iterations = if let Some([iterations]) = numbers(costs, ["i"]) {
        iterations
    } else {
        let [iterations, len] = numbers(costs, ["i", "l"]).ok_or(Fault::Malformed)?;
        if usize::try_from(len) != Ok(tag.len()) {
            return Err(Fault::Malformed);
        }
        iterations
    };
    read_pbkdf2(algorithm, iterations, unpadded(salt)?, tag)
}

fn read_bcrypt(text: &str, prehashed: bool) -> Result<Imported, Fault> {
    // Not `2x`: it marks the hashes of an old bug, which the crate does not repeat.
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "2a" | "2b" | "2y", cost, _] if cost.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err(Fault::Malformed),
    }
    let parts: HashParts = text.parse().map_err(|_| Fault::Malformed)?;
    match parts.get_cost() {
        ..4 => Err(Fault::Malformed),
        4..=MAX_BCRYPT_COST => Ok(Imported::Bcrypt { hash: text.to_owned(), prehashed }),
        _ => Err(Fault::TooCostly),
    }
}

fn read_scrypt(log_n: u32, r: u32, p: u32, salt: Vec<u8>, tag: Vec<u8>) -> Result<Imported, Fault> {
    if log_n > MAX_SCRYPT_LOG_N {
        return Err(Fault::TooCostly);
    }
    let block = u64::from(r) << log_n;
    if block.saturating_mul(128) > MAX_SCRYPT_MEMORY || block.saturating_mul(p.into()) > MAX_SCRYPT_WORK {
        return Err(Fault::TooCostly);
    }
    if log_n == 0 {
        return Err(Fault::Malformed);
    }
    Ok(Imported::Scrypt {
        params: u8::try_from(log_n)
            .ok()
            .and_then(|log_n| scrypt::Params::new(log_n, r, p).ok())
            .ok_or(Fault::Malformed)?,
        salt: some(salt, 1)?,
        tag: some(tag, 16)?,
    })
}

fn read_pbkdf2(algorithm: Prf, iterations: u32, salt: Vec<u8>, tag: Vec<u8>) -> Result<Imported, Fault> {
    if iterations > MAX_PBKDF2_ITERATIONS {
        return Err(Fault::TooCostly);
    }
    Ok(Imported::Pbkdf2 {
        algorithm,
        iterations: NonZeroU32::new(iterations).ok_or(Fault::Malformed)?,
        salt: some(salt, 1)?,
        tag: some(tag, 16)?,
    })
}

impl Imported {
    /// Whether it is of this password.
    pub(super) fn matches(&self, password: &Secret<String>) -> Result<bool, Fault> {
        let password = password.expose().as_bytes();
        match self {
            Self::Bcrypt { hash, prehashed } => {
                let digest;
                let password = if *prehashed {
                    digest = Secret::new(hex(digest::digest(&digest::SHA256, password).as_ref()));
                    digest.expose().as_bytes()
                } else {
                    password
                };
                let matches = bcrypt::verify(password, hash).map_err(|_| Fault::Malformed)?;
                // bcrypt repeats the password and its final NUL, so `a` and `a\0a` are one to it. No C string has a
                // NUL: none such was ever hashed.
                Ok(matches && !password.contains(&0))
            }
            Self::Scrypt { params, salt, tag } => {
                let mut ours = vec![0; tag.len()];
                scrypt::scrypt(password, salt, params, &mut ours).map_err(|_| Fault::Malformed)?;
                Ok(equal(&ours, tag))
            }
            Self::Pbkdf2 { algorithm, iterations, salt, tag } => {
                let algorithm = match algorithm {
                    Prf::HmacSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
                    Prf::HmacSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                    Prf::HmacSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                };
                // Compares in constant time.
                Ok(pbkdf2::verify(algorithm, *iterations, salt, password, tag).is_ok())
            }
        }
    }
}

/// Standard base64 without padding; how long it may be is asked later.
fn unpadded(text: &str) -> Result<Vec<u8>, Fault> {
    stored::bytes(text, 0..=MAX_BYTES)
}

/// Standard base64 with padding.
fn padded(text: &str) -> Result<Vec<u8>, Fault> {
    base64_simd::STANDARD.decode_to_vec(text).map_err(|_| Fault::Malformed)
}

fn some(bytes: Vec<u8>, at_least: usize) -> Result<Vec<u8>, Fault> {
    if (at_least..=MAX_BYTES).contains(&bytes.len()) { Ok(bytes) } else { Err(Fault::Malformed) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibbles: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok())).collect::<Option<_>>()?;
    let (pairs, []) = nibbles.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with Python's bcrypt 4.0.1, passlib 1.7.4, Django 5.2.19, hashlib and argon2-cffi 25.1. Those in Spring
    // Security's spelling follow from hashlib by its formulas.
    const IMPORTS: &[(&str, &str)] = &[
        ("correct horse battery staple", "$2a$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"),
        ("correct horse battery staple", "$2b$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"),
        ("correct horse battery staple", "$2y$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"),
        ("Zwölf Boxkämpfer jagen Viktor", "$2b$05$......................qS9I7rZ51Ksu9EEZ7jbUjcTxmS6/GWy"),
        (
            "correct horse battery staple",
            "$scrypt$ln=6,r=8,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$IbH5AOzuERe48rDQFmH3wBXarDN2SM1WnXe+Hz1XYv8",
        ),
        (
            "Zwölf Boxkämpfer jagen Viktor",
            "$scrypt$ln=4,r=2,p=3$MTIzNDU2Nzg5MDEyMzQ1Ng$NT60IOPrz7yR+xIC2SvzEa78yBGXqiQIujgr/tpYdbI",
        ),
        (
            "correct horse battery staple",
            "$pbkdf2-sha256$1000$././././././././$GyTkG.vbtEqB0/ilG8aDo6wvU3b1.1s0p97M0POlbs0",
        ),
        (
            "correct horse battery staple",
            "$pbkdf2-sha512$1000$MTIzNDU2Nzg5MDEyMzQ1Ng$hEBg5wqouF48ZdiRjOhHU0SiR.UskGn4/TWs751j1Ad5YXoYmVivY9.ZtrzUYwzfCg/uv1CZTZB5wzd.vq/dpA",
        ),
        ("correct horse battery staple", "$pbkdf2$1000$MTIzNDU2Nzg5MDEyMzQ1Ng$Je35gEFnr3cN3afdTSfY7chNq7U"),
        (
            "correct horse battery staple",
            "pbkdf2_sha256$1000$NaClNaClNaCl$Yjgv2ldhpZaD1nWilO6B2wcqdx/pg2kewTaiJVKptNs=",
        ),
        ("Zwölf Boxkämpfer jagen Viktor", "pbkdf2_sha1$1000$NaClNaClNaCl$Ls1Nx/yhafYA0T7VlS0XHL0fcqg="),
        (
            "correct horse battery staple",
            "bcrypt_sha256$$2b$04$abcdefghijklmnopqrstuuaBT8mpw5tGdD3eO40znWcQP/dT9hEVK",
        ),
        (
            "correct horse battery staple",
            "bcrypt$$2b$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG",
        ),
        (
            "correct horse battery staple",
            "scrypt$64$NaClNaClNaCl$8$5$gpz3pdLUUd6vSpHxirOxJ5L2XJzF+d6e5E9MPuaGCdXPJ3vKuUGudEW8xfktfV6kaVlydxvPP9JGLpk5l54+dA==",
        ),
        (
            "correct horse battery staple",
            "{bcrypt}$2a$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG",
        ),
        (
            "correct horse battery staple",
            "{pbkdf2}31323334353637383ecf1d55bc6a9a88463bdbd7b02e33605c24e8fadc941bd54bd291b890303b4c",
        ),
        (
            "correct horse battery staple",
            "{pbkdf2@SpringSecurity_v5_8}313233343536373839303132333435369fb1d4ebb9e9011cf758568528756370aa8c61b22e257a113c0b4429ae1e27bc",
        ),
        (
            "correct horse battery staple",
            "{scrypt}$60801$MTIzNDU2Nzg5MDEyMzQ1NjEyMzQ1Njc4OTAxMjM0NTYxMjM0NTY3ODkwMTIzNDU2MTIzNDU2Nzg5MDEyMzQ1Ng==$tdr3FDCUOKEkhLncRkYUUZD7uPSLpxdpYCphcEqUiZU=",
        ),
        (
            "correct horse battery staple",
            "{scrypt@SpringSecurity_v5_8}$60801$MTIzNDU2Nzg5MDEyMzQ1Ng==$IbH5AOzuERe48rDQFmH3wBXarDN2SM1WnXe+Hz1XYv8=",
        ),
        (
            "correct horse battery staple",
            "$pbkdf2-sha256$i=1000,l=32$+/+/+/+/+/+/+/+/$GyTkG+vbtEqB0/ilG8aDo6wvU3b1+1s0p97M0POlbs0",
        ),
        (
            "correct horse battery staple",
            "$pbkdf2-sha512$i=1000$MTIzNDU2Nzg5MDEyMzQ1Ng$hEBg5wqouF48ZdiRjOhHU0SiR+UskGn4/TWs751j1Ac",
        ),
    ];

    fn matches(password: &str, stored: &str) -> Result<bool, Fault> {
        match parse(stored)? {
            Stored::Imported(hash) => hash.matches(&Secret::new(password.to_owned())),
            Stored::Argon2(_) => panic!("{stored}: computed by the pool, tested there"),
        }
    }

    #[test]
    fn hashes_of_other_software_match_their_password_alone() {
        for (password, stored) in IMPORTS {
            assert_eq!(matches(password, stored), Ok(true), "{stored}");
            assert_eq!(matches(&format!("{password}."), stored), Ok(false), "{stored}");
            assert_eq!(matches("", stored), Ok(false), "{stored}");
        }
    }

    #[test]
    fn argon2_in_the_dress_of_django_or_spring_is_argon2() {
        let hash = "$argon2id$v=19$m=1024,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$wqDi0yAW1svtBf6tNF6rN12+X7ENWt+2cjWbTZL+MkA";
        for prefix in ["argon2", "{argon2}", "{argon2@SpringSecurity_v5_8}"] {
            let stored = parse(&format!("{prefix}{hash}")).unwrap();
            assert!(
                matches!(stored, Stored::Argon2(read) if read == stored::argon2(hash).unwrap()),
                "{prefix}"
            );
        }
    }

    #[test]
    fn bcrypt_counts_the_first_72_bytes_and_djangos_all() {
        let long = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"; // of 80 x
        assert_eq!(matches(&"x".repeat(80), long), Ok(true));
        assert_eq!(matches(&"x".repeat(72), long), Ok(true));
        assert_eq!(matches(&"x".repeat(71), long), Ok(false));
        assert_eq!(matches(&format!("{}y", "x".repeat(71)), long), Ok(false));
    }

    #[test]
    fn bcrypt_never_matches_a_password_with_nul() {
        let a = "$2b$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC";
        assert_eq!(matches("a", a), Ok(true));
        assert_eq!(matches("a\0a", a), Ok(false));
        assert_eq!(matches("a\0", a), Ok(false));
    }

    #[test]
    fn costs_above_the_cap_and_malformed_hashes_are_not_computed() {
        const B: &str = "$2b$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC";
        const S: &str =
            "$scrypt$ln=6,r=8,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$IbH5AOzuERe48rDQFmH3wBXarDN2SM1WnXe+Hz1XYv8";
        const P: &str =
            "$pbkdf2-sha256$i=1000,l=32$+/+/+/+/+/+/+/+/$GyTkG+vbtEqB0/ilG8aDo6wvU3b1+1s0p97M0POlbs0";
        const L: &str = "$pbkdf2-sha256$1000$././././././././$GyTkG.vbtEqB0/ilG8aDo6wvU3b1.1s0p97M0POlbs0";
        const D: &str = "pbkdf2_sha256$1000$NaClNaClNaCl$Yjgv2ldhpZaD1nWilO6B2wcqdx/pg2kewTaiJVKptNs=";
        const DS: &str = "scrypt$64$NaClNaClNaCl$8$5$gpz3pdLUUd6vSpHxirOxJ5L2XJzF+d6e5E9MPuaGCdXPJ3vKuUGudEW8xfktfV6kaVlydxvPP9JGLpk5l54+dA==";
        const SP: &str =
            "{pbkdf2}31323334353637383ecf1d55bc6a9a88463bdbd7b02e33605c24e8fadc941bd54bd291b890303b4c";
        const SS: &str =
            "{scrypt}$60801$MTIzNDU2Nzg5MDEyMzQ1Ng==$IbH5AOzuERe48rDQFmH3wBXarDN2SM1WnXe+Hz1XYv8=";
        for good in [B, S, P, L, D, DS, SP, SS] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (base, from, to, fault) in [
            (B, "$04", "$17", Fault::TooCostly),
            (B, "$04", "$31", Fault::TooCostly),
            (B, "$04", "$03", Fault::Malformed),
            (B, "$04", "$+4", Fault::Malformed),
            (B, "$04", "$4", Fault::Malformed),
            (B, "2b", "2x", Fault::UnknownFormat),
            (B, "JC", "J", Fault::Malformed),
            (B, "stuu", "stuz", Fault::Malformed),
            (S, "ln=6", "ln=18", Fault::TooCostly),
            (S, "ln=6", "ln=4294967295", Fault::TooCostly),
            (S, "ln=6", "ln=0", Fault::Malformed),
            (S, "ln=6,r=8", "ln=17,r=17", Fault::TooCostly),
            (S, "ln=6,r=8,p=1", "ln=17,r=8,p=5", Fault::TooCostly),
            (S, "r=8", "r=4294967295", Fault::TooCostly),
            (S, "p=1", "p=4294967295", Fault::TooCostly),
            (S, "r=8", "r=0", Fault::Malformed),
            (S, "p=1", "p=0", Fault::Malformed),
            (S, "ln=6,r=8", "r=8,ln=6", Fault::Malformed),
            (S, "$IbH5AOzuERe48rDQFmH3wBXarDN2SM1WnXe+Hz1XYv8", "$IbH5AOzu", Fault::Malformed),
            (P, "i=1000", "i=2000001", Fault::TooCostly),
            (P, "i=1000", "i=0", Fault::Malformed),
            (P, "l=32", "l=31", Fault::Malformed),
            (P, "sha256", "sha224", Fault::UnknownFormat),
            (P, "$+/", "$./", Fault::Malformed),
            (L, "$1000", "$2000001", Fault::TooCostly),
            (L, "$./", "$+/", Fault::Malformed),
            (L, "$././././././././", "$", Fault::Malformed),
            (D, "$1000", "$2000001", Fault::TooCostly),
            (D, "$1000", "$0", Fault::Malformed),
            (D, "$1000", "$1e3", Fault::Malformed),
            (D, "NaClNaClNaCl", "", Fault::Malformed),
            (D, "Ns=", "Ns", Fault::Malformed),
            (D, "sha256", "md5", Fault::UnknownFormat),
            (DS, "$64", "$262144", Fault::TooCostly),
            (DS, "$64", "$63", Fault::Malformed),
            (DS, "$64", "$0", Fault::Malformed),
            (SP, "4c", "4", Fault::Malformed),
            (SP, "4c", "", Fault::Malformed),
            (SP, "4c", "4g", Fault::Malformed),
            (SP, "{pbkdf2}", "{pbkdf2@SpringSecurity_v5_8}", Fault::Malformed),
            (SP, "{pbkdf2}", "{noop}", Fault::UnknownFormat),
            (SP, "{pbkdf2}", "{pbkdf2", Fault::UnknownFormat),
            (SS, "60801", "120801", Fault::TooCostly),
            (SS, "60801", "ffffffffff", Fault::Malformed),
            (SS, "60801", "60001", Fault::Malformed),
        ] {
            assert!(base.contains(from), "{base} {from}");
            let text = base.replacen(from, to, 1);
            assert_eq!(parse(&text).err(), Some(fault), "{text}");
        }
    }
}
