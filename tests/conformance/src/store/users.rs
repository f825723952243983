//! Accounts: names that are taken once, hashes that are swapped.

use gatekey_core::{
    password::PasswordHash,
    session::SubjectId,
    user::{NewUser, User, UserChange, Username},
};

use super::{
    Case, Failure, Users, Verdict, failed,
    fixture::{NOW, at_once, subject},
    holds, same,
};

pub(super) const CASES: &[Case<Users>] = &[
    Case::new(
        "store/user-is-kept-exactly",
        "A created account is found by name and by id as it was created: enabled, without roles or scope.",
        |store| Box::pin(is_kept_exactly(store)),
    ),
    Case::new("store/user-unknown-is-none", "An account that was never created is not found.", |store| {
        Box::pin(unknown_is_none(store))
    }),
    Case::new(
        "store/user-name-is-compared-in-canonical-form",
        "Names that differ in case or compatible characters alone are one name, taken once and found by each spelling.",
        |store| Box::pin(name_is_compared_in_canonical_form(store)),
    ),
    Case::new(
        "store/user-name-means-nothing-to-the-store",
        "Names and hashes with quotes, wildcards, SQL or any letters are kept as they are, and names that differ differ.",
        |store| Box::pin(name_means_nothing_to_the_store(store)),
    ),
    Case::new(
        "store/concurrent-creates-have-one-winner",
        "Of accounts of one name created at once, one is, and it is the one that is found.",
        |store| Box::pin(concurrent_creates_have_one_winner(store)),
    ),
    Case::new(
        "store/password-hash-is-swapped-if-it-is-still-the-old",
        "A password hash is replaced only where the old one is given exactly.",
        |store| Box::pin(hash_is_swapped_if_it_is_still_the_old(store)),
    ),
    Case::new(
        "store/concurrent-password-hashes-have-one-winner",
        "Of password changes from one hash at once, one succeeds, and its hash is the one that is kept.",
        |store| Box::pin(concurrent_hashes_have_one_winner(store)),
    ),
    Case::new(
        "store/user-update-changes-what-it-names",
        "An update changes the members that it names and no others, of that account alone.",
        |store| Box::pin(update_changes_what_it_names(store)),
    ),
    Case::new(
        "store/user-debug-shows-nothing-it-holds",
        "The debug form of a store shows no name and no password hash.",
        |store| Box::pin(debug_shows_nothing_it_holds(store)),
    ),
];

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$aGFzaA";

fn new_user(id: &str, name: &str) -> Result<NewUser, Failure> {
    let username = Username::new(name);
    Ok(NewUser {
        id: subject(id),
        username: username.map_err(|rule| failed("a fit name", rule.name()))?,
        password_hash: PasswordHash::new(HASH),
        created_at: NOW,
    })
}

fn username(name: &str) -> Result<Username, Failure> {
    Username::new(name).map_err(|rule| failed("a fit name", rule.name()))
}

pub(super) async fn created(store: &Users, id: &str, name: &str) -> Result<User, Failure> {
    let user = store.create(new_user(id, name)?).await?;
    user.ok_or_else(|| failed(format_args!("the new account {name:?}"), "the name is taken"))
}

async fn found(store: &Users, id: &SubjectId) -> Result<User, Failure> {
    let user = store.find_by_id(id).await?;
    user.ok_or_else(|| failed(format_args!("account {id:?}"), "no such account"))
}

/// That two accounts are the same. Taken apart whole, so that a new member has to be added here.
pub(super) fn same_user(what: &str, actual: &User, expected: &User) -> Verdict {
    let members = |user: &User| {
        let User { id, username, password_hash, roles, scope, disabled, created_at } = user.clone();
        let hash = password_hash.map(|hash| hash.expose().to_owned());
        (id, username, hash, roles, scope, disabled, created_at)
    };
    same(what, &members(actual), &members(expected))
}

async fn is_kept_exactly(store: Users) -> Verdict {
    let created = created(&store, "1", "Alice").await?;
    // A store may have ids of its own; everything else is as asked.
    let expected = User {
        id: created.id.clone(),
        username: "Alice".to_owned(),
        password_hash: Some(PasswordHash::new(HASH)),
        roles: Vec::new(),
        scope: None,
        disabled: false,
        created_at: NOW,
    };
    same_user("the created account", &created, &expected)?;
    same_user("by id", &found(&store, &created.id).await?, &expected)?;
    let by_name = store.find_by_name(&username("alice")?).await?;
    let by_name = by_name.ok_or_else(|| failed("the account by name", "none"))?;
    same_user("by name", &by_name, &expected)
}

async fn unknown_is_none(store: Users) -> Verdict {
    let user = created(&store, "1", "alice").await?;
    for unknown in ["", "none", "1\u{0}", "%", &format!("{} ", user.id)] {
        let none = store.find_by_id(&subject(unknown)).await?.is_none();
        holds("an unknown id is not found", none)?;
        let changed = store.set_password_hash(&subject(unknown), HASH, "new").await?;
        holds("an unknown account has no hash", !changed)?;
    }
    for unknown in ["bob", "alic", "alice2", "%", "a_ice", "álice"] {
        let none = store.find_by_name(&username(unknown)?).await?.is_none();
        holds("an unknown name is not found", none)?;
    }
    Ok(())
}

async fn name_is_compared_in_canonical_form(store: Users) -> Verdict {
    let families = [
        ["Alice", "ALICE", "alice", "Ａlice"],
        ["ﬁona", "fiona", "FIONA", "Fiona"],
        ["E\u{301}va", "Éva", "éva", "e\u{301}VA"],
        ["Straße", "straße", "STRAßE", "ｓtraße"],
        ["Ⅷ", "viii", "VIII", "ｖiii"],
    ];
    for (number, family) in families.into_iter().enumerate() {
        let [first, others @ ..] = family;
        let user = created(&store, &format!("u{number}"), first).await?;
        for (twin, other) in others.into_iter().enumerate() {
            let twin = new_user(&format!("u{number}-{twin}"), other)?;
            let id = twin.id.clone();
            let taken = store.create(twin).await?.is_none();
            holds("each spelling of a name is taken", taken)?;
            let none = store.find_by_id(&id).await?.is_none();
            holds("a name that is taken makes no account", none)?;
            let by_name = store.find_by_name(&username(other)?).await?;
            let by_name = by_name.ok_or_else(|| failed(format_args!("{first} by {other}"), "none"))?;
            same_user("the account by another spelling", &by_name, &user)?;
        }
    }
    Ok(())
}

async fn name_means_nothing_to_the_store(store: Users) -> Verdict {
    let longest = "𝕏".repeat(Username::MAX);
    let names = [
        "'; DROP TABLE gatekey_user; --",
        "o'brien",
        "\"quoted\"",
        "back\\slash",
        "100%",
        "a_b",
        "axb",
        "a*b",
        "[a]",
        "{a}",
        "$1",
        ":name",
        "NULL",
        "0",
        "00",
        "1e3",
        "日本語",
        "👩\u{200d}🚀",
        "a\u{200d}b",
        "ı",
        "i",
        longest.as_str(),
    ];
    let mut users = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let mut user = new_user(&format!("id-{number}"), name)?;
        user.password_hash = PasswordHash::new(format!("hash of {name}"));
        let user = store.create(user).await?;
        users.push(user.ok_or_else(|| failed(format_args!("{name:?}"), "the name is taken"))?);
    }
    for (user, name) in users.iter().zip(names) {
        same("the name as registered", &user.username.as_str(), &name)?;
        let by_name = store.find_by_name(&username(name)?).await?;
        let by_name = by_name.ok_or_else(|| failed(format_args!("{name:?}"), "none"))?;
        same_user("by name", &by_name, user)?;
        same_user("by id", &found(&store, &user.id).await?, user)?;
        let hash = by_name.password_hash.map(|hash| hash.expose().to_owned());
        same("the hash", &hash, &Some(format!("hash of {name}")))?;
    }
    Ok(())
}

async fn concurrent_creates_have_one_winner(store: Users) -> Verdict {
    let results = at_once(50, |number| {
        let store = store.clone();
        async move {
            let name = if number % 2 == 0 { "Alice" } else { "ALICE" };
            Ok::<_, Failure>(store.create(new_user(&format!("u{number}"), name)?).await?)
        }
    })
    .await?;
    let mut winners = Vec::new();
    for result in results {
        winners.extend(result?);
    }
    same("winners", &winners.len(), &1)?;
    let by_name = store.find_by_name(&username("alice")?).await?;
    for (winner, found) in winners.iter().zip(by_name) {
        same_user("the account that is found", &found, winner)?;
    }
    Ok(())
}

async fn hash_of(store: &Users, id: &SubjectId) -> Result<Option<String>, Failure> {
    let user = found(store, id).await?;
    Ok(user.password_hash.map(|hash| hash.expose().to_owned()))
}

async fn hash_is_swapped_if_it_is_still_the_old(store: Users) -> Verdict {
    let user = created(&store, "1", "alice").await?;
    let other = created(&store, "2", "bob").await?;
    for wrong in ["", "$argon2id$", &HASH.to_uppercase(), &format!("{HASH} ")] {
        let changed = store.set_password_hash(&user.id, wrong, "new").await?;
        holds("a wrong old hash changes nothing", !changed)?;
        same("the hash", &hash_of(&store, &user.id).await?, &Some(HASH.to_owned()))?;
    }
    let odd = "'; UPDATE x SET y; -- é\u{202e}";
    for (old, new) in [(HASH, odd), (odd, "third")] {
        let changed = store.set_password_hash(&user.id, old, new).await?;
        holds("the right old hash is replaced", changed)?;
        same("the hash", &hash_of(&store, &user.id).await?, &Some(new.to_owned()))?;
    }
    let changed = store.set_password_hash(&user.id, HASH, "fourth").await?;
    holds("a hash that was replaced is not the old one any more", !changed)?;
    same_user("another account", &found(&store, &other.id).await?, &other)
}

async fn concurrent_hashes_have_one_winner(store: Users) -> Verdict {
    let user = created(&store, "1", "alice").await?;
    let results = at_once(50, |number| {
        let (store, id) = (store.clone(), user.id.clone());
        async move {
            let new = format!("hash {number}");
            let changed = store.set_password_hash(&id, HASH, &new).await?;
            Ok::<_, Failure>(changed.then_some(new))
        }
    })
    .await?;
    let mut winners = Vec::new();
    for result in results {
        winners.extend(result?);
    }
    same("winners", &winners.len(), &1)?;
    same("the hash", &hash_of(&store, &user.id).await?, &winners.pop())
}

async fn update_changes_what_it_names(store: Users) -> Verdict {
    let mut user = created(&store, "1", "alice").await?;
    let other = created(&store, "2", "bob").await?;
    let roles = ["admin", "", "a,b", "a b", "\"'\\", "ö日", "admin", "]"];
    let roles = |count: usize| roles.iter().take(count).map(ToString::to_string).collect();
    let changes = [
        UserChange { disabled: Some(true), ..UserChange::default() },
        UserChange { roles: Some(roles(8)), ..UserChange::default() },
        UserChange { scope: Some(Some("read 'write'".to_owned())), ..UserChange::default() },
        UserChange::default(),
        UserChange { disabled: Some(false), roles: Some(roles(1)), scope: Some(Some(String::new())) },
        UserChange { scope: Some(None), ..UserChange::default() },
        UserChange { roles: Some(Vec::new()), ..UserChange::default() },
    ];
    for change in changes {
        let changed = store.update(&user.id, &change).await?;
        holds("there is such an account", changed)?;
        if let Some(disabled) = change.disabled {
            user.disabled = disabled;
        }
        if let Some(roles) = change.roles {
            user.roles = roles;
        }
        if let Some(scope) = change.scope {
            user.scope = scope;
        }
        same_user("by id", &found(&store, &user.id).await?, &user)?;
        let by_name = store.find_by_name(&username("alice")?).await?;
        let by_name = by_name.ok_or_else(|| failed("the account by name", "none"))?;
        same_user("by name", &by_name, &user)?;
    }
    let change = UserChange { disabled: Some(true), ..UserChange::default() };
    let changed = store.update(&subject("none"), &change).await?;
    holds("there is no such account", !changed)?;
    same_user("another account", &found(&store, &other.id).await?, &other)
}

async fn debug_shows_nothing_it_holds(store: Users) -> Verdict {
    created(&store, "id-in-debug", "name-in-debug").await?;
    let shown = format!("{store:?} {store:#?}");
    for secret in ["in-debug", HASH, "argon2"] {
        holds("nothing of it is shown", !shown.contains(secret))?;
    }
    Ok(())
}
