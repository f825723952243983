//! The one line of axum that its adapter cannot write: the trait is axum's and the types are ours, so Rust wants it here.

use axum_core::extract::FromRef;

use crate::{Gatekey, Verifier};

/// Where a [`Gatekey`] is in the state there is a verifier. A state with a verifier alone has it as any other part.
impl<S> FromRef<S> for Verifier
where
    Gatekey: FromRef<S>,
{
    fn from_ref(state: &S) -> Self {
        Self::from(&Gatekey::from_ref(state))
    }
}
