//! The suite names sessions as it likes. Core's ids tell where a session is, and then a store takes a shorter way: this
//! runs the suite on that way, by giving each name of the suite an id as core makes them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use gatekey_core::{
    random::{Random, RandomFailed},
    rotation::Attempt,
    session::{EndReason, Session, SessionId, SubjectId},
    store::{Inserted, Revocation, Rotation, SessionStore, StoreError, Subscription},
    time::Timestamp,
};
use gatekey_redis::RedisStore;

pub(crate) struct Tagged {
    inner: RedisStore,
    names: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Names {
    ids: HashMap<SessionId, SessionId>,
    names: HashMap<SessionId, SessionId>,
}

/// Counts: ids only have to differ.
#[derive(Debug)]
struct Count(u64);

impl Random for Count {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        let number = self.0.to_be_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, digit)| *byte = *digit);
        Ok(())
    }
}

fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tagged {
    pub(crate) fn new(inner: RedisStore) -> Self {
        Self { inner, names: Arc::default() }
    }

    fn id(&self, name: &SessionId, subject: &SubjectId) -> SessionId {
        let mut names = lock(&self.names);
        if let Some(id) = names.ids.get(name) {
            return id.clone();
        }
        let id = SessionId::generate(subject, &Count(names.ids.len() as u64)).expect("it never fails");
        names.ids.insert(name.clone(), id.clone());
        names.names.insert(id.clone(), name.clone());
        id
    }

    /// The id of a session that is perhaps nowhere.
    fn known(&self, name: &SessionId) -> SessionId {
        self.id(name, &SubjectId::new("nobody"))
    }

    fn name(&self, id: &SessionId) -> SessionId {
        lock(&self.names).names[id].clone()
    }

    fn named(&self, session: Session) -> Session {
        Session { id: self.name(&session.id), ..session }
    }
}

impl fmt::Debug for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

#[async_trait]
impl SessionStore for Tagged {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        let session = Session { id: self.id(&session.id, &session.subject), ..session.clone() };
        Ok(match self.inner.insert(&session, max_sessions).await? {
            Inserted::Stale => Inserted::Stale,
            Inserted::Opened { evicted } => {
                Inserted::Opened { evicted: evicted.iter().map(|id| self.name(id)).collect() }
            }
        })
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        let mut attempt = attempt.clone();
        attempt.presented.session = self.known(&attempt.presented.session);
        let rotation = self.inner.rotate(&attempt).await?;
        Ok(rotation.map(|rotation| Rotation { session: self.named(rotation.session), ..rotation }))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let found = self.inner.find(&self.known(id)).await?;
        Ok(found.map(|session| self.named(session)))
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let list = self.inner.list(subject, now).await?;
        Ok(list.into_iter().map(|session| self.named(session)).collect())
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.revoke(&self.known(id), owner, reason, now).await
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let keep = keep.map(|keep| self.known(keep));
        let ended = self.inner.revoke_all(subject, keep.as_ref(), reason, now).await?;
        Ok(ended.iter().map(|id| self.name(id)).collect())
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let revoked = self.inner.revoked_since(since).await?;
        Ok(revoked.into_iter().map(|one| Revocation { session: self.name(&one.session), ..one }).collect())
    }

    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        let Some(mut inner) = self.inner.subscribe().await? else { return Ok(None) };
        let (announcer, subscription) = Subscription::channel(1024);
        let names = Arc::clone(&self.names);
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    heard = inner.next() => heard,
                    () = announcer.closed() => None,
                };
                let Some(Revocation { session, at }) = heard else { return };
                let session = lock(&names).names[&session].clone();
                announcer.announce(Revocation { session, at }).await;
            }
        });
        Ok(Some(subscription))
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge_expired(before, limit).await
    }
}
