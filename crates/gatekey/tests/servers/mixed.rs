//! Stores of different kinds together: sessions, users and counters each where an application has them. Every set-up goes
//! through one story, on two nodes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use gatekey::{
    Gatekey, Keys, Limits, MemoryStore, PasswordHash, SessionId, SessionStore, StoreError, SubjectId,
    ThrottleStore, User, UserStore, Username,
};
use serde_json::json;

use super::support::*;

/// The users table of an application that has one: no registration and no administration through us.
#[derive(Debug, Default)]
struct OwnUsers(Mutex<HashMap<String, User>>);

impl OwnUsers {
    fn find(&self, so: impl Fn(&User) -> bool) -> Option<User> {
        self.0.lock().unwrap().values().find(|user| so(user)).cloned()
    }
}

#[async_trait]
impl UserStore for OwnUsers {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        Ok(self.0.lock().unwrap().get(name.canonical()).cloned())
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        Ok(self.find(|user| user.id == *id))
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        let mut users = self.0.lock().unwrap();
        let user = users.values_mut().find(|user| user.id == *id);
        let same = |user: &&mut User| user.password_hash.as_ref().is_some_and(|hash| hash.expose() == old);
        Ok(user.filter(same).map(|user| user.password_hash = Some(PasswordHash::new(new))).is_some())
    }
}

/// Where an application keeps what.
struct Stores {
    sessions: Arc<dyn SessionStore>,
    users: Arc<dyn UserStore>,
    throttle: Arc<dyn ThrottleStore>,
}

impl Stores {
    async fn node(&self, keys: &Keys) -> Gatekey {
        let limits = Limits { account_failures_per_hour: 3, free_failures: 0, ..Limits::OFF };
        let stores = builder(keys).sessions(self.sessions.clone()).users(self.users.clone());
        stores.throttle(self.throttle.clone()).limits(limits).build().await.unwrap()
    }
}

/// What every set-up does alike. `disable` does what an administrator does.
async fn story(stores: [Stores; 2], disable: impl AsyncFn(&Gatekey, SubjectId)) -> String {
    let keys = keys();
    let (here, there) = (stores[0].node(&keys).await, stores[1].node(&keys).await);
    let held = login(&here, "Alice").await;
    let held = refresh(&there, &held).await;
    let second = login(&there, "alice").await;
    for node in [&here, &there] {
        assert_eq!((me(node, &held).await, me(node, &second).await), (200, 200));
        let listed = ask(node, "GET", "/sessions", Some(&held.access), None).await.is(200);
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 2);
    }

    let new = "nine paper boats in the rain";
    let change = json!({"current_password": PASSWORD, "new_password": new});
    ask(&here, "POST", "/password", Some(&held.access), Some(change)).await.is(204);
    try_refresh(&there, &second.refresh).await.is(400);
    until("the other node hears", async || me(&there, &second).await == 401).await;
    assert_eq!(me(&there, &held).await, 200);
    try_login(&there, "alice", PASSWORD).await.is(401);
    try_login(&there, "alice", new).await.is(200);

    // Three failures an hour: the former password was one.
    for node in [&here, &there] {
        try_login(node, "alice", "a wrong pass phrase").await.is(401);
    }
    for node in [&there, &here] {
        try_login(node, "alice", new).await.is(429);
        try_login(node, "somebody else", new).await.is(401);
    }

    let subject = here.user("alice").await.unwrap().id;
    disable(&here, subject).await;
    try_refresh(&there, &held.refresh).await.is(400);
    until("the other node hears", async || me(&here, &held).await == 401).await;
    held.session
}

async fn disable(node: &Gatekey, subject: SubjectId) {
    let change = gatekey::UserChange { disabled: Some(true), ..Default::default() };
    node.update_user(&subject, &change).await.unwrap();
}

/// Creates alice in a store of users, as she would register.
async fn registered(users: Arc<dyn UserStore>) {
    let gatekey =
        Gatekey::builder().issuer("https://auth.test").keys(keys()).sessions(Arc::new(MemoryStore::new()));
    register(&gatekey.users(users).build().await.unwrap(), "Alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_redis_with_users_elsewhere() {
    let test = "sessions_in_redis_with_users_elsewhere";
    let (Some(url), Some(redis)) = (postgres(test), Redis::start(test).await) else { return };

    let schema = fresh();
    let sql_store = postgres_store(&url, &schema).await;
    registered(Arc::new(sql_store.clone())).await;
    let stores = async || {
        let sessions = Arc::new(redis.store().await);
        Stores { throttle: sessions.clone(), sessions, users: Arc::new(postgres_store(&url, &schema).await) }
    };
    let session = SessionId::new(story([stores().await, stores().await], disable).await);
    assert!(redis.store().await.find(&session).await.unwrap().is_some());
    assert!(sql_store.find(&session).await.unwrap().is_none());
    let alice = Username::new("alice").unwrap();
    assert!(redis.store().await.find_by_name(&alice).await.unwrap().is_none());
    sql(&url).await.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();

    // The application's own table, which both of its nodes reach.
    let memory = Arc::new(MemoryStore::new());
    registered(memory.clone()).await;
    let user = memory.find_by_name(&alice).await.unwrap().unwrap();
    let own = Arc::new(OwnUsers::default());
    own.0.lock().unwrap().insert(alice.canonical().to_owned(), user);
    let stores = async || {
        let sessions = Arc::new(redis.store().await);
        Stores { throttle: sessions.clone(), sessions, users: own.clone() }
    };
    // The failures of the first set-up are another application's: its keys derive other names for counters.
    let disable = async |_: &Gatekey, subject: SubjectId| {
        let mut users = own.0.lock().unwrap();
        users.values_mut().filter(|user| user.id == subject).for_each(|user| user.disabled = true);
    };
    story([stores().await, stores().await], disable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_for_sessions_and_users_with_counters_in_redis_or_sql() {
    let test = "sql_for_sessions_and_users_with_counters_in_redis_or_sql";
    let (Some(url), Some(redis)) = (postgres(test), Redis::start(test).await) else { return };

    // One file, two processes' worth of connections, and one count of attempts.
    let file = File::new();
    registered(Arc::new(file.store().await)).await;
    let stores = async || {
        let store = Arc::new(file.store().await);
        Stores { sessions: store.clone(), users: store, throttle: Arc::new(redis.store().await) }
    };
    story([stores().await, stores().await], disable).await;

    for counters_in_redis in [true, false] {
        let schema = fresh();
        let stores = async || {
            let store = Arc::new(postgres_store(&url, &schema).await);
            let throttle: Arc<dyn ThrottleStore> =
                if counters_in_redis { Arc::new(redis.store().await) } else { store.clone() };
            Stores { sessions: store.clone(), users: store, throttle }
        };
        let both = [stores().await, stores().await];
        registered(both[0].users.clone()).await;
        story(both, disable).await;
        let client = sql(&url).await;
        let count = format!("SELECT count(*) FROM {schema}.gatekey_throttle");
        let counters: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
        assert_eq!(counters == 0, counters_in_redis);
        client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
    }
}
