//! Requirements as types, for guards that stand in a handler's signature.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use crate::Requirement;

/// The age of a login, in seconds, that guards for fresh logins take unless they name another.
pub const FRESH_SECS: u64 = 300;

/// A [`Requirement`] as a type: what an adapter's `Authenticated<R>` asks for.
///
/// ```
/// use gatekey_http::{Require, Requirement};
/// use std::time::Duration;
///
/// /// `Authenticated<Treasurer>`: the role, and a password typed within the minute.
/// struct Treasurer;
///
/// impl Require for Treasurer {
///     fn requirement() -> Requirement {
///         Requirement::authenticated().role("treasurer").max_age(Duration::from_secs(60))
///     }
/// }
/// ```
pub trait Require: 'static {
    /// What is asked for.
    fn requirement() -> Requirement;
}

/// A role as a type, for guards that name it in a handler's signature.
///
/// ```
/// struct Admin;
/// impl gatekey_http::Role for Admin {
///     const NAME: &'static str = "admin";
/// }
/// ```
pub trait Role: Send + Sync + 'static {
    /// The role's name, compared byte for byte.
    const NAME: &'static str;
}

/// A scope as a type, for guards that name it in a handler's signature.
pub trait Scope: Send + Sync + 'static {
    /// One scope, or several separated by spaces.
    const NAME: &'static str;
}

/// A valid access token, and no more.
#[derive(Clone, Copy, Debug)]
pub struct ValidToken;

impl Require for ValidToken {
    fn requirement() -> Requirement {
        Requirement::authenticated()
    }
}

/// The role `R`.
pub struct HasRole<R>(PhantomData<fn() -> R>);

impl<R: Role> Require for HasRole<R> {
    fn requirement() -> Requirement {
        Requirement { role: Some(Cow::Borrowed(R::NAME)), ..Requirement::authenticated() }
    }
}

/// The scope `S`.
pub struct HasScope<S>(PhantomData<fn() -> S>);

impl<S: Scope> Require for HasScope<S> {
    fn requirement() -> Requirement {
        Requirement { scope: Some(Cow::Borrowed(S::NAME)), ..Requirement::authenticated() }
    }
}

/// A login at most `SECS` seconds ago.
#[derive(Clone, Copy, Debug)]
pub struct FreshLogin<const SECS: u64 = FRESH_SECS>;

impl<const SECS: u64> Require for FreshLogin<SECS> {
    fn requirement() -> Requirement {
        Requirement::authenticated().max_age(Duration::from_secs(SECS))
    }
}

// Derived, these would ask the host's role and scope types to be `Clone` and `Debug` as well.
macro_rules! marker {
    ($($name:ident),*) => {
        $(
            impl<T> Clone for $name<T> {
                fn clone(&self) -> Self {
                    *self
                }
            }

            impl<T> Copy for $name<T> {}

            impl<T> fmt::Debug for $name<T> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(stringify!($name))
                }
            }
        )*
    };
}

marker!(HasRole, HasScope);
