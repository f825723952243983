//! Refresh tokens: their wire form, their digest, and the sealing of a successor.
//!
//! A refresh token is a JWT of its own kind: `typ` `rt+jwt`, HS256 under the refresh secret, claims `iss sid gen jti
//! iat exp`, where `jti` holds 256 random bits. The signature says only that we issued it, so that garbage never
//! reaches the store; whether it is the live one is the store's answer, and a store holds only its SHA-256.
//!
//! When a token is swapped, its successor is sealed under a key derived from the token that was presented:
//! HKDF-SHA-256(presented; label; session, generation) → AES-256-GCM with a random nonce. A client that lost the answer
//! presents the same token again and is given the same successor. Neither the database, nor our keys, nor both
//! together open it: that takes the presented token, of which the store has only the digest.

use std::time::Duration;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};

use zeroize::Zeroizing;

use crate::{
    error::{AuthError, TokenError},
    json,
    jws::{self, Header, Parts},
    keys::Snapshot,
    random::Random,
    rotation::{Presented, Successor},
    secret::Secret,
    session::{Digest, SessionId},
    time::Timestamp,
};

/// A refresh token in the clear. Exists only on its way in or out.
pub(crate) type RefreshToken = Secret<String>;

/// The SHA-256 of a token's text.
pub(crate) fn digest(token: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    Digest(bytes)
}

/// What all refresh tokens of this application share.
#[derive(Clone, Debug)]
pub(crate) struct RefreshRules {
    pub(crate) issuer: String,
    pub(crate) lifetime: Duration,
}

impl RefreshRules {
    /// When a token issued now expires: never after the session's absolute end.
    pub(crate) fn expiry(&self, absolute: Timestamp, now: Timestamp) -> Timestamp {
        (now + self.lifetime).min(absolute).whole_secs()
    }

    /// Issues a token.
    pub(crate) fn issue(
        &self,
        keys: &Snapshot,
        session: &SessionId,
        generation: u64,
        expires_at: Timestamp,
        random: &dyn Random,
        now: Timestamp,
    ) -> Result<RefreshToken, AuthError> {
        let key = keys.active_refresh(now)?;
        let claims = serde_json::json!({
            "iss": self.issuer,
            "sid": session.as_str(),
            "gen": generation,
            "jti": random.token::<32>()?,
            "iat": now.as_secs(),
            "exp": expires_at.as_secs(),
        });
        Ok(Secret::new(jws::sign(&key.key, &key.header, claims.to_string().as_bytes())?))
    }

    /// Checks that a token is one of ours and has not expired. `exp` is asked before anything else is: an expired token
    /// is never taken for a reused one. There is no leeway: one clock issued it and reads it.
    pub(crate) fn verify(
        &self,
        keys: &Snapshot,
        token: &str,
        now: Timestamp,
    ) -> Result<Presented, TokenError> {
        let parts = Parts::split(token)?;
        let key = match keys.refresh.iter().find(|key| key.header.as_bytes() == parts.header) {
            Some(key) => key,
            None => {
                let header = Header::parse(parts.header)?;
                let known = keys.refresh.iter().find(|key| key.key.kid() == header.kid);
                let key = known.ok_or(TokenError::UnknownKey)?;
                if header.alg != key.key.algorithm().name() {
                    return Err(TokenError::WrongAlgorithm);
                }
                if !header.is_of_type(jws::REFRESH_TYPE) {
                    return Err(TokenError::WrongType);
                }
                key
            }
        };
        let payload = parts.verify_claims(key.key.verifying())?;
        let [mut issuer, mut session, mut id] = [None, None, None];
        let [mut generation, mut issued_at, mut expires_at] = [None, None, None];
        json::members_of(&payload, |name, value| {
            match name {
                "iss" => issuer = Some(value.string()?),
                "sid" => session = Some(value.string()?),
                "jti" => id = Some(value.string()?),
                "gen" => generation = Some(value.integer()?),
                "iat" => issued_at = Some(value.integer()?),
                "exp" => expires_at = Some(value.integer()?),
                _ => value.skip()?,
            }
            Ok(())
        })?;
        let (Some(issuer), Some(session), Some(id)) = (issuer, session, id) else {
            return Err(TokenError::Claims);
        };
        let (Some(generation), Some(_), Some(expires_at)) = (generation, issued_at, expires_at) else {
            return Err(TokenError::Claims);
        };
        let generation = u64::try_from(generation).map_err(|_| TokenError::Claims)?;
        if session.is_empty() || session.len() > 64 || id.is_empty() {
            return Err(TokenError::Claims);
        }
        if issuer != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if now >= Timestamp::from_secs(expires_at) {
            return Err(TokenError::Expired);
        }
        Ok(Presented { session: SessionId::new(&*session), generation, digest: digest(token) })
    }
}

const LABEL: &[u8] = b"gatekey refresh successor v1";

fn sealing_key(
    presented: &str,
    session: &SessionId,
    generation: u64,
) -> Result<(LessSafeKey, Aad<Vec<u8>>), aws_lc_rs::error::Unspecified> {
    let generation = generation.to_be_bytes();
    let info = [session.as_str().as_bytes(), &generation];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL)
        .extract(presented.as_bytes())
        .expand(&info, &AES_256_GCM)
        .map(UnboundKey::from)?;
    Ok((LessSafeKey::new(key), Aad::from(info.concat())))
}

/// Seals a successor so that only who presents `presented` can read it, and makes of it what a store keeps.
///
/// The nonce is random: one parent may seal twice (a lost compare-and-swap, a displaced successor).
pub(crate) fn seal(
    presented: &str,
    session: &SessionId,
    generation: u64,
    token: &RefreshToken,
    expires_at: Timestamp,
    random: &dyn Random,
) -> Result<Successor, AuthError> {
    let failed = |_| AuthError::internal(SealFailed);
    let (key, aad) = sealing_key(presented, session, generation).map_err(failed)?;
    let nonce = random.bytes::<NONCE_LEN>()?;
    let mut sealed = token.expose().clone().into_bytes();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).map_err(failed)?;
    sealed.splice(0..0, nonce);
    Ok(Successor { generation, digest: digest(token.expose()), sealed, expires_at })
}

/// Opens the live token of a session for who presents its parent. `None` if it does not open, or is not the live one.
pub(crate) fn unseal(
    presented: &str,
    session: &SessionId,
    generation: u64,
    live: Digest,
    sealed: &[u8],
) -> Option<RefreshToken> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let (key, aad) = sealing_key(presented, session, generation).ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut opened).ok()?;
    let token = std::str::from_utf8(opened).ok()?;
    (digest(token) == live).then(|| Secret::new(token.to_owned()))
}

/// Sealing failed.
#[derive(Debug)]
pub(crate) struct SealFailed;

impl std::fmt::Display for SealFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the successor of a refresh token could not be sealed or opened")
    }
}

impl std::error::Error for SealFailed {}

#[cfg(test)]
mod tests;
