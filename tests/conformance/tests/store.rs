//! The store suite passes a store that keeps the contract, and notices each way of breaking it.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use gatekey_conformance::store::{self, Report};
use gatekey_core::{
    limit::{Charge, Key, MemoryThrottle, ThrottleStore, Verdict},
    rotation::{Attempt, Outcome, advance},
    session::{EndReason, Session, SessionId, SubjectId},
    store::{
        Account, Announcer, Inserted, Revocation, Rotation, SessionStore, StoreError, Subscription,
        UserStore, memory::MemoryStore,
    },
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_keeps_the_contract() {
    store::run(async || MemoryStore::new()).await;
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract_on_one_thread() {
    store::run(async || MemoryStore::new()).await;
}

/// What is wrong with a [`Broken`] store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    InsertTakesAnExistingId,
    InsertForgetsRevokeAll,
    InsertEvictsNobody,
    RotateLooksThenActs,
    RotateForgetsTheClientBefore,
    RotateRevivesTheEnded,
    RowLosesItsSealedToken,
    RowLosesMilliseconds,
    RowFoldsCase,
    RevokeIgnoresTheOwner,
    RevokeSaysYesTwice,
    RevokeAllEndsTheKept,
    RevokeAllGoesStepByStep,
    ListIsOldestFirst,
    ListHoldsTheDead,
    FeedLosesTheFirstMoment,
    FeedLosesReuse,
    PurgeIsAMomentEarly,
    PurgeKnowsNoLimit,
    PurgeTakesTheEnded,
    DebugShowsRows,
    PanicsInList,
    AccountIsAnothers,
    AccountIsNotTold,
    NamesAreExact,
    HashIsReplacedAnyway,
    UpdateForgetsTheScope,
    UpdateIsNotOffered,
    TellsNothingOfEvictions,
    TellsTwice,
    TellsTheFirstListenerAlone,
}

struct Broken {
    defect: Defect,
    inner: MemoryStore,
    seen: Mutex<Option<Session>>,
    announcers: tokio::sync::Mutex<Vec<Announcer>>,
}

impl Broken {
    fn new(defect: Defect) -> Self {
        Self { defect, inner: MemoryStore::new(), seen: Mutex::default(), announcers: Default::default() }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn tell(&self, ended: impl IntoIterator<Item = &SessionId>, at: Timestamp) {
        let announcers = self.announcers.lock().await;
        let listeners = if self.is(Defect::TellsTheFirstListenerAlone) { 1 } else { announcers.len() };
        for session in ended {
            for announcer in announcers.iter().take(listeners) {
                for _ in 0..if self.is(Defect::TellsTwice) { 2 } else { 1 } {
                    announcer.announce(Revocation { session: session.clone(), at }).await;
                }
            }
        }
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is(Defect::DebugShowsRows) {
            return fmt::Debug::fmt(&self.seen, f);
        }
        fmt::Debug::fmt(&self.inner, f)
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[async_trait]
impl SessionStore for Broken {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        *self.seen.lock().unwrap() = Some(session.clone());
        let mut session = session.clone();
        if self.is(Defect::InsertForgetsRevokeAll) {
            session.auth_time = Timestamp::from_millis(i64::MAX);
        }
        let max_sessions = if self.is(Defect::InsertEvictsNobody) { usize::MAX } else { max_sessions };
        let inserted = self.inner.insert(&session, max_sessions).await;
        if self.is(Defect::InsertTakesAnExistingId) && inserted.is_err() {
            return Ok(Inserted::Opened { evicted: vec![] });
        }
        if let Ok(Inserted::Opened { evicted }) = &inserted
            && !self.is(Defect::TellsNothingOfEvictions)
        {
            self.tell(evicted, session.created_at).await;
        }
        inserted
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        let mut looked = self.inner.find(&attempt.presented.session).await?;
        if self.is(Defect::RotateLooksThenActs) {
            tokio::task::yield_now().await;
        }
        let Some(mut rotation) = self.inner.rotate(attempt).await? else { return Ok(None) };
        if rotation.outcome == Outcome::Reused {
            self.tell([&rotation.session.id], attempt.now).await;
        }
        if let Some(row) = &mut looked
            && self.is(Defect::RotateLooksThenActs)
        {
            rotation.outcome = advance(row, attempt);
            rotation.session = row.clone();
        }
        if self.is(Defect::RotateForgetsTheClientBefore) {
            rotation.before = rotation.session.client.clone();
        }
        if self.is(Defect::RotateRevivesTheEnded) && rotation.outcome == Outcome::Ended {
            rotation.outcome = Outcome::Rotated;
        }
        Ok(Some(rotation))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let id = if self.is(Defect::RowFoldsCase) {
            SessionId::new(id.as_str().to_lowercase())
        } else {
            id.clone()
        };
        let mut found = self.inner.find(&id).await?;
        if let Some(row) = &mut found {
            if self.is(Defect::RowLosesItsSealedToken) {
                row.chain.sealed.clear();
            }
            if self.is(Defect::RowLosesMilliseconds) {
                row.last_used_at = row.last_used_at.whole_secs();
            }
        }
        Ok(found)
    }

    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        let Some((row, mut account)) = self.inner.find_with_account(id).await? else { return Ok(None) };
        if self.is(Defect::AccountIsNotTold) {
            account = Account::Elsewhere;
        }
        // As one that is passed on by a store with users of its own, in which nobody is disabled.
        if let Account::Here(Some(user)) = &mut account
            && self.is(Defect::AccountIsAnothers)
        {
            user.disabled = false;
        }
        Ok(Some((row, account)))
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        assert!(!self.is(Defect::PanicsInList), "the list panics");
        let now = if self.is(Defect::ListHoldsTheDead) { Timestamp::from_millis(i64::MIN) } else { now };
        let mut list = self.inner.list(subject, now).await?;
        if self.is(Defect::ListIsOldestFirst) {
            list.reverse();
        }
        Ok(list)
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let owner = owner.filter(|_| !self.is(Defect::RevokeIgnoresTheOwner));
        let ended = self.inner.revoke(id, owner, reason, now).await?;
        self.tell(Some(id).filter(|_| ended), now).await;
        Ok(ended || self.is(Defect::RevokeSaysYesTwice) && self.inner.find(id).await?.is_some())
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        if self.is(Defect::RevokeAllGoesStepByStep) {
            let mut ended = Vec::new();
            for row in self.inner.list(subject, Timestamp::from_millis(i64::MIN)).await? {
                if keep != Some(&row.id) && self.inner.revoke(&row.id, None, reason, now).await? {
                    ended.push(row.id);
                }
                tokio::task::yield_now().await;
            }
            self.inner.revoke_all(subject, keep, reason, now).await?;
            return Ok(ended);
        }
        let keep = keep.filter(|_| !self.is(Defect::RevokeAllEndsTheKept));
        let ended = self.inner.revoke_all(subject, keep, reason, now).await?;
        self.tell(&ended, now).await;
        Ok(ended)
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let since = if self.is(Defect::FeedLosesTheFirstMoment) { since + MILLISECOND } else { since };
        let mut named = Vec::new();
        for one in self.inner.revoked_since(since).await? {
            let row = self.inner.find(&one.session).await?;
            let reason = row.and_then(|row| row.ended).map(|end| end.reason);
            if !(self.is(Defect::FeedLosesReuse) && reason == Some(EndReason::Reuse)) {
                named.push(one);
            }
        }
        Ok(named)
    }

    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        let (announcer, subscription) = Subscription::channel(100);
        self.announcers.lock().await.push(announcer);
        Ok(Some(subscription))
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let before = if self.is(Defect::PurgeIsAMomentEarly) { before + MILLISECOND } else { before };
        let limit = if self.is(Defect::PurgeKnowsNoLimit) { usize::MAX } else { limit };
        let removed = self.inner.purge_expired(before, limit).await?;
        if self.is(Defect::PurgeTakesTheEnded) && removed == 0 && limit > 0 {
            // Counts what it should not have taken.
            return Ok(self.inner.revoked_since(Timestamp::from_millis(i64::MIN)).await?.len());
        }
        Ok(removed)
    }
}

#[async_trait]
impl UserStore for Broken {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        let found = self.inner.find_by_name(name).await?;
        Ok(found.filter(|user| !self.is(Defect::NamesAreExact) || user.username == name.as_str()))
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        self.inner.find_by_id(id).await
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        let found = self.inner.find_by_id(id).await?;
        let present = found.and_then(|user| user.password_hash);
        match present.filter(|_| self.is(Defect::HashIsReplacedAnyway)) {
            Some(present) => self.inner.set_password_hash(id, present.expose(), new).await,
            None => self.inner.set_password_hash(id, old, new).await,
        }
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        self.inner.create(user).await
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        if self.is(Defect::UpdateIsNotOffered) {
            return Err(StoreError::Unsupported);
        }
        let mut change = change.clone();
        if self.is(Defect::UpdateForgetsTheScope) {
            change.scope = None;
        }
        self.inner.update(id, &change).await
    }
}

async fn report(defect: Defect) -> (Report, Report) {
    let fresh = async || Broken::new(defect);
    (store::sessions(&fresh).await, store::users(&fresh).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_defect_is_noticed_by_the_case_that_is_about_it() {
    use Defect as D;

    let noticed = [
        (D::InsertTakesAnExistingId, "store/insert-never-overwrites"),
        (D::InsertForgetsRevokeAll, "store/insert-after-revoke-all-is-stale"),
        (D::InsertForgetsRevokeAll, "store/insert-racing-revoke-all"),
        (D::InsertEvictsNobody, "store/insert-evicts-least-recently-used"),
        (D::InsertEvictsNobody, "store/concurrent-inserts-keep-the-limit"),
        (D::RotateLooksThenActs, "store/concurrent-rotates-have-one-winner"),
        (D::RotateLooksThenActs, "store/concurrent-rotates-without-grace-end-the-session"),
        (D::RotateForgetsTheClientBefore, "store/rotate-does-what-core-decides"),
        (D::RotateRevivesTheEnded, "store/rotate-racing-revoke"),
        (D::RotateRevivesTheEnded, "store/reuse-ends-the-session"),
        (D::RowLosesItsSealedToken, "store/rotate-does-what-core-decides"),
        (D::RowLosesMilliseconds, "store/row-is-kept-exactly"),
        (D::RowFoldsCase, "store/session-id-is-exact"),
        (D::RevokeIgnoresTheOwner, "store/revoke-asks-the-owner"),
        (D::RevokeSaysYesTwice, "store/revoke-ends-once"),
        (D::RevokeSaysYesTwice, "store/concurrent-revokes-end-once"),
        (D::RevokeAllEndsTheKept, "store/revoke-all-keeps-what-it-was-told-to"),
        (D::RevokeAllGoesStepByStep, "store/dropped-revoke-all-is-whole-or-not"),
        (D::ListIsOldestFirst, "store/list-is-newest-first"),
        (D::ListHoldsTheDead, "store/list-holds-live-sessions-alone"),
        (D::FeedLosesTheFirstMoment, "store/revoked-since-names-every-end"),
        (D::FeedLosesReuse, "store/reuse-ends-the-session"),
        (D::PurgeIsAMomentEarly, "store/purge-removes-what-is-over"),
        (D::PurgeKnowsNoLimit, "store/purge-respects-its-limit"),
        (D::PurgeTakesTheEnded, "store/purge-keeps-evidence-of-reuse"),
        (D::PurgeTakesTheEnded, "store/purge-keeps-ended-sessions-until-their-end"),
        (D::DebugShowsRows, "store/debug-shows-nothing-it-holds"),
        (D::TellsNothingOfEvictions, "store/subscribe-tells-of-every-end"),
        (D::TellsTwice, "store/subscribe-tells-of-every-end"),
        (D::TellsTheFirstListenerAlone, "store/subscribe-again"),
        (D::PanicsInList, "store/list-is-newest-first"),
        (D::NamesAreExact, "store/user-name-is-compared-in-canonical-form"),
        (D::HashIsReplacedAnyway, "store/password-hash-is-swapped-if-it-is-still-the-old"),
        (D::UpdateForgetsTheScope, "store/user-update-changes-what-it-names"),
    ];
    // Side by side, since some of them are noticed by what does not come.
    let running = noticed.map(|(defect, case)| {
        let runtime = tokio::runtime::Handle::current();
        (defect, case, tokio::task::spawn_blocking(move || runtime.block_on(report(defect))))
    });
    for (defect, case, reports) in running {
        let (sessions, users) = reports.await.unwrap();
        let failed: Vec<_> = sessions.failed().chain(users.failed()).collect();
        assert!(failed.contains(&case), "{defect:?} is not noticed by {case}, but by {failed:?}");
        assert!(!sessions.is_clean() || !users.is_clean());
        let text = format!("{sessions}{users}");
        assert!(text.contains(&format!("FAIL {case}\n")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_store_without_a_defect_passes() {
    let (sessions, users) = report(Defect::None).await;
    assert!(sessions.is_clean() && users.is_clean(), "{sessions}{users}");
}

#[tokio::test]
async fn what_a_store_does_not_offer_is_not_applicable_and_no_failure() {
    let (_, users) = report(Defect::UpdateIsNotOffered).await;
    assert_eq!(users.not_applicable().collect::<Vec<_>>(), ["store/user-update-changes-what-it-names"]);
    assert!(users.is_clean(), "{users}");
}

#[tokio::test]
async fn an_account_that_is_told_with_a_session_is_the_one_of_that_store() {
    let together = async |defect| store::together(async || Broken::new(defect)).await;
    let others = together(Defect::AccountIsAnothers).await;
    assert_eq!(others.failed().collect::<Vec<_>>(), ["store/account-with-a-session-is-the-account"]);
    for fine in [Defect::None, Defect::AccountIsNotTold] {
        let report = together(fine).await;
        assert!(report.is_clean(), "{report}");
    }
}

/// A users table of a host that creates no accounts.
#[derive(Debug)]
struct ReadOnlyUsers(Arc<MemoryStore>);

#[async_trait]
impl UserStore for ReadOnlyUsers {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        self.0.find_by_name(name).await
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        self.0.find_by_id(id).await
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        self.0.set_password_hash(id, old, new).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_in_memory_keep_the_contract() {
    let report = store::throttles(async || MemoryThrottle::default()).await;
    assert!(report.is_clean(), "{report}");
}

/// What is wrong with [`BrokenThrottle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Miscounts {
    ChargesBeforeItRefuses,
    LooksThenActs,
    KeepsWhatIsGivenBack,
    GivesBackToAnyone,
    ClearsEverything,
    WaitsTooShort,
}

#[derive(Debug)]
struct BrokenThrottle {
    defect: Miscounts,
    inner: Mutex<Arc<MemoryThrottle>>,
}

impl BrokenThrottle {
    fn inner(&self) -> Arc<MemoryThrottle> {
        Arc::clone(&self.inner.lock().unwrap())
    }
}

#[async_trait]
impl ThrottleStore for BrokenThrottle {
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError> {
        let inner = self.inner();
        match self.defect {
            Miscounts::ChargesBeforeItRefuses => {
                let mut verdict = Verdict::Passed;
                for charge in charges {
                    let one = inner.take(&[*charge], now).await?;
                    verdict = if one == Verdict::Passed { verdict } else { one };
                }
                Ok(verdict)
            }
            Miscounts::LooksThenActs => {
                let looked = inner.take(charges, now).await?;
                if looked == Verdict::Passed {
                    inner.give_back(charges, now).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    inner.take(charges, now).await?;
                }
                Ok(looked)
            }
            Miscounts::WaitsTooShort => Ok(match inner.take(charges, now).await? {
                Verdict::Throttled { retry_after } => Verdict::Throttled { retry_after: retry_after / 2 },
                passed => passed,
            }),
            Miscounts::KeepsWhatIsGivenBack | Miscounts::GivesBackToAnyone | Miscounts::ClearsEverything => {
                inner.take(charges, now).await
            }
        }
    }

    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError> {
        match self.defect {
            Miscounts::KeepsWhatIsGivenBack => Ok(()),
            Miscounts::GivesBackToAnyone => {
                for Charge { key, .. } in charges {
                    self.inner().clear(key).await?;
                }
                Ok(())
            }
            Miscounts::ChargesBeforeItRefuses
            | Miscounts::LooksThenActs
            | Miscounts::ClearsEverything
            | Miscounts::WaitsTooShort => self.inner().give_back(charges, taken_at).await,
        }
    }

    async fn clear(&self, key: &Key) -> Result<(), StoreError> {
        if self.defect == Miscounts::ClearsEverything {
            *self.inner.lock().unwrap() = Arc::default();
        }
        self.inner().clear(key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_miscount_is_noticed() {
    for (defect, case) in [
        (Miscounts::ChargesBeforeItRefuses, "store/throttle-counts-on-all-or-on-none"),
        (Miscounts::LooksThenActs, "store/concurrent-takes-add-up"),
        (Miscounts::KeepsWhatIsGivenBack, "store/throttle-gives-back-what-it-took"),
        (Miscounts::GivesBackToAnyone, "store/throttle-gives-back-what-it-took"),
        (Miscounts::ClearsEverything, "store/throttle-clears-one-counter"),
        (Miscounts::WaitsTooShort, "store/throttle-follows-core-for-long"),
    ] {
        let broken = async || BrokenThrottle { defect, inner: Mutex::default() };
        let report = store::throttles(broken).await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.contains(&case), "{defect:?} is not noticed by {case}, but by {failed:?}");
    }
}

#[tokio::test]
async fn a_suite_of_which_nothing_applied_is_not_clean() {
    let users = store::users(async || ReadOnlyUsers(Arc::default())).await;
    assert_eq!(users.failed().count(), 0);
    assert!(!users.is_clean(), "{users}");
}
