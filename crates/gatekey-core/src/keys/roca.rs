//! RSA keys whose factors can be guessed: those that Infineon's library made until 2017 (ROCA, CVE-2017-15361), in smart
//! cards, passports and TPMs. Their primes are powers of 65537 modulo a product of small primes, and so is what they
//! multiply to: the modulus alone tells.

/// Small primes modulo which the powers of 65537 are few.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus, big end first, is of such a key. Of others, one in a hundred million is taken for one.
pub(super) fn is_weak(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        // The powers repeat before there are as many as the prime says.
        (0..*prime).any(|_| {
            power = power * (65537 % prime) % prime;
            power == rest
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures::access_key, keys::Algorithm};

    #[test]
    fn a_power_of_the_generator_is_weak_and_its_neighbour_is_not() {
        // 65537^3.
        let weak = 281_487_861_809_153_u64;
        assert!(is_weak(&weak.to_be_bytes()));
        assert!(!is_weak(&(weak + 2).to_be_bytes()));
    }

    #[test]
    fn a_key_of_openssl_is_not_weak() {
        let jwk = access_key(Algorithm::PS256).verifying().jwk().unwrap();
        let modulus = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(jwk["n"].as_str().unwrap()).unwrap();
        assert!(!is_weak(&modulus));
    }
}
