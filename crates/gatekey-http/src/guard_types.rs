//! The guards of a handler's signature: the same types in every adapter, written once.

/// Makes the guards that stand in a handler's signature, in a module of an adapter's: `Authenticated` with its names
/// `WithRole`, `WithScope` and `FreshlyAuthenticated`, `MaybeAuthenticated`, and their `Rejection`.
///
/// They are types of the adapter's own, since Rust lets nobody else implement a framework's trait for them; and they say
/// the same everywhere, so that handlers can move between frameworks. What remains to the adapter is that trait: it calls
/// `judge(&Verifier, &Head)`, which both guards have and nobody outside of the module, and sends the [`Reply`](crate::Reply)
/// of a `Rejection`. Comments between the braces go on with the documentation of `Authenticated`.
///
/// ```
/// # use gatekey_core::{keys::{Algorithm, Keys}, secret::Secret, session::Client, store::memory::MemoryStore};
/// # use gatekey_http::{Gatekey, Role};
/// # use http::{HeaderMap, StatusCode};
/// mod guard {
///     use gatekey_http::{Head, Require, Verifier};
///
///     gatekey_http::guard_types! {}
///
///     /// Where a framework has its trait.
///     pub fn extract<R: Require>(verifier: &Verifier, head: &Head<'_>) -> Result<Authenticated<R>, Rejection> {
///         Authenticated::judge(verifier, head)
///     }
///
///     pub fn send(rejection: Rejection) -> http::StatusCode {
///         rejection.0.status()
///     }
/// #   pub fn maybe(verifier: &Verifier, head: &Head<'_>) -> Result<MaybeAuthenticated, Rejection> {
/// #       MaybeAuthenticated::judge(verifier, head)
/// #   }
/// }
/// use guard::{Authenticated, WithRole, extract, send};
/// # use guard::maybe;
///
/// struct Admin;
///
/// impl Role for Admin {
///     const NAME: &'static str = "admin";
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let gatekey = Gatekey::builder()
/// #     .issuer("https://app.example.com")
/// #     .keys(Keys::generate(Algorithm::EdDSA)?)
/// #     .store(MemoryStore::new())
/// #     .build()
/// #     .await?;
/// # let password = || Secret::new("a long enough pass phrase".to_owned());
/// # gatekey.register("alice", password(), &Client::default()).await?;
/// # let tokens = gatekey.login("alice", password(), &Client::default(), None).await?;
/// # let bearer = format!("Bearer {}", tokens.access.expose());
/// # fn get(headers: &HeaderMap) -> gatekey_http::Head<'_> {
/// #     gatekey_http::Head { method: "GET", path: "/notes", query: None, headers, peer: None }
/// # }
/// let mut headers = HeaderMap::new();
/// let refused: Result<Authenticated, _> = extract(gatekey.verifier(), &get(&headers));
/// assert_eq!(refused.map_err(send).err(), Some(StatusCode::UNAUTHORIZED));
/// # assert!(maybe(gatekey.verifier(), &get(&headers)).map_err(send).is_ok_and(|user| user.caller().is_none()));
///
/// headers.insert("authorization", bearer.parse()?);
/// let user: Result<Authenticated, _> = extract(gatekey.verifier(), &get(&headers));
/// assert_eq!(user.map_err(send).map(|user| user.username().to_owned()), Ok("alice".to_owned()));
/// let admin: Result<WithRole<Admin>, _> = extract(gatekey.verifier(), &get(&headers));
/// assert_eq!(admin.map_err(send).err(), Some(StatusCode::FORBIDDEN));
/// # let maybe = maybe(gatekey.verifier(), &get(&headers)).map_err(send).ok();
/// # assert_eq!(maybe.as_ref().and_then(|user| user.caller()).map(|caller| caller.username()), Some("alice"));
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! guard_types {
    ($(#[$more:meta])*) => {
        /// Who calls: a valid access token is required, and whatever else `R` asks for.
        ///
        $(#[$more])*
        #[derive(Clone, Debug)]
        pub struct Authenticated<R: $crate::Require = $crate::ValidToken>(
            $crate::Caller,
            ::core::marker::PhantomData<fn() -> R>,
        );

        /// Who calls, with a role.
        pub type WithRole<R> = Authenticated<$crate::HasRole<R>>;

        /// Who calls, with a scope.
        pub type WithScope<S> = Authenticated<$crate::HasScope<S>>;

        /// Who calls, having proved its password at most `SECS` seconds ago (RFC 9470).
        pub type FreshlyAuthenticated<const SECS: u64 = FRESH_SECS> = Authenticated<$crate::FreshLogin<SECS>>;

        // By its name, so that the documentation shows it.
        use $crate::FRESH_SECS;

        impl<R: $crate::Require> Authenticated<R> {
            fn judge(verifier: &$crate::Verifier, head: &$crate::Head<'_>) -> Result<Self, Rejection> {
                Ok(Self(verifier.guard(head, &R::requirement())?, ::core::marker::PhantomData))
            }
        }

        impl<R: $crate::Require> ::core::ops::Deref for Authenticated<R> {
            type Target = $crate::Caller;

            fn deref(&self) -> &$crate::Caller {
                &self.0
            }
        }

        /// Who calls, if anyone says: no credential is anonymous, a bad one is refused.
        #[derive(Clone, Debug)]
        pub struct MaybeAuthenticated(Option<Authenticated>);

        impl MaybeAuthenticated {
            /// The caller; `None` if anonymous.
            #[must_use]
            pub fn caller(&self) -> Option<&$crate::Caller> {
                self.0.as_deref()
            }

            fn judge(verifier: &$crate::Verifier, head: &$crate::Head<'_>) -> Result<Self, Rejection> {
                let caller = verifier.guard_optional(head)?;
                Ok(Self(caller.map(|caller| Authenticated(caller, ::core::marker::PhantomData))))
            }
        }

        /// A refusal: a whole answer, ready to be sent. A handler may return it.
        #[derive(Debug)]
        pub struct Rejection(Box<$crate::Reply>);

        impl From<Box<$crate::Reply>> for Rejection {
            fn from(reply: Box<$crate::Reply>) -> Self {
                Self(reply)
            }
        }
    };
}
